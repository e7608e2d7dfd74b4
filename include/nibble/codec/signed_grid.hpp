#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_fit.hpp>
#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The value of the largest magnitude, the first of several.
[[nodiscard]] inline float farthest_from_zero(std::span<const float> values) noexcept {
  float farthest = 0.0F;
  for (const float value : values) {
    if (std::fabs(value) > std::fabs(farthest)) farthest = value;
  }
  return farthest;
}

/// Of the scales that put the values' largest magnitude at each of `places` on the grid without min,
/// and of those that fit the codes which result, the one with the least squared error. `round` makes of
/// a scale one that can be stored. Where it makes the first place's infinite, so is what is returned;
/// any other such is left out. The scale is 0 where all values are 0.
template <std::size_t Count, class Round>
[[nodiscard]] affine_grid best_signed_grid(const weighted_values<Count>& values, std::int32_t lowest,
                                           std::int32_t highest, std::span<const float> places,
                                           const Round& round) noexcept {
  const float largest = farthest_from_zero(values.all);
  const affine_grid first{largest == 0.0F ? 0.0F : round(largest / places[0]), 0.0F, lowest, highest};
  if (largest == 0.0F || !is_finite(first.scale)) return first;
  least_error<affine_grid> kept(first, first.squared_error(values));
  const auto consider = [&](float scale) {
    if (!is_finite(scale) || scale == kept.best().scale) return;
    const affine_grid other{scale, 0.0F, lowest, highest};
    kept.offer(other, other.squared_error(values));
  };
  for (const float place : places) consider(round(largest / place));
  for (int turn = 0; turn < 2; ++turn) consider(round(affine_fit(kept.best(), values).scale()));
  return kept.best();
}

/// A grid under a float16 scale, with the values' codes as they are stored; those of absent ones are 0.
struct packed_signed_grid {
  pack_status status;
  float16 scale{};
  std::array<std::uint8_t, 32> codes{};
};

/// As above for 1..32 finite values and scales that float16 holds; scale_overflow where it does not
/// hold the first place's. Codes are stored as what they are above -code_zero.
template <class Round = decltype(&nearest_float16)>
[[nodiscard]] packed_signed_grid pack_signed_grid(std::span<const float> values, std::int32_t lowest,
                                                  std::int32_t highest, std::int32_t code_zero,
                                                  std::span<const float> places,
                                                  const block_packing& how = {},
                                                  const Round& round = &nearest_float16) noexcept {
  const weighted_values<32> all(values);
  affine_grid best = best_signed_grid(all, lowest, highest, places, round);
  if (!is_finite(best.scale)) return {pack_status::scale_overflow};
  if (const float factor = importance_factor(how.importance); factor != 0.0F) {
    const weighted_values<32> weighted(values, how.importance, factor);
    const affine_grid other = best_signed_grid(weighted, lowest, highest, places, round);
    if (other.squared_error(weighted) < best.squared_error(weighted)) best = other;
  }
  packed_signed_grid packed{pack_status::packed, to_float16(best.scale)};
  const auto codes = best.codes_of(all.all);
  for (std::size_t j = 0; j < all.count; ++j) {
    packed.codes[j] = static_cast<std::uint8_t>(codes[j] + code_zero);
  }
  return packed;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
