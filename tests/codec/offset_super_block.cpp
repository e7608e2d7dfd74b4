#include <nibble/codec/offset_super_block.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

using head_choice = nibble::offset_sub_blocks<32, 63, 15>::choice;
using nibble::offset_super_block;
using nibble::sub_block_numbers;

struct codec : offset_super_block {
  struct block {
    nibble::float16 scale;
    nibble::float16 min;
    nibble::six_bit_pairs sub_blocks;
  };
  static block head_of(const head_choice& chosen) {
    block made;
    store_head(chosen, made);
    return made;
  }
};

TEST_CASE("the head of a super-block is scale, min and the sub-blocks' numbers",
          "[offset_super_block]") {
  const head_choice chosen{nibble::float16{0x3C00},
                           nibble::float16{0x4200},
                           {1, 2, 3, 4, 0x15, 0x26, 0x37, 0x08},
                           {0x3F, 5, 6, 7, 0x09, 0x1A, 0x2B, 0x3C}};
  const codec::block head = codec::head_of(chosen);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(head)) == "003c00424182c3043f4586c795a6b7c8");
  CHECK(codec::scale_unit(head) == 1.0F);
  CHECK(codec::min_unit(head) == -3.0F);
  CHECK(codec::scale_numbers(head) == chosen.scales);
  CHECK(codec::min_numbers(head) == chosen.mins);
}

TEST_CASE("nibbles of neighbouring sub-blocks share bytes, the even sub-block's low",
          "[offset_super_block]") {
  const auto random = nibble_test::random_bytes(256, 2);
  std::array<std::uint8_t, 256> codes;
  for (std::size_t j = 0; j < 256; ++j) codes[j] = std::to_integer<std::uint8_t>(random[j]);
  auto stored = nibble_test::block_from<offset_super_block::nibbles>(nibble_test::random_bytes(128, 3));
  stored.store(codes);
  const auto bytes = nibble_test::bytes_of(stored);
  for (std::size_t j = 0; j < 256; ++j) {
    CAPTURE(j);
    const auto byte = std::to_integer<unsigned>(bytes[j / 64 * 32 + j % 32]);
    CHECK((j / 32 % 2 == 0 ? byte % 16 : byte / 16) == codes[j] % 16U);
    CHECK(stored[j] == codes[j] % 16);
  }
}

TEST_CASE("kernels are told where the nibbles lie in a block", "[offset_super_block]") {
  const auto bytes = nibble_test::random_bytes(128, 4);
  const auto stored = nibble_test::block_from<offset_super_block::nibbles>(bytes);
  for (std::size_t group = 0; group < 8; ++group) {
    const auto bits = offset_super_block::nibbles::bits(48, group);
    CHECK(bits.layout == nibble::bit_layout::bytes);
    CHECK(bits.count == 4);
    REQUIRE(bits.at_byte >= 48);
    REQUIRE(bits.at_byte + 32 <= 48 + 128);
    for (std::size_t k = 0; k < 32; ++k) {
      const auto byte = std::to_integer<unsigned>(bytes[bits.at_byte - 48 + k]);
      CHECK(static_cast<int>(byte >> bits.shift & 15U) == stored[32 * group + k]);
    }
  }
}

}  // namespace
