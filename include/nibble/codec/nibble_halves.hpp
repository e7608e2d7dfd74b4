#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Code j of 32 codes of 4 bits that lie as bit_layout::nibble_halves and code_packing::nibble_halves
/// say: codes j and j + 16 are the low and high nibble of byte j.
[[nodiscard]] constexpr std::uint8_t load_nibble_half(std::span<const std::uint8_t, 16> from,
                                                      std::size_t j) noexcept {
  const std::uint8_t pair = from[j % 16];
  return static_cast<std::uint8_t>(j < 16 ? pair & 15U : pair >> 4U);
}

/// Stores the low nibbles of 32 codes so.
constexpr void store_nibble_halves(std::span<const std::uint8_t, 32> codes,
                                   std::span<std::uint8_t, 16> to) noexcept {
  for (std::size_t j = 0; j < to.size(); ++j) {
    to[j] = static_cast<std::uint8_t>((codes[j] & 15U) | (codes[j + 16] & 15U) << 4U);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
