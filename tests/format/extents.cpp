#include <nibble/format/extents.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble_test::missing_parts;
using nibble_test::outcome_of;

namespace {

nibble::tensor_info extent(std::string name, std::uint64_t begin, std::uint64_t size) {
  return {.name = std::move(name), .file_offset_bytes = begin, .size_bytes = size};
}

}  // namespace

TEST_CASE("tensors in any order that touch each other are taken, and their end is told", "[extents]") {
  std::vector<nibble::tensor_info> tensors = {extent("a", 64, 10), extent("b", 74, 1),
                                              extent("c", 90, 10), extent("d", 75, 0)};
  do {
    CHECK(nibble::check_extents(tensors, 64, 100) == 100);
  } while (std::ranges::next_permutation(tensors, {}, &nibble::tensor_info::name).found);
  CHECK(nibble::check_extents({}, 64, 64) == 64);
  CHECK(nibble::check_extents({extent("none", 80, 0)}, 64, 100) == 64);
}

TEST_CASE("tensors that overlap by a byte are refused in any order", "[extents]") {
  std::vector<nibble::tensor_info> tensors = {extent("a", 64, 11), extent("b", 74, 1),
                                              extent("c", 90, 10)};
  do {
    const auto result = outcome_of([&] { nibble::check_extents(tensors, 64, 100); });
    CHECK(result.code == "bad_layout");
    CHECK(missing_parts(result.message, {"'b'", "74", "75", "'a'"}).empty());
  } while (std::ranges::next_permutation(tensors, {}, &nibble::tensor_info::name).found);
}

TEST_CASE("a tensor past the end of the file is refused, empty or not", "[extents]") {
  for (const std::uint64_t size : {0U, 1U, 20U}) {
    const auto result =
        outcome_of([&] { nibble::check_extents({extent("a", 101 - size / 20, size)}, 64, 100); });
    CHECK(result.code == "truncated");
    CHECK(missing_parts(result.message, {"'a'", "100 bytes"}).empty());
  }
}
