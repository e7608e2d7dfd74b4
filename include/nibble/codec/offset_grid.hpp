#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_fit.hpp>
#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// A grid under float16 scale and min, with the values' codes; those of absent ones are 0.
struct packed_offset_grid {
  pack_status status;
  affine_grid grid;
  std::array<std::uint8_t, 32> codes{};
};

/// The float16 scale and min with the least squared error for finite values among: lowest and highest
/// value at the ends, both rounded to nearest, as ggml chooses them; the same without a value outside;
/// grids whose ends lie half a step inside; and what fits the codes which result. Where the status of
/// `widest`, the grid without a value outside, is packed.
[[nodiscard]] inline affine_grid best_offset_grid(const weighted_values<32>& values,
                                                  const value_range& range,
                                                  const min_max_grid& widest) noexcept {
  const auto largest_code = static_cast<std::int32_t>(widest.largest);
  const auto grid_of = [&](float scale, float min) { return affine_grid{scale, min, 0, largest_code}; };
  const affine_grid first = grid_of(to_float32(widest.scale), to_float32(widest.min));
  least_error<affine_grid> kept(first, first.squared_error(values));
  const auto consider = [&](const affine_grid& other) {
    if (is_finite(other.scale) && is_finite(other.min)) kept.offer(other, other.squared_error(values));
  };
  const float step = (range.highest - range.lowest) / static_cast<float>(largest_code);
  consider(grid_of(nearest_float16(step), nearest_float16(range.lowest)));
  for (const grid_margins& margins : half_step_margins) {
    const min_max_grid finer(range, widest.largest, margins);
    consider(grid_of(to_float32(finer.scale), to_float32(finer.min)));
  }
  constexpr float no_limit = 65504.0F;
  for (int turn = 0; turn < 2; ++turn) {
    consider(affine_fit(kept.best(), values).grid(no_limit, nearest_float16));
  }
  return kept.best();
}

/// As above for 1..32 finite values.
[[nodiscard]] inline packed_offset_grid pack_offset_grid(std::span<const float> values,
                                                         std::uint32_t largest_code,
                                                         const block_packing& how = {}) noexcept {
  const value_range range(values);
  const min_max_grid widest(range, largest_code, {0.0F, 0.0F});
  if (widest.status != pack_status::packed) return {widest.status, {}};
  const weighted_values<32> all(values);
  affine_grid best = best_offset_grid(all, range, widest);
  if (const float factor = importance_factor(how.importance); factor != 0.0F) {
    const weighted_values<32> weighted(values, how.importance, factor);
    const affine_grid other = best_offset_grid(weighted, range, widest);
    if (other.squared_error(weighted) < best.squared_error(weighted)) best = other;
  }
  packed_offset_grid packed{pack_status::packed, best};
  const auto codes = best.codes_of(all.all);
  for (std::size_t j = 0; j < all.count; ++j) packed.codes[j] = static_cast<std::uint8_t>(codes[j]);
  return packed;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
