#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/grid_search.hpp>
#include <nibble/codec/grid_trials.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/short_scale.hpp>
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

/// Where on the grid lowest..highest a search puts the value of the largest magnitude: from `outside`
/// steps beyond either end to `inside` steps within, half of 8 * Batches places at each.
template <std::size_t Batches>
struct end_places {
  static constexpr std::size_t batches = Batches;
  std::array<lanes_of_floats, Batches> place{};

  constexpr end_places(float lowest, float highest, float outside, float inside) noexcept {
    constexpr std::size_t count = Batches * trial_lanes / 2;
    const float distance = (outside + inside) / static_cast<float>(count - 1);
    // Of a grid that is its own mirror image, the other end gives nothing new but what lies between.
    const float shift = lowest == -highest ? distance / 2.0F : 0.0F;
    for (std::size_t i = 0; i < 2 * count; ++i) {
      const float from_end = outside - distance * static_cast<float>(i / 2);
      place[i / trial_lanes][i % trial_lanes] =
          i % 2 == 0 ? lowest - from_end : highest + from_end - shift;
    }
  }

  /// Scales of a batch that put `largest` there.
  void start(std::size_t batch, float largest, grid_trials& trials) const noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      trials.scale[lane] = short_scale(largest / place[batch][lane]);
    }
  }
};

/// The scale of the grid Lowest..Highest without min with the least squared error that a search finds
/// for finite values: from scales that put the largest magnitude at each of `places`, by least squares
/// for the codes that result, `turns` times. The error is not above that of `plain`, one or two grids
/// that are finite. `round` makes of a scale one that can be stored; what it makes infinite is left out.
template <std::int32_t Lowest, std::int32_t Highest, std::size_t Count, std::size_t Batches,
          class Round>
[[nodiscard]] affine_grid best_signed_grid(const weighted_values<Count>& values,
                                           std::span<const affine_grid> plain,
                                           const end_places<Batches>& places, int turns,
                                           const Round& round) noexcept {
  const float largest = farthest_from_zero(values.all);
  // What is left of values below half a step of float16's is nothing under any scale.
  if (std::fabs(largest) < 0x1p-30F) return least_of(plain, values);
  return block_trials<Count>(values).template search<no_min, Lowest, Highest>(
      plain, Batches, [&](std::size_t batch, grid_trials& to) { places.start(batch, largest, to); },
      turns, round);
}

/// A grid under a float16 scale, with the values' codes as they are stored; those of absent ones are 0.
struct packed_signed_grid {
  pack_status status;
  float16 scale{};
  std::array<std::uint8_t, 32> codes{};
};

/// As above for 1..32 finite values and scales that float16 holds; codes lie in Lowest..Highest and are
/// stored as what they are above -code_zero. The first of `plain_places` says where the largest
/// magnitude is to lie for the status to be packed; the error is not above that of any of them.
template <std::int32_t Lowest, std::int32_t Highest, class Round = to_nearest_float16>
[[nodiscard]] packed_signed_grid pack_signed_grid(std::span<const float> values, std::int32_t code_zero,
                                                  std::span<const float> plain_places,
                                                  const block_packing& how = {},
                                                  const Round& round = {}) noexcept {
  constexpr auto lowest = static_cast<float>(Lowest);
  constexpr auto highest = static_cast<float>(Highest);
  // Of many codes what counts is how the points fall on the values, for which wider moves are as good.
  constexpr float outside = Highest < 100 ? 1.25F : 3.0F;
  constexpr float inside = Highest < 100 ? 2.25F : 3.0F;
  static constexpr end_places<2> fast_places(lowest, highest, outside, inside);
  static constexpr end_places<14> best_places(lowest, highest, outside, inside);
  const float largest = farthest_from_zero(values);
  std::array<affine_grid, 2> plain{};
  std::size_t plain_count = 0;
  for (const float place : plain_places) {
    const float scale = largest == 0.0F ? 0.0F : round(largest / place);
    if (is_finite(scale) || plain_count == 0) plain[plain_count++] = {scale, 0.0F, Lowest, Highest};
  }
  if (!is_finite(plain[0].scale)) return {pack_status::scale_overflow};
  const auto best_of = [&](const weighted_values<32>& weighted, std::span<const affine_grid> least) {
    const affine_grid fast = best_signed_grid<Lowest, Highest>(weighted, least, fast_places, 2, round);
    if (how.search == packing_search::fast) return fast;
    return best_signed_grid<Lowest, Highest>(weighted, std::span<const affine_grid>(&fast, 1),
                                             best_places, 4, round);
  };
  const weighted_values<32> all(values);
  affine_grid best = best_of(all, std::span<const affine_grid>(plain).first(plain_count));
  if (const float factor = importance_factor(how.importance); factor != 0.0F) {
    const weighted_values<32> weighted(values, how.importance, factor);
    best = best_of(weighted, std::span<const affine_grid>(&best, 1));
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
