#include <nibble/format/apr/layout.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <support/catch.hpp>

using nibble::apr::lay_out;

TEST_CASE("a file of nothing is a header and a footer", "[layout]") {
  const auto placed = lay_out(0, 0, {});
  REQUIRE(placed.has_value());
  CHECK(placed->metadata_offset == 64);
  CHECK(placed->index_offset == 64);
  CHECK(placed->data_offset == 64);
  CHECK(placed->tensor_offsets.empty());
  CHECK(placed->data_end == 64);
  CHECK(placed->file_bytes == 68);
}

TEST_CASE("sections and tensors follow each other on multiples of 64", "[layout]") {
  const std::vector<std::uint64_t> sizes = {1, 64, 0, 0, 65, 128, 63};
  const auto placed = lay_out(2, 65, sizes);
  REQUIRE(placed.has_value());
  CHECK(placed->index_offset == 128);
  CHECK(placed->data_offset == 256);
  CHECK(placed->tensor_offsets == std::vector<std::uint64_t>{256, 320, 384, 384, 384, 512, 640});
  CHECK(placed->data_end == 704);
  CHECK(placed->file_bytes == 708);
}

TEST_CASE("sections that end on a multiple of 64 need no padding", "[layout]") {
  const auto placed = lay_out(64, 128, std::vector<std::uint64_t>{192});
  REQUIRE(placed.has_value());
  CHECK(placed->index_offset == 128);
  CHECK(placed->data_offset == 256);
  CHECK(placed->data_end == 448);
}

TEST_CASE("no byte is wasted or shared, whatever the sizes", "[layout]") {
  std::mt19937 generator(3);
  for (int turn = 0; turn < 200; ++turn) {
    const std::uint64_t metadata_bytes = generator() % 500U;
    const std::uint64_t index_bytes = generator() % 500U;
    std::vector<std::uint64_t> sizes(generator() % 20U);
    for (std::uint64_t& size : sizes) size = generator() % 300U;
    const auto placed = lay_out(metadata_bytes, index_bytes, sizes);
    REQUIRE(placed.has_value());
    std::uint64_t end = 64 + metadata_bytes;
    const auto starts_right_behind = [&](std::uint64_t start) {
      return start % 64 == 0 && start >= end && start - end < 64;
    };
    CHECK(starts_right_behind(placed->index_offset));
    end = placed->index_offset + index_bytes;
    CHECK(starts_right_behind(placed->data_offset));
    end = placed->data_offset;
    REQUIRE(placed->tensor_offsets.size() == sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      CHECK(starts_right_behind(placed->tensor_offsets[i]));
      end = placed->tensor_offsets[i] + sizes[i];
    }
    CHECK(starts_right_behind(placed->data_end));
    CHECK(placed->file_bytes == placed->data_end + 4);
  }
}

TEST_CASE("a layout that 64 bits do not hold is none", "[layout]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  CHECK_FALSE(lay_out(most, 0, {}).has_value());
  CHECK_FALSE(lay_out(most - 64, 0, {}).has_value());
  CHECK_FALSE(lay_out(0, most, {}).has_value());
  CHECK_FALSE(lay_out(0, most - 100, {}).has_value());
  CHECK_FALSE(lay_out(0, 0, std::vector<std::uint64_t>{most - 64}).has_value());
  CHECK_FALSE(lay_out(0, 0, std::vector<std::uint64_t>{most / 2, most / 2, 64}).has_value());
  const std::vector<std::uint64_t> just{(std::uint64_t{1} << 63U), (std::uint64_t{1} << 63U) - 128};
  const auto placed = lay_out(0, 0, just);
  REQUIRE(placed.has_value());
  CHECK(placed->data_end == most - 63);
  CHECK(placed->file_bytes == most - 59);
  CHECK_FALSE(lay_out(0, 0, std::vector<std::uint64_t>{just[0], just[1] + 1}).has_value());
}
