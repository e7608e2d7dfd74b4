#include <nibble/format/apr/index.hpp>

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/planned_tensors.hpp>

using nibble::encoding;
using nibble::error_code;
using nibble::apr::empty_name;
using nibble::apr::index_cursor;
using nibble_test::append_number;
using nibble_test::code_of;
using nibble_test::planned;

namespace {

struct indexed_tensor {
  nibble::planned_tensor tensor;
  std::uint64_t offset_bytes;
};

/// Tensors with names that increase, and shapes of every rank.
std::vector<indexed_tensor> random_tensors(std::mt19937& generator) {
  std::vector<indexed_tensor> all;
  for (std::size_t i = 0; i < 20; ++i) {
    std::vector<std::uint64_t> dimensions(generator() % 9U);
    for (std::uint64_t& dimension : dimensions) dimension = generator() % 5U;
    std::string name(1, static_cast<char>('a' + i));
    name.append(generator() % 256U, 'x');
    all.push_back({planned(std::move(name), generator() % 2U == 0 ? encoding::q4 : encoding::apr_q8,
                           nibble::shape(dimensions)),
                   std::uint64_t{generator()} * 64U});
  }
  return all;
}

std::vector<std::byte> stored(const std::vector<indexed_tensor>& all) {
  std::size_t bytes = 0;
  for (const auto& [tensor, offset] : all) {
    bytes += nibble::apr::index_entry_bytes(tensor.name.size(), tensor.shape.rank());
  }
  std::vector<std::byte> index(bytes);
  std::span<std::byte> rest = index;
  for (const auto& [tensor, offset] : all) {
    rest = nibble::apr::store_index_entry(tensor, offset, rest);
  }
  CHECK(rest.empty());
  return index;
}

}  // namespace

TEST_CASE("an index entry has the bytes that the format says", "[apr_index]") {
  const auto index = stored({{planned("w.1", encoding::q8, {2, 33}), 0x1122334455667740U}});
  std::vector<std::byte> expected;
  append_number(expected, std::uint16_t{3});
  for (const char letter : {'w', '.', '1'}) append_number(expected, letter);
  append_number(expected, std::uint8_t{9});
  append_number(expected, std::uint8_t{2});
  append_number(expected, std::uint64_t{2});
  append_number(expected, std::uint64_t{33});
  append_number(expected, std::uint64_t{0x1122334455667740U});
  append_number(expected, std::uint64_t{2 * 2 * 36});
  CHECK(index == expected);
}

TEST_CASE("index entries are read as they were stored", "[apr_index]") {
  std::mt19937 generator(11);
  for (int round = 0; round < 50; ++round) {
    const auto all = random_tensors(generator);
    const auto index = stored(all);
    constexpr std::uint64_t data_offset = 4096;
    index_cursor cursor(index, data_offset, empty_name::refused);
    CHECK(cursor.count_whole_entries(all.size()) == all.size());
    for (const auto& [tensor, offset] : all) {
      nibble::tensor_info info;
      REQUIRE(cursor.next(info) == nibble::describe(tensor.encoding).apr_dtype_id);
      REQUIRE(info.name == tensor.name);
      REQUIRE(info.shape == tensor.shape);
      REQUIRE(info.file_offset_bytes == data_offset + offset);
      REQUIRE(info.size_bytes == tensor.size_bytes);
    }
    cursor.finish();
  }
}

TEST_CASE("of an index that is cut, whole entries are counted and no more are read", "[apr_index]") {
  std::mt19937 generator(12);
  const auto all = random_tensors(generator);
  const auto index = stored(all);
  std::size_t whole = 0;
  std::size_t end = 0;
  for (std::size_t bytes = 0; bytes < index.size(); ++bytes) {
    const auto& next = all[whole].tensor;
    const std::size_t next_end = end + 2 + next.name.size() + 2 + 8 * next.shape.rank() + 16;
    if (bytes == next_end) {
      end = next_end;
      ++whole;
    }
    const auto cut = std::span<const std::byte>(index).first(bytes);
    index_cursor cursor(cut, 0, empty_name::refused);
    if (cursor.count_whole_entries(all.size()) != whole) FAIL(bytes);
    nibble::tensor_info info;
    for (std::size_t i = 0; i < whole; ++i) static_cast<void>(cursor.next(info));
    if (code_of([&] { static_cast<void>(cursor.next(info)); }) != error_code::bad_index) FAIL(bytes);
  }
  CHECK(whole + 1 == all.size());
}
