#pragma once

/// What the READMEs' pieces of programs take as given, under the names that they use.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>
#include <vector>

#include <nibble/file/byte_source.hpp>
#include <nibble/nibble.hpp>
#include <nibble/source_reader.hpp>

extern nibble::writer out;
extern const nibble::reader in;
extern const nibble::byte_source& archive_member;
extern nibble::executor& threads;

extern std::vector<float> weights, floats, x, y, q, k, v;
extern std::vector<std::byte> bytes;
extern std::uint64_t token;

void rows_from(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values);
void blocks_from(std::uint64_t first_block, std::span<std::byte> blocks);
bool show(const nibble::write_progress& progress);

template <class... What>
void use(const What&...);
