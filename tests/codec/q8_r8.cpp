#include <nibble/codec/q8_r8.hpp>

#include <array>
#include <cstddef>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q8;
using nibble::q8_r8;

// Row r has scale 2^(r - 4) and min -r, and its code j is 32 r + j.
constexpr const char* golden_q8_r8_block =
    "002c 0030 0034 0038 003c 0040 0044 0048"  // scales
    "0080 00bc 00c0 00c2 00c4 00c5 00c6 00c7"  // mins
    "00010203 20212223 40414243 60616263 80818283 a0a1a2a3 c0c1c2c3 e0e1e2e3"
    "04050607 24252627 44454647 64656667 84858687 a4a5a6a7 c4c5c6c7 e4e5e6e7"
    "08090a0b 28292a2b 48494a4b 68696a6b 88898a8b a8a9aaab c8c9cacb e8e9eaeb"
    "0c0d0e0f 2c2d2e2f 4c4d4e4f 6c6d6e6f 8c8d8e8f acadaeaf cccdcecf ecedeeef"
    "10111213 30313233 50515253 70717273 90919293 b0b1b2b3 d0d1d2d3 f0f1f2f3"
    "14151617 34353637 54555657 74757677 94959697 b4b5b6b7 d4d5d6d7 f4f5f6f7"
    "18191a1b 38393a3b 58595a5b 78797a7b 98999a9b b8b9babb d8d9dadb f8f9fafb"
    "1c1d1e1f 3c3d3e3f 5c5d5e5f 7c7d7e7f 9c9d9e9f bcbdbebf dcdddedf fcfdfeff";

TEST_CASE("a q8_r8 block written by hand is eight q8 blocks", "[q8_r8]") {
  const auto stored = nibble_test::from_hex(golden_q8_r8_block);
  REQUIRE(stored.size() == 288);
  const auto block = nibble_test::block_from<q8_r8::block>(stored);
  float scale = 0.0625F;
  q8_r8::block joined;
  for (std::size_t row = 0; row < 8; ++row, scale *= 2.0F) {
    const q8::block one = q8_r8::load_row(block, row);
    std::array<float, 32> values{};
    q8::unpack(one, values);
    for (std::size_t j = 0; j < 32; ++j) {
      CAPTURE(row, j);
      const auto code = static_cast<float>(32 * row + j);
      CHECK(values[j] == scale * code - static_cast<float>(row));
    }
    q8_r8::store_row(joined, row, one);
  }
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(joined)) == nibble_test::to_hex(stored));
}

}  // namespace
