#pragma once

#include <bit>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {

/// bfloat16, as stored: the upper half of an f32.
struct bfloat16 {
  std::uint16_t bits;  ///< sign in the highest
  friend constexpr bool operator==(bfloat16, bfloat16) noexcept = default;
};
static_assert(sizeof(bfloat16) == 2);

inline namespace NIBBLE_ARCHITECTURE {

/// The exact value, NaN payloads included.
[[nodiscard]] constexpr float to_float32(bfloat16 value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16U);
}

/// Round to nearest, ties to even; overflow to infinity; NaN stays NaN, quiet, with its sign and the
/// upper payload bits.
[[nodiscard]] constexpr bfloat16 to_bfloat16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return {static_cast<std::uint16_t>((bits >> 16U) | 0x40U)};
  }
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U)};
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
