#include <nibble/codec/five_bit_codes.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::bit_layout;
using nibble::five_bit_codes;

// The fifth bits of codes 0..7 and 16..23 are set; low nibbles count up to 15 and down again.
const std::string golden = "ff00ff00f0e1d2c3b4a5968778695a4b3c2d1e0f";

std::array<std::uint8_t, 32> golden_codes() {
  std::array<std::uint8_t, 32> codes;
  for (std::size_t j = 0; j < 32; ++j) {
    codes[j] = static_cast<std::uint8_t>((j < 16 ? j : 31 - j) + (j / 8 % 2 == 0 ? 16 : 0));
  }
  return codes;
}

TEST_CASE("five-bit codes lie where ggml's layout has them", "[five_bit_codes]") {
  const auto codes = golden_codes();
  const auto stored = nibble_test::block_from<five_bit_codes>(nibble_test::from_hex(golden));
  for (std::size_t j = 0; j < 32; ++j) CHECK(stored[j] == codes[j]);
  auto own = nibble_test::block_from<five_bit_codes>(nibble_test::random_bytes(20, 3));
  own.store(codes);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(own)) == golden);
}

TEST_CASE("every five-bit code in every place is read as it was stored", "[five_bit_codes]") {
  for (std::size_t place = 0; place < 32; ++place) {
    for (int code = 0; code < 32; ++code) {
      std::array<std::uint8_t, 32> codes;
      codes.fill(static_cast<std::uint8_t>(31 - code));
      codes[place] = static_cast<std::uint8_t>(code);
      five_bit_codes stored;
      stored.store(codes);
      for (std::size_t j = 0; j < 32; ++j) {
        if (stored[j] != codes[j]) FAIL(code << " in place " << place << ", element " << j);
      }
    }
  }
  SUCCEED("every code");
}

TEST_CASE("kernels are told where five-bit codes lie in a block", "[five_bit_codes]") {
  constexpr auto low = five_bit_codes::low_bits(6);
  CHECK(low.layout == bit_layout::nibble_halves);
  CHECK(low.at_byte == 10);
  CHECK(low.count == 4);
  constexpr auto high = five_bit_codes::high_bits(6);
  CHECK(high.layout == bit_layout::single_bits);
  CHECK(high.at_byte == 6);
  CHECK(high.count == 1);
}

}  // namespace
