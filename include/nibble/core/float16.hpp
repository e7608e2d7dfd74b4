#pragma once

#include <bit>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {

/// IEEE 754 binary16, as stored: 1 sign, 5 exponent, 10 mantissa bits.
struct float16 {
  std::uint16_t bits;  ///< sign in the highest
  friend constexpr bool operator==(float16, float16) noexcept = default;
};
static_assert(sizeof(float16) == 2);

/// The smallest positive normal float16, 2^-14.
inline constexpr float float16_smallest_normal = 0x1p-14F;

/// Whether `value` is neither NaN nor infinite; told from its bits, so -ffast-math cannot fold it.
[[nodiscard]] constexpr bool is_finite(float16 value) noexcept {
  return (value.bits & 0x7C00U) != 0x7C00U;
}
/// As above, for f32.
[[nodiscard]] constexpr bool is_finite(float value) noexcept {
  return (std::bit_cast<std::uint32_t>(value) & 0x7F800000U) != 0x7F800000U;
}
/// Whether `value` is NaN, told from its bits.
[[nodiscard]] constexpr bool is_nan(float value) noexcept {
  return (std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU) > 0x7F800000U;
}

/// `value` with the other sign, be it NaN.
[[nodiscard]] constexpr float16 negated(float16 value) noexcept {
  return {static_cast<std::uint16_t>(value.bits ^ 0x8000U)};
}

inline namespace NIBBLE_ARCHITECTURE {

/// The exact value; a signalling NaN becomes quiet and keeps sign and payload.
[[nodiscard]] constexpr float to_float32(float16 value) noexcept {
  const std::uint32_t sign = (value.bits & 0x8000U) << 16U;
  const std::uint32_t exponent = (value.bits >> 10U) & 0x1FU;
  const std::uint32_t mantissa = value.bits & 0x3FFU;
  if (exponent == 0x1FU) {
    const std::uint32_t quiet = mantissa != 0 ? 0x400000U : 0U;
    return std::bit_cast<float>(sign | 0x7F800000U | quiet | (mantissa << 13U));
  }
  if (exponent == 0) {  // subnormal: mantissa * 2^-24, exact in f32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23U) | (mantissa << 13U));
}

/// Round to nearest, ties to even; overflow to infinity from 65520 on; NaN stays NaN, quiet, with its
/// sign and the upper payload bits.
[[nodiscard]] constexpr float16 to_float16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16U) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  std::uint32_t rounded = 0;
  if (magnitude > 0x7F800000U) {
    rounded = 0x7E00U | ((magnitude >> 13U) & 0x3FFU);
  } else if (magnitude >= 0x477FF000U) {
    rounded = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {
    const std::uint32_t rebiased = magnitude - 0x38000000U;
    rounded = (rebiased + 0xFFFU + ((rebiased >> 13U) & 1U)) >> 13U;
  } else if (magnitude >= 0x33000000U) {  // a multiple of 2^-24 below 2^-14
    const std::uint32_t shift = 126U - (magnitude >> 23U);
    const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
    const std::uint32_t half = 1U << (shift - 1U);
    const std::uint32_t remainder = mantissa & ((1U << shift) - 1U);
    rounded = mantissa >> shift;
    rounded += (remainder > half || (remainder == half && (rounded & 1U) != 0)) ? 1U : 0U;
  }
  return {static_cast<std::uint16_t>(sign | rounded)};
}

/// The float16 nearest to `value`, as f32; as to_float16 rounds.
[[nodiscard]] constexpr float nearest_float16(float value) noexcept {
  return to_float32(to_float16(value));
}

/// The next float16 towards +infinity; `value` is finite. After the largest comes infinity.
[[nodiscard]] constexpr float16 next_up(float16 value) noexcept {
  if (value.bits == 0x8000U) return {0x0001U};
  const bool negative = (value.bits & 0x8000U) != 0;
  return {static_cast<std::uint16_t>(negative ? value.bits - 1U : value.bits + 1U)};
}

/// The next float16 towards -infinity; `value` is finite.
[[nodiscard]] constexpr float16 next_down(float16 value) noexcept {
  if (value.bits == 0x0000U) return {0x8001U};
  const bool negative = (value.bits & 0x8000U) != 0;
  return {static_cast<std::uint16_t>(negative ? value.bits + 1U : value.bits - 1U)};
}

/// The largest float16 that is not above `value` (finite); -infinity below -65504. A zero is +0.
[[nodiscard]] constexpr float16 float16_at_most(double value) noexcept {
  if (value == 0.0) return {0};
  if (value >= 65504.0) return {0x7BFFU};
  if (value < -65504.0) return {0xFC00U};
  const float16 nearest = to_float16(static_cast<float>(value));
  if (static_cast<double>(to_float32(nearest)) > value) return next_down(nearest);
  return nearest;
}

/// The smallest float16 that is not below `value` (finite, not negative); infinity above 65504.
/// A zero is +0.
[[nodiscard]] constexpr float16 float16_at_least(double value) noexcept {
  if (value == 0.0) return {0};
  if (value > 65504.0) return {0x7C00U};
  const float16 nearest = to_float16(static_cast<float>(value));
  return static_cast<double>(to_float32(nearest)) < value ? next_up(nearest) : nearest;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
