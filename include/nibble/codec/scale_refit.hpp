#pragma once

#include <cstddef>
#include <cstdint>

#include <nibble/codec/recode.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// How much an element's value changes with the scale and the min that its block stores, under a code.
struct scale_slopes {
  float of_scale;  ///< the code, times the sub-block's number where there are some
  float of_min;    ///< 0 where there is no min
};

/// Those of element j < block_elements: value = scale * of_scale + min * of_min.
template <AffineCodec Codec>
[[nodiscard]] scale_slopes slopes_of_element(const typename Codec::block& from, std::size_t j,
                                             std::int32_t code) noexcept {
  const auto steps = static_cast<float>(code);
  if constexpr (requires { Codec::scale_unit(from); }) {
    const std::size_t i = j / Codec::sub_block_elements;
    scale_slopes slopes{static_cast<float>(Codec::scale_numbers(from)[i]) * steps, 0.0F};
    // Super-blocks store what is subtracted.
    if constexpr (Codec::has_min) slopes.of_min = -static_cast<float>(Codec::min_numbers(from)[i]);
    return slopes;
  } else {
    return {steps, Codec::has_min ? 1.0F : 0.0F};
  }
}

/// A squared error by the changes of a block's stored scale and min, up to what does not depend on them:
/// scale_square scale^2 + 2 scale_by_min scale min + min_square min^2 - 2 scale_slope scale - 2 min_slope min.
struct scale_error {
  double scale_square;  ///< of the scale's change squared
  double scale_by_min;  ///< half of that of both changes multiplied
  double min_square;    ///< of the min's change squared
  double scale_slope;   ///< how fast the error falls, halved, as the scale grows
  double min_slope;     ///< how fast the error falls, halved, as the min grows
};

/// Gives a block the scale and the min by which a squared error is least, the scale rounded to float16
/// first and the min then chosen for it. Codes and the numbers of sub-blocks stay. Whether anything
/// changed; what float16 cannot hold changes nothing.
template <AffineCodec Codec>
[[nodiscard]] bool refit_scale_and_min(const scale_error& of, typename Codec::block& to) noexcept {
  const float16 old_scale = to.scale;
  const auto scale_now = static_cast<double>(to_float32(old_scale));
  if constexpr (Codec::has_min) {
    const float16 old_min = to.min;
    const auto min_now = static_cast<double>(to_float32(old_min));
    const double determinant = of.scale_square * of.min_square - of.scale_by_min * of.scale_by_min;
    // Codes that are all alike leave nothing to choose but what their one value is.
    const bool is_determined = determinant > 1e-6 * of.scale_square * of.min_square;
    const double by =
        is_determined ? (of.scale_slope * of.min_square - of.min_slope * of.scale_by_min) / determinant
                      : 0.0;
    const float16 scale = to_float16(static_cast<float>(scale_now + by));
    const double rounded_by = static_cast<double>(to_float32(scale)) - scale_now;
    const double min_by =
        of.min_square > 0.0 ? (of.min_slope - of.scale_by_min * rounded_by) / of.min_square : 0.0;
    const float16 min = to_float16(static_cast<float>(min_now + min_by));
    if (!is_finite(scale) || !is_finite(min)) return false;
    to.scale = scale;
    to.min = min;
    return scale.bits != old_scale.bits || min.bits != old_min.bits;
  } else {
    if (!(of.scale_square > 0.0)) return false;
    const float16 scale = to_float16(static_cast<float>(scale_now + of.scale_slope / of.scale_square));
    if (!is_finite(scale)) return false;
    to.scale = scale;
    return scale.bits != old_scale.bits;
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
