#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The grid scale * q, q in lowest..highest, over the values of a block or of a sub-block; scale may
/// be of either sign. scale * q is exact in f32: scale has few significant bits, as every stored one.
///
/// The same bits everywhere: no product meets a sum that a compiler could fuse it with, except where
/// the product is exact, and sums have one order.
struct signed_grid {
  float scale;
  std::int32_t lowest;
  std::int32_t highest;

  /// The codes nearest to finite values; 0 where scale is 0.
  template <std::size_t Count>
  [[nodiscard]] std::array<std::int32_t, Count> codes_of(
      std::span<const float, Count> values) const noexcept {
    std::array<std::int32_t, Count> codes{};
    if (scale == 0.0F) return codes;
    // By truncation, from 0 up; limited as floats, since a quotient may be beyond any integer.
    const float origin = 0.5F - static_cast<float>(lowest);
    const auto most = static_cast<float>(highest - lowest);
    for (std::size_t j = 0; j < Count; ++j) {
      const float steps = values[j] / scale + origin;
      const float from_lowest = steps > 0.0F ? steps : 0.0F;
      codes[j] = static_cast<std::int32_t>(from_lowest < most ? from_lowest : most) + lowest;
    }
    return codes;
  }

  /// Sum of the squares of what coding changes.
  template <std::size_t Count>
  [[nodiscard]] double squared_error(std::span<const float, Count> values) const noexcept {
    const auto codes = codes_of(values);
    std::array<float, Count> differences;
    for (std::size_t j = 0; j < Count; ++j) {
      differences[j] = values[j] - scale * static_cast<float>(codes[j]);
    }
    lane_sums sums;
    sums.add_squares(differences);
    return sums.total();
  }

  /// The scale with the least squared error for the codes that the values have now.
  template <std::size_t Count>
  [[nodiscard]] float fitted_scale(std::span<const float, Count> values) const noexcept {
    const auto codes = codes_of(values);
    std::int32_t squares = 0;
    for (const std::int32_t code : codes) squares += code * code;
    if (squares == 0) return scale;
    lane_sums products;
    products.add_products(values, codes);
    return static_cast<float>(products.total() / squares);
  }
};

/// The value of the largest magnitude, the first of several.
[[nodiscard]] inline float farthest_from_zero(std::span<const float> values) noexcept {
  float farthest = 0.0F;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(farthest)) farthest = value;
  }
  return farthest;
}

/// Of the scales that put the values' largest magnitude at each of `places` on the grid, and of those
/// that fit the codes which result, the one with the least squared error. `round` makes of a scale one
/// that can be stored. Where it makes the first place's infinite, so is what is returned; any other
/// such is left out. The scale is 0 where all values are 0.
template <std::size_t Count, class Round>
[[nodiscard]] signed_grid best_signed_grid(std::span<const float, Count> values, std::int32_t lowest,
                                           std::int32_t highest, std::span<const float> places,
                                           const Round& round) noexcept {
  const float largest = farthest_from_zero(values);
  const signed_grid first{largest == 0.0F ? 0.0F : round(largest / places[0]), lowest, highest};
  if (largest == 0.0F || !is_finite(first.scale)) return first;
  least_error<signed_grid> kept(first, first.squared_error(values));
  const auto consider = [&](float scale) {
    if (!is_finite(scale) || scale == kept.best().scale) return;
    const signed_grid other{scale, lowest, highest};
    kept.offer(other, other.squared_error(values));
  };
  for (const float place : places) consider(round(largest / place));
  for (int turn = 0; turn < 2; ++turn) consider(round(kept.best().fitted_scale(values)));
  return kept.best();
}

/// A grid under a float16 scale, with the values' codes; those of absent ones are 0.
struct packed_signed_grid {
  pack_status status;
  float16 scale{};
  std::array<std::int32_t, 32> codes{};
};

/// As above for 1..32 finite values and scales that float16 holds; scale_overflow where it does not
/// hold the first place's.
[[nodiscard]] inline packed_signed_grid pack_signed_grid(std::span<const float> values,
                                                         std::int32_t lowest, std::int32_t highest,
                                                         std::span<const float> places) noexcept {
  std::array<float, 32> padded{};
  std::copy(values.begin(), values.end(), padded.begin());
  const std::span<const float, 32> all(padded);
  const signed_grid best = best_signed_grid(all, lowest, highest, places, nearest_float16);
  if (!is_finite(best.scale)) return {pack_status::scale_overflow};
  return {pack_status::packed, to_float16(best.scale), best.codes_of(all)};
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
