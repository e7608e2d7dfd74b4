#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 codes of 5 bits in 20 bytes, as ggml's Q5_0 and Q5_1 hold them:
///
///   byte  0                      4                                           20
///         | h[0] ... h[31] bits | l[0] + 16 l[16] ... l[15] + 16 l[31] |
///
/// q = l + 16 h.
struct five_bit_codes {
  std::array<std::uint8_t, 4> highs;
  std::array<std::uint8_t, 16> lows;

  /// Where the bits lie in a block that holds the codes from `at_byte` on.
  [[nodiscard]] static constexpr code_bits low_bits(std::size_t at_byte) noexcept {
    return {.layout = bit_layout::nibble_halves,
            .at_byte = at_byte + offsetof(five_bit_codes, lows),
            .count = 4};
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t at_byte) noexcept {
    return {.layout = bit_layout::single_bits,
            .at_byte = at_byte + offsetof(five_bit_codes, highs),
            .count = 1};
  }

  /// Code j.
  [[nodiscard]] int operator[](std::size_t j) const noexcept {
    return load_nibble_half(lows, j) + 16 * (highs[j / 8] >> (j % 8) & 1);
  }

  /// Stores codes 0..31.
  void store(std::span<const std::uint8_t, 32> codes) noexcept {
    highs.fill(0);
    for (std::size_t j = 0; j < codes.size(); ++j) {
      highs[j / 8] = static_cast<std::uint8_t>(highs[j / 8] | (codes[j] / 16 << (j % 8)));
    }
    store_nibble_halves(codes, lows);
  }
};
static_assert(sizeof(five_bit_codes) == 20 && alignof(five_bit_codes) == 1);

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
