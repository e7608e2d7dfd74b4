#include <nibble/format/gguf/layout.hpp>

#include <array>
#include <cstdint>
#include <limits>
#include <vector>

#include <support/catch.hpp>

using nibble::gguf::lay_out;

TEST_CASE("tensors stand on multiples of the alignment, one behind the other", "[gguf_layout]") {
  const std::array<std::uint64_t, 5> sizes = {1, 0, 32, 33, 7};
  const auto placed = lay_out(100, sizes, 32);
  REQUIRE(placed.has_value());
  CHECK(placed->data_offset == 128);
  CHECK(placed->tensor_offsets == std::vector<std::uint64_t>{0, 32, 32, 64, 128});
  CHECK(placed->data_end == 128 + 160);
  CHECK(lay_out(128, sizes, 32)->data_offset == 128);
  const auto packed = lay_out(100, sizes, 1);
  REQUIRE(packed.has_value());
  CHECK(packed->data_offset == 100);
  CHECK(packed->tensor_offsets == std::vector<std::uint64_t>{0, 1, 1, 33, 66});
  CHECK(packed->data_end == 173);
  CHECK(lay_out(24, {}, 1U << 20U)->data_end == 1U << 20U);
}

TEST_CASE("a layout beyond 64 bits is none, wherever it gets there", "[gguf_layout]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  const std::array<std::uint64_t, 1> one = {most - 40};
  const std::array<std::uint64_t, 2> two = {most / 2, most / 2 + 40};
  const std::array<std::uint64_t, 1> padded = {most - 10};
  CHECK_FALSE(lay_out(most, {}, 32).has_value());
  CHECK_FALSE(lay_out(64, one, 32).has_value());
  CHECK_FALSE(lay_out(0, two, 32).has_value());
  CHECK_FALSE(lay_out(0, padded, 32).has_value());
  CHECK(lay_out(0, padded, 1).has_value());
}
