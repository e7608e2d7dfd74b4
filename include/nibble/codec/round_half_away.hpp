#pragma once

#include <cmath>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// `value` rounded to the nearest integer, halves away from zero, with the value's sign where that is 0.
/// The same on every system, whereas MinGW's roundf rounds 0.49999997 up.
[[nodiscard]] inline float round_half_away(float value) noexcept {
  const float whole = std::trunc(value);
  // Exact: above 2^23 there is no fraction, and below it the bits of a fraction are the value's own.
  const bool is_half_or_more = std::fabs(value - whole) >= 0.5F;
  return is_half_or_more ? whole + std::copysign(1.0F, value) : whole;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
