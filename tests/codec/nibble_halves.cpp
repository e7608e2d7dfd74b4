#include <nibble/codec/nibble_halves.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <codec/hex_bytes.hpp>
#include <support/catch.hpp>

namespace {

using bytes_t = std::array<std::uint8_t, 16>;
using codes_t = std::array<std::uint8_t, 32>;

TEST_CASE("codes j and j + 16 share byte j, the first in its low nibble", "[nibble_halves]") {
  codes_t codes;
  for (std::size_t j = 0; j < 32; ++j) codes[j] = static_cast<std::uint8_t>(j < 16 ? j : 31 - j);
  bytes_t stored;
  stored.fill(0xA5);
  nibble::store_nibble_halves(codes, stored);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(stored)) == "f0e1d2c3b4a5968778695a4b3c2d1e0f");
  for (std::size_t j = 0; j < 32; ++j) CHECK(nibble::load_nibble_half(stored, j) == codes[j]);
}

TEST_CASE("every nibble in every place is read as it was stored, and leaves the others alone",
          "[nibble_halves]") {
  for (std::size_t place = 0; place < 32; ++place) {
    for (int number = 0; number < 16; ++number) {
      codes_t codes;
      codes.fill(static_cast<std::uint8_t>(15 - number));
      codes[place] = static_cast<std::uint8_t>(number);
      bytes_t stored;
      nibble::store_nibble_halves(codes, stored);
      for (std::size_t j = 0; j < 32; ++j) {
        if (nibble::load_nibble_half(stored, j) != codes[j]) FAIL(number << " in place " << place);
      }
    }
  }
  SUCCEED("every nibble");
}

TEST_CASE("bits above the low four of a code are not stored", "[nibble_halves]") {
  codes_t codes;
  for (std::size_t j = 0; j < 32; ++j) codes[j] = static_cast<std::uint8_t>(0x10 * (j % 16) + j % 7);
  bytes_t stored;
  nibble::store_nibble_halves(codes, stored);
  for (std::size_t j = 0; j < 32; ++j) CHECK(nibble::load_nibble_half(stored, j) == j % 7);
}

}  // namespace
