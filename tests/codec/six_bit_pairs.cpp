#include <nibble/codec/six_bit_pairs.hpp>

#include <cstddef>
#include <cstdint>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>

namespace {

using nibble::six_bit_pairs;
using nibble::sub_block_numbers;

TEST_CASE("six-bit pairs lie where ggml's layout has them", "[six_bit_pairs]") {
  // Scales 1 2 3 4, 0x15 0x26 0x37 0x08; mins 0x3F 5 6 7, 0x09 0x1A 0x2B 0x3C.
  const auto stored = nibble_test::from_hex("4182c304 3f4586c7 95a6b7c8");
  const auto pairs = nibble_test::block_from<six_bit_pairs>(stored);
  const sub_block_numbers scales = {1, 2, 3, 4, 0x15, 0x26, 0x37, 0x08};
  const sub_block_numbers mins = {0x3F, 5, 6, 7, 0x09, 0x1A, 0x2B, 0x3C};
  CHECK(pairs.scales() == scales);
  CHECK(pairs.mins() == mins);
  six_bit_pairs own;
  own.store(scales, mins);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(own)) == nibble_test::to_hex(stored));
}

TEST_CASE("every six-bit number in every place is read as it was stored", "[six_bit_pairs]") {
  for (std::size_t place = 0; place < 8; ++place) {
    for (int number = 0; number < 64; ++number) {
      sub_block_numbers scales{};
      scales[place] = static_cast<std::int8_t>(number);
      sub_block_numbers mins{};
      mins[7 - place] = static_cast<std::int8_t>(63 - number);
      six_bit_pairs pairs;
      pairs.store(scales, mins);
      if (pairs.scales() != scales || pairs.mins() != mins) FAIL(number << " in place " << place);
    }
  }
  SUCCEED("every number");
}

}  // namespace
