#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace nibble_test {

/// A 16-bit float as IEEE 754 describes one, told by its parameters alone: expected values come from
/// here, through ldexp and nearbyint, and not from the bit arithmetic of the library.
struct half_format {
  int mantissa_bits;
  int lowest_exponent;   ///< of a normal number
  int highest_exponent;  ///< of a finite number

  [[nodiscard]] constexpr int infinity_code() const {
    return (highest_exponent - lowest_exponent + 2) * (1 << mantissa_bits);
  }
};

inline constexpr half_format binary16{10, -14, 15};
inline constexpr half_format brain16{7, -126, 127};

/// The value of a code, exact.
inline double value_of(const half_format& format, std::uint16_t code) {
  const int unit = 1 << format.mantissa_bits;
  const int magnitude = code % 0x8000;
  const double sign = code >= 0x8000 ? -1.0 : 1.0;
  if (magnitude > format.infinity_code()) return std::numeric_limits<double>::quiet_NaN();
  if (magnitude == format.infinity_code()) return sign * std::numeric_limits<double>::infinity();
  const int fraction = magnitude % unit;
  const int biased = magnitude / unit;
  if (biased == 0) return sign * std::ldexp(fraction, format.lowest_exponent - format.mantissa_bits);
  const int exponent = biased + format.lowest_exponent - 1;
  return sign * std::ldexp(unit + fraction, exponent - format.mantissa_bits);
}

/// The code nearest to a number, ties to the even one; not for NaN.
inline std::uint16_t nearest_code(const half_format& format, double value) {
  const double magnitude = std::fabs(value);
  int code = format.infinity_code();
  if (std::isfinite(value)) {
    const int exponent = magnitude == 0.0 ? format.lowest_exponent
                                          : std::max(std::ilogb(magnitude), format.lowest_exponent);
    if (exponent <= format.highest_exponent) {
      const double steps = std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent));
      // The first binade of normal numbers follows on the subnormal ones with the same step.
      code =
          (exponent - format.lowest_exponent) * (1 << format.mantissa_bits) + static_cast<int>(steps);
    }
  }
  return static_cast<std::uint16_t>(code + (std::signbit(value) ? 0x8000 : 0));
}

}  // namespace nibble_test
