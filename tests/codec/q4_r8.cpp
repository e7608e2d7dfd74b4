#include <nibble/codec/q4_r8.hpp>

#include <array>
#include <cstddef>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q4;
using nibble::q4_r8;

// Row r has scale 2^(r - 4) and min -r; byte i of its codes is 16 r + i, so that code i is i and code
// i + 16 is r.
constexpr const char* golden_q4_r8_block =
    "002c 0030 0034 0038 003c 0040 0044 0048"  // scales
    "0080 00bc 00c0 00c2 00c4 00c5 00c6 00c7"  // mins
    "00010203 10111213 20212223 30313233 40414243 50515253 60616263 70717273"
    "04050607 14151617 24252627 34353637 44454647 54555657 64656667 74757677"
    "08090a0b 18191a1b 28292a2b 38393a3b 48494a4b 58595a5b 68696a6b 78797a7b"
    "0c0d0e0f 1c1d1e1f 2c2d2e2f 3c3d3e3f 4c4d4e4f 5c5d5e5f 6c6d6e6f 7c7d7e7f";

TEST_CASE("a q4_r8 block written by hand is eight q4 blocks", "[q4_r8]") {
  const auto stored = nibble_test::from_hex(golden_q4_r8_block);
  REQUIRE(stored.size() == 160);
  const auto block = nibble_test::block_from<q4_r8::block>(stored);
  float scale = 0.0625F;
  q4_r8::block joined;
  for (std::size_t row = 0; row < 8; ++row, scale *= 2.0F) {
    const q4::block one = q4_r8::load_row(block, row);
    std::array<float, 32> values{};
    q4::unpack(one, values);
    for (std::size_t j = 0; j < 32; ++j) {
      CAPTURE(row, j);
      const auto code = static_cast<float>(j < 16 ? j : row);
      CHECK(values[j] == scale * code - static_cast<float>(row));
    }
    q4_r8::store_row(joined, row, one);
  }
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(joined)) == nibble_test::to_hex(stored));
}

}  // namespace
