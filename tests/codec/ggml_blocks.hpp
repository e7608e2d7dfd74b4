#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/codec/codec.hpp>
#include <nibble/core/encoding.hpp>

#include <codec/apr_fixture.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/apr_bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

namespace nibble_test {

/// A block of bytes 0 but for some.
template <class Codec>
std::vector<std::byte> sparse_block(const std::vector<std::pair<std::size_t, int>>& bytes) {
  std::vector<std::byte> block(sizeof(typename Codec::block));
  for (const auto& [at, byte] : bytes) block.at(at) = static_cast<std::byte>(byte);
  return block;
}

/// Holds what a block unpacks to against expected(element).
template <class Codec, class Expected>
void require_unpacks_to(std::span<const std::byte> stored, const Expected& expected) {
  std::array<float, Codec::block_elements> values{};
  Codec::unpack(block_from<typename Codec::block>(stored), values);
  for (std::size_t j = 0; j < values.size(); ++j) {
    CAPTURE(j);
    CHECK(values[j] == static_cast<float>(expected(j)));
  }
}

/// A block, and what another program decodes it to.
struct golden_block {
  const char* bytes;           ///< in hexadecimal
  std::array<float, 8> first;  ///< its first values
  std::uint32_t values_crc32;  ///< CRC-32 of all of them, as little-endian f32
};

template <class Codec>
void require_unpacks_golden_block(const golden_block& golden) {
  std::array<float, Codec::block_elements> values{};
  Codec::unpack(block_from<typename Codec::block>(from_hex(golden.bytes)), values);
  for (std::size_t j = 0; j < golden.first.size(); ++j) {
    CAPTURE(j);
    CHECK(values[j] == golden.first[j]);
  }
  CHECK(plain_crc32(std::as_bytes(std::span(values))) == golden.values_crc32);
}

/// Unpacks blocks of random bytes, NaN and infinite scales among them, whole and in part.
template <class Codec>
void require_unpacks_any_bytes() {
  const std::string_view name = nibble::to_string(Codec::encoding);
  constexpr std::size_t elements = Codec::block_elements;
  constexpr std::size_t size = sizeof(typename Codec::block);
  const std::vector<std::byte> bytes = random_bytes(3000 * size, 21);
  for (std::size_t turn = 0; turn < 3000; ++turn) {
    const auto stored = std::span(bytes).subspan(turn * size, size);
    const independent_decoder expected(name, stored, elements);
    const std::size_t count = turn % 2 == 0 ? elements : turn % (elements + 1);
    std::vector<float> values(elements + 1, 1234.5F);
    Codec::unpack(block_from<typename Codec::block>(stored), std::span(values).first(count));
    for (std::size_t j = 0; j < values.size(); ++j) {
      const float wanted = j < count ? expected(0, j) : 1234.5F;
      if (!is_same_float(values[j], wanted)) {
        FAIL(
            fmt::format("{} block {}, element {}: {} instead of {}", name, turn, j, values[j], wanted));
      }
    }
  }
  SUCCEED("every block");
}

/// The bytes of a tensor of a GGUF file of fixtures/gguf, found by its name in the file and not by this
/// library's reader. `last` is the last tensor that the file lists.
inline std::vector<std::byte> gguf_fixture_bytes(std::span<const std::byte> file,
                                                 const std::string& last, const std::string& name,
                                                 std::size_t size) {
  const auto number = [&](std::size_t at, std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, file.subspan(at, bytes).data(), bytes);
    return value;
  };
  const auto entry_behind = [&](const std::string& key) {
    const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
    std::size_t at = text.find(key);
    while (at != std::string_view::npos && number(at - 8, 8) != key.size()) at = text.find(key, at + 1);
    REQUIRE(at != std::string_view::npos);
    return at + key.size();
  };
  // u32 dimensions, u64 each of them, u32 type, u64 offset; the entries end where the last one does.
  const auto end_of = [&](std::size_t entry) {
    return entry + 4 + 8 * static_cast<std::size_t>(number(entry, 4)) + 12;
  };
  const std::size_t data = (end_of(entry_behind(last)) + 31) / 32 * 32;
  const auto offset = static_cast<std::size_t>(number(end_of(entry_behind(name)) - 8, 8));
  const auto bytes = file.subspan(data + offset, size);
  return {bytes.begin(), bytes.end()};
}

/// Unpacks what ggml wrote into the values that ggml reads there, bit for bit.
template <class Codec>
void require_unpacks_ggml_fixture(const std::filesystem::path& shared, const std::string& ggml_name,
                                  const std::string& stem = "types", std::size_t rows = 6) {
  const auto folder = shared / "fixtures" / "gguf";
  const auto file = read_file(folder / (stem + ".gguf"));
  const auto text = read_file(folder / (stem + ".json"));
  const auto* const first = reinterpret_cast<const char*>(text.data());
  const auto listing = nlohmann::json::parse(first, first + text.size());
  const auto decoded = read_floats(folder / (stem + ".f32"));
  std::size_t blocks = 0;
  for (const auto& entry : listing) {
    if (entry.at("type_name") != ggml_name) continue;
    CHECK(entry.at("block_elements") == Codec::block_elements);
    CHECK(entry.at("block_bytes") == sizeof(typename Codec::block));
    const auto bytes =
        gguf_fixture_bytes(file, listing.back().at("name").get<std::string>(),
                           entry.at("name").get<std::string>(), entry.at("bytes").get<std::size_t>());
    const auto expected = std::span(decoded).subspan(entry.at("f32_offset").get<std::size_t>() / 4,
                                                     entry.at("f32_count").get<std::size_t>());
    for (std::size_t at = 0; at < bytes.size(); at += sizeof(typename Codec::block), ++blocks) {
      std::array<float, Codec::block_elements> values{};
      Codec::unpack(block_from<typename Codec::block>(std::span(bytes).subspan(at)), values);
      const auto own = expected.subspan(blocks * values.size(), values.size());
      if (first_difference(values, own) != -1) FAIL(ggml_name << ", block " << blocks);
    }
  }
  CHECK(blocks == rows * 512 / Codec::block_elements);
}

/// The same of the types of few bits, which fixtures/gguf/low_bit.gguf holds: rows that ggml packed, and
/// rows of random bytes.
template <class Codec>
void require_unpacks_low_bit_fixture(const std::filesystem::path& shared) {
  require_unpacks_ggml_fixture<Codec>(shared, std::string(nibble::to_string(Codec::encoding)),
                                      "low_bit", 8);
}

}  // namespace nibble_test
