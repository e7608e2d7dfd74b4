#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/grid_search.hpp>
#include <nibble/codec/grid_trials.hpp>
#include <nibble/codec/lattice_trials.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// How many steps beyond a grid's lowest and highest point the lowest and the highest value are to lie;
/// negative: within.
struct ends_beyond {
  float below;
  float above;
};

/// Side x Side of them, first, first + distance, ... steps below and above.
template <std::size_t Side>
[[nodiscard]] constexpr std::array<ends_beyond, Side * Side> regular_ends(float first,
                                                                          float distance) noexcept {
  std::array<ends_beyond, Side * Side> all{};
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = {first + distance * static_cast<float>(i / Side),
              first + distance * static_cast<float>(i % Side)};
  }
  return all;
}

/// Grids laid over the range of some values. Eight at a time; the last few may be there twice.
template <std::size_t Count>
struct range_shares {
  static constexpr std::size_t count = Count;
  static constexpr std::size_t batches = (Count + trial_lanes - 1) / trial_lanes;
  std::array<lanes_of_floats, batches> below{};  ///< how far, in steps, the lowest value lies below
  std::array<lanes_of_floats, batches> step{};   ///< the scale, in ranges

  constexpr range_shares(std::uint32_t largest_code,
                         const std::array<ends_beyond, Count>& ends) noexcept {
    for (std::size_t i = 0; i < batches * trial_lanes; ++i) {
      const ends_beyond& of = ends[i < Count ? i : i - trial_lanes];
      below[i / trial_lanes][i % trial_lanes] = of.below;
      step[i / trial_lanes][i % trial_lanes] =
          1.0F / (static_cast<float>(largest_code) + of.below + of.above);
    }
  }

  /// Those of a batch over `width` from `lowest` on.
  void start(std::size_t batch, float lowest, float width, grid_trials& trials) const noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const float scale = short_scale(width * step[batch][lane]);
      trials.scale[lane] = scale;
      // The product is exact.
      trials.min[lane] = lowest + below[batch][lane] * scale;
    }
  }
};

/// A grid under float16 scale and min, with the values' codes; those of absent ones are 0.
struct packed_offset_grid {
  pack_status status;
  affine_grid grid;
  std::array<std::uint8_t, 32> codes{};
};

namespace codec_detail {
/// Of many grids those from which, together, fits to Gaussian and to heavy-tailed values err least, each
/// with its mirror image. In the first two places are the ones that search_from() has others for.
inline constexpr std::array<ends_beyond, 16> ends_for_16_codes = {{{0.0F, 0.0F},
                                                                   {0.0F, 0.0F},
                                                                   {-0.25F, 0.25F},
                                                                   {0.25F, -0.25F},
                                                                   {-0.75F, 0.0F},
                                                                   {0.0F, -0.75F},
                                                                   {0.5F, 0.5F},
                                                                   {0.25F, 0.75F},
                                                                   {0.75F, 0.25F},
                                                                   {-1.0F, -1.0F},
                                                                   {-0.25F, 0.5F},
                                                                   {0.5F, -0.25F},
                                                                   {-0.25F, 0.0F},
                                                                   {0.0F, -0.25F},
                                                                   {-1.0F, -0.5F},
                                                                   {-0.5F, -1.0F}}};
inline constexpr std::array<ends_beyond, 16> ends_for_32_codes = {{{0.0F, 0.0F},
                                                                   {0.0F, 0.0F},
                                                                   {-0.25F, 0.25F},
                                                                   {0.25F, -0.25F},
                                                                   {-1.0F, -1.0F},
                                                                   {-0.75F, 0.0F},
                                                                   {0.0F, -0.75F},
                                                                   {-0.75F, -2.0F},
                                                                   {-2.0F, -0.75F},
                                                                   {-2.0F, -2.0F},
                                                                   {0.75F, 0.25F},
                                                                   {0.25F, 0.75F},
                                                                   {-1.0F, -0.5F},
                                                                   {-0.5F, -1.0F},
                                                                   {0.25F, 0.25F},
                                                                   {-0.25F, -0.25F}}};

/// Of few codes the ends lie close around those of the range. Of many what counts is how the points fall
/// on all values, for which wider moves are as good, and by whole steps best.
template <std::uint32_t LargestCode>
inline constexpr auto fast_range_shares = range_shares<16>(LargestCode,
                                                           LargestCode < 31 ? ends_for_16_codes
                                                           : LargestCode < 100
                                                               ? ends_for_32_codes
                                                               : regular_ends<4>(-2.0F, 1.0F));
template <std::uint32_t LargestCode>
inline constexpr auto best_range_shares = [] {
  if constexpr (LargestCode < 100) {
    return range_shares<169>(LargestCode, regular_ends<13>(-1.5F, 0.25F));
  } else {
    return range_shares<36>(LargestCode, regular_ends<6>(-3.0F, 1.0F));
  }
}();
}  // namespace codec_detail

/// best_offset_grid of 256 points for values that count alike: from lattice_trials.
template <std::size_t Count>
[[nodiscard]] affine_grid best_lattice_grid(const weighted_values<Count>& values,
                                            const value_range& range, const block_trials<Count>& trials,
                                            std::span<const affine_grid> plain,
                                            packing_search search) noexcept {
  const auto search_from = [&](std::span<const affine_grid> least, const grid_trials& starts,
                               int turns) {
    return trials.template search<free_min, 0, 255>(
        least, 1, [&](std::size_t, grid_trials& to) { to = starts; }, turns, to_nearest_float16{});
  };
  const lattice_trials lattice(values.all, range);
  affine_grid best = search_from(plain, lattice.promising(3), 1);
  if (search == packing_search::fast) return best;
  for (std::size_t before = 0; before < 6; ++before) {
    best = search_from(std::span<const affine_grid>(&best, 1), lattice.promising(1, before), 2);
  }
  return best;
}

/// The float16 scale and min with the least squared error that a search finds for finite values: from
/// grids whose ends lie around the lowest and the highest value, by least squares for the codes that
/// result. The error is not above that of `plain`, one or two grids.
template <std::uint32_t LargestCode>
[[nodiscard]] affine_grid best_offset_grid(const weighted_values<32>& values, const value_range& range,
                                           std::span<const affine_grid> plain,
                                           packing_search search) noexcept {
  const float width = range.highest - range.lowest;
  // What is left of values below half a step of float16's is nothing under any scale.
  if (width < 0x1p-30F || !is_finite(width)) {
    return least_of(plain, values);
  }
  const block_trials<32> trials(values);
  const auto search_from = [&](std::span<const affine_grid> least, const auto& shares, int turns) {
    return trials.template search<free_min, 0, static_cast<std::int32_t>(LargestCode)>(
        least, shares.batches,
        [&](std::size_t batch, grid_trials& to) { shares.start(batch, range.lowest, width, to); },
        turns, to_nearest_float16{});
  };
  if constexpr (LargestCode == 255) {
    if (values.all_alike) {
      return best_lattice_grid(values, range, trials, plain, search);
    }
  }
  const affine_grid fast = search_from(plain, codec_detail::fast_range_shares<LargestCode>, 2);
  if (search == packing_search::fast) return fast;
  return search_from(std::span<const affine_grid>(&fast, 1),
                     codec_detail::best_range_shares<LargestCode>, 4);
}

/// As above for 1..32 finite values. `plain` are the grids from lowest to highest value without a value
/// outside, and with both rounded to nearest as ggml does.
template <std::uint32_t LargestCode>
[[nodiscard]] packed_offset_grid pack_offset_grid(std::span<const float> values,
                                                  const block_packing& how = {}) noexcept {
  constexpr auto largest_code = static_cast<std::int32_t>(LargestCode);
  const value_range range(values);
  const min_max_grid widest(range, LargestCode, {0.0F, 0.0F});
  if (widest.status != pack_status::packed) return {widest.status, {}};
  const float step = (range.highest - range.lowest) / static_cast<float>(LargestCode);
  const std::array plain = {
      affine_grid{to_float32(widest.scale), to_float32(widest.min), 0, largest_code},
      affine_grid{nearest_float16(step), nearest_float16(range.lowest), 0, largest_code}};
  const weighted_values<32> all(values);
  affine_grid best = best_offset_grid<LargestCode>(all, range, plain, how.search);
  if (const float factor = importance_factor(how.importance); factor != 0.0F) {
    const weighted_values<32> weighted(values, how.importance, factor);
    if (!weighted.all_alike) {
      best = best_offset_grid<LargestCode>(weighted, range, std::span<const affine_grid>(&best, 1),
                                           how.search);
    }
  }
  packed_offset_grid packed{pack_status::packed, best};
  const auto codes = best.codes_of(all.all);
  for (std::size_t j = 0; j < all.count; ++j) packed.codes[j] = static_cast<std::uint8_t>(codes[j]);
  return packed;
}

/// Packs 1..32 finite values into a block of a codec with scale, min and codes from 0 on, under the grid
/// that pack_offset_grid chooses; spare codes become 0. `to` is unspecified unless packed is returned.
template <class Codec>
[[nodiscard]] pack_status pack_offset_block(std::span<const float> values, typename Codec::block& to,
                                            const block_packing& how) noexcept {
  const auto [status, grid, codes] = pack_offset_grid<Codec::largest_code>(values, how);
  if (status != pack_status::packed) return status;
  to.scale = to_float16(grid.scale);
  to.min = to_float16(grid.min);
  Codec::store_codes(codes, to);
  return pack_status::packed;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
