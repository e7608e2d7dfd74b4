#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/grid_trials.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/vector_loop.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Tries many grids of 256 points on a block's values, roughly, for a search to start from the best.
///
/// Of many codes what counts is how the points fall on the values. Two grids of one scale whose mins lie
/// a whole number of steps apart have the same points, so all there is to choose is the scale and by
/// which part of a step the points are moved. A grid is tried with range / scale a multiple of 1/2,
/// 255 at most, and moved by a multiple of 1 / Phases of a step; both ends lie within half a step of it.
/// The wider a scale, the more luck it wants for its points to meet the values.
///
/// Whole numbers, so that the order of sums and what a compiler makes of them change nothing. A value is
/// 15 bits of where it lies in the range. Its product with twice range / scale has 16 bits below the
/// point, which alone are kept: how far the value lies from the nearest point.
template <std::size_t Phases>
class lattice_trials {
 public:
  /// How many scales are tried at once.
  static constexpr std::size_t scales_at_once = 2 * trial_lanes;

  /// Values from range.lowest to range.highest, which is more.
  lattice_trials(const std::array<float, 32>& values, const value_range& range) noexcept
      : range_(range), width_(range.highest - range.lowest) {
    place_values(values);
  }

  /// Good ones of `batches` times scales_at_once scales, up to four, with the mins that suit them: the
  /// smallest, or those behind as many batches as come `before`. The best of all is not in the first two
  /// lanes, which may be given to others.
  [[nodiscard]] grid_trials promising(std::size_t batches, std::size_t before = 0) const noexcept {
    lanes_of_keys least;
    least.fill(std::int32_t{1} << 30);
    const auto largest = static_cast<std::int32_t>(510 - before * scales_at_once);
    for (std::size_t batch = 0; batch < batches; ++batch) {
      const lanes_of_phases errors = errors_of(before + batch);
      for (std::size_t phase = 0; phase < Phases; ++phase) {
        const std::size_t which = phase * 64 + batch * scales_at_once;
        keep_least(errors[phase], static_cast<std::int32_t>(which), least);
      }
    }
    grid_trials grids;
    make_grids(least, largest, grids);
    return grids;
  }

 private:
  using lanes_of_shorts = std::array<std::uint16_t, scales_at_once>;
  using lanes_of_phases = std::array<lanes_of_shorts, Phases>;
  /// Error * 2^10 + phase * 2^6 + what twice range / scale is less than its largest: comparing finds which.
  using lanes_of_keys = std::array<std::int32_t, scales_at_once>;
  static_assert(Phases <= 16);

  NIBBLE_VECTOR_LOOP void place_values(const std::array<float, 32>& values) noexcept {
    const float factor = 32767.0F / width_;
    for (std::size_t j = 0; j < places_.size(); ++j) {
      const auto place = static_cast<std::int32_t>((values[j] - range_.lowest) * factor);
      places_[j] = static_cast<std::uint16_t>(place);
    }
  }

  /// Sums of squared distances, to six bits each.
  [[nodiscard]] NIBBLE_VECTOR_LOOP lanes_of_phases errors_of(std::size_t batch) const noexcept {
    lanes_of_shorts half_steps_of;
    for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
      half_steps_of[lane] = static_cast<std::uint16_t>(510 - batch * scales_at_once - lane);
    }
    lanes_of_phases sums{};
    for (const std::uint16_t place : places_) {
      for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
        const auto unmoved = static_cast<std::uint16_t>(std::uint32_t{place} * half_steps_of[lane]);
        const auto add = [&](std::size_t phase) {
          const auto moved = static_cast<std::uint16_t>(unmoved + phase * (65536 / Phases));
          const auto distance = static_cast<std::int16_t>(static_cast<std::int16_t>(moved) >> 10);
          const auto square = static_cast<std::uint16_t>(distance * distance);
          sums[phase][lane] = static_cast<std::uint16_t>(sums[phase][lane] + square);
        };
        [&]<std::size_t... Phase>(std::index_sequence<Phase...>) { (add(Phase), ...); }
        (std::make_index_sequence<Phases>());
      }
    }
    return sums;
  }

  NIBBLE_VECTOR_LOOP static void keep_least(const lanes_of_shorts& errors, std::int32_t which,
                                            lanes_of_keys& least) noexcept {
    for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
      const std::int32_t key =
          std::int32_t{errors[lane]} * 1024 + (which + static_cast<std::int32_t>(lane));
      least[lane] = key < least[lane] ? key : least[lane];
    }
  }

  NIBBLE_VECTOR_LOOP void make_grids(const lanes_of_keys& least, std::int32_t largest,
                                     grid_trials& to) const noexcept {
    constexpr auto phases = static_cast<std::int32_t>(Phases);
    std::array<std::int32_t, trial_lanes> keys;
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      keys[lane] = std::min(least[lane], least[lane + trial_lanes]);
    }
    for (std::size_t lane = 0; lane < 2; ++lane) keys[lane + 2] = std::min(keys[lane + 2], keys[lane]);
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const float half_steps = static_cast<float>(largest - (keys[lane] & 63));
      const float scale = short_scale(2.0F * width_ / half_steps);
      // From half a step down to nearly half a step up; the product is exact.
      const std::int32_t phase = keys[lane] >> 6 & 15;
      const std::int32_t moved = ((phase + phases / 2) & (phases - 1)) - phases / 2;
      to.scale[lane] = scale;
      to.min[lane] = range_.lowest - static_cast<float>(moved) / static_cast<float>(phases) * scale;
    }
  }

  value_range range_;
  float width_;
  std::array<std::uint16_t, 32> places_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
