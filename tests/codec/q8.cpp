#include <nibble/codec/q8.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <codec/hex_bytes.hpp>
#include <codec/min_max_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::pack_status;
using nibble::q8;

// scale 0.25, min -2, codes 0..255 in no order; x = 0.25 q - 2 by hand.
constexpr const char* golden_q8_block =
    "0034 00c0 005ab40862bd106ac51873cd207bd52983de318be63994ee419cf64aa4ff52ac";
constexpr std::array<float, 32> golden_q8_values = {
    -2.0F,  20.5F, 43.0F,  0.0F,   22.5F, 45.25F, 2.0F,  24.5F,  47.25F, 4.0F,  26.75F,
    49.25F, 6.0F,  28.75F, 51.25F, 8.25F, 30.75F, 53.5F, 10.25F, 32.75F, 55.5F, 12.25F,
    35.0F,  57.5F, 14.25F, 37.0F,  59.5F, 16.5F,  39.0F, 61.75F, 18.5F,  41.0F};

TEST_CASE("a q8 block written by hand unpacks to its values and packs to its bytes", "[q8]") {
  const auto stored = nibble_test::from_hex(golden_q8_block);
  std::array<float, 32> values{};
  q8::unpack(nibble_test::block_from<q8::block>(stored), values);
  CHECK(values == golden_q8_values);

  q8::block packed;
  REQUIRE(q8::pack(golden_q8_values, packed) == pack_status::packed);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(packed)) == nibble_test::to_hex(stored));
}

TEST_CASE("q8 blocks of any bytes unpack as format/README.md says", "[q8]") {
  nibble_test::require_unpacks_as_documented<q8>("q8");
}

TEST_CASE("a q8 element on the grid errs by no more than half a step and what rounding costs", "[q8]") {
  nibble_test::require_errors_within<q8>("q8", 0x1p-14);
}

TEST_CASE("the spare codes of a short q8 block are 0 whatever was there before", "[q8]") {
  const auto values = nibble_test::gaussian(32, 7);
  for (std::size_t count = 1; count <= 32; ++count) {
    q8::block block;
    block.codes.fill(0xA5);
    REQUIRE(q8::pack(std::span(values).first(count), block) == pack_status::packed);
    for (std::size_t j = count; j < 32; ++j) CHECK(block.codes[j] == 0);
  }
}

TEST_CASE("q8 refuses what a float16 scale or min cannot hold", "[q8]") {
  nibble_test::require_refuses_beyond_float16<q8>(255.0F);
}

TEST_CASE("q8 spends its whole range: lowest is code 0 and highest 255", "[q8]") {
  const std::vector<float> values = {-1.0F, 254.0F, 3.0F, 100.0F};
  q8::block block;
  REQUIRE(q8::pack(values, block) == pack_status::packed);
  CHECK(q8::scale(block) == 1.0F);
  CHECK(q8::min(block) == -1.0F);
  CHECK(block.codes[0] == 0);
  CHECK(block.codes[1] == 255);
  CHECK(block.codes[2] == 4);
  CHECK(block.codes[3] == 101);
}

}  // namespace
