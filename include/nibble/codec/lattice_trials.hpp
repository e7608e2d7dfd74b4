#pragma once

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
/// which part of a step the points are moved. A scale is tried with range / scale a multiple of 1/2, 255
/// at most; both ends lie within half a step of the grid. The wider a scale, the more luck it wants for
/// its points to meet the values.
///
/// Each part of a step need not be tried. Where a value lies between two points is an angle. The sum of
/// unit vectors of all angles is the longer the nearer the angles are to one another, and its direction is
/// the part of a step by which the points are moved. Triangle waves stand for cosine and sine, and distance
/// along a diamond for the angle.
///
/// Whole numbers, so that the order of sums and what a compiler makes of them change nothing. A value is
/// 15 bits of where it lies in the range. Its product with twice range / scale has 16 bits below the
/// point, which alone are kept.
class lattice_trials {
 public:
  /// How many scales are tried at once.
  static constexpr std::size_t scales_at_once = 2 * trial_lanes;

  /// Values from range.lowest to range.highest, which is more by a finite width, 2^-30 at least.
  lattice_trials(const std::array<float, 32>& values, const value_range& range) noexcept
      : range_(range), width_(range.highest - range.lowest) {
    place_values(values);
  }

  /// Good ones of `batches` times scales_at_once scales, with the mins that suit them: the smallest, or
  /// those behind as many batches as come `before`; at most 31 batches, with those before. The best of all
  /// is not in the first two lanes, which may be given to others.
  [[nodiscard]] grid_trials promising(std::size_t batches, std::size_t before = 0) const noexcept {
    lanes_of_directions best{};
    best.squared_length.fill(-1);
    const std::size_t end = before + batches;
    for (std::size_t batch = before; batch < end; ++batch) keep_longest(batch, best);
    grid_trials grids;
    make_grids(best, grids);
    return grids;
  }

 private:
  using lanes_of_shorts = std::array<std::int16_t, scales_at_once>;
  /// For each scale the sum of vectors, its squared length, and twice range / scale.
  struct lanes_of_directions {
    std::array<std::int32_t, scales_at_once> squared_length;
    std::array<std::int32_t, scales_at_once> cosine;
    std::array<std::int32_t, scales_at_once> sine;
    std::array<std::int32_t, scales_at_once> half_steps;
  };

  NIBBLE_VECTOR_LOOP void place_values(const std::array<float, 32>& values) noexcept {
    const float factor = 32767.0F / width_;
    for (std::size_t j = 0; j < places_.size(); ++j) {
      const auto place = static_cast<std::int32_t>((values[j] - range_.lowest) * factor);
      places_[j] = static_cast<std::uint16_t>(place);
    }
  }

  /// Puts those scales of a batch into `best` whose vectors' sum is longer than what is there.
  NIBBLE_VECTOR_LOOP void keep_longest(std::size_t batch, lanes_of_directions& best) const noexcept {
    const auto largest = static_cast<std::int32_t>(510 - batch * scales_at_once);
    // Sums of distances from the point below or above, the nearer, and from a quarter of a step beside
    // it, to six bits of a step each.
    lanes_of_shorts from_point{};
    lanes_of_shorts from_quarter{};
    lanes_of_shorts half_steps;
    for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
      half_steps[lane] = static_cast<std::int16_t>(largest - static_cast<std::int32_t>(lane));
    }
    constexpr std::size_t unrolled = 4;
    for (std::size_t at = 0; at < places_.size(); at += unrolled) {
      for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
        const auto add = [&](std::size_t j) {
          const auto angle = static_cast<std::int16_t>(std::int32_t{places_[j]} * half_steps[lane]);
          const auto beside = static_cast<std::int16_t>(angle - 16384);
          const auto to_point = static_cast<std::int16_t>(angle >> 10);
          const auto to_quarter = static_cast<std::int16_t>(beside >> 10);
          from_point[lane] =
              static_cast<std::int16_t>(from_point[lane] + (to_point < 0 ? -to_point : to_point));
          from_quarter[lane] = static_cast<std::int16_t>(from_quarter[lane] +
                                                         (to_quarter < 0 ? -to_quarter : to_quarter));
        };
        [&]<std::size_t... J>(std::index_sequence<J...>) { (add(at + J), ...); }
        (std::make_index_sequence<unrolled>());
      }
    }
    for (std::size_t lane = 0; lane < scales_at_once; ++lane) {
      constexpr std::int32_t mean = 32 * 16;
      const std::int32_t cosine = mean - from_point[lane];
      const std::int32_t sine = mean - from_quarter[lane];
      const std::int32_t squared_length = cosine * cosine + sine * sine;
      const bool is_longer = squared_length > best.squared_length[lane];
      best.squared_length[lane] = is_longer ? squared_length : best.squared_length[lane];
      best.cosine[lane] = is_longer ? cosine : best.cosine[lane];
      best.sine[lane] = is_longer ? sine : best.sine[lane];
      best.half_steps[lane] = is_longer ? std::int32_t{half_steps[lane]} : best.half_steps[lane];
    }
  }

  /// The grids of the eight longest sums, which it brings to the first lanes.
  NIBBLE_VECTOR_LOOP void make_grids(lanes_of_directions& directions, grid_trials& to) const noexcept {
    keep_longer<trial_lanes>(directions, trial_lanes, 0);
    keep_longer<2>(directions, 0, 2);
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      // The angle in thirty-seconds of a step, from -16 to 16.
      const auto cosine = static_cast<float>(directions.cosine[lane]);
      const auto sine = static_cast<float>(directions.sine[lane]);
      const float across = sine < 0.0F ? -sine : sine;
      const float along = cosine < 0.0F ? -cosine : cosine;
      const float quarter = along + across;
      const float within_quarter = 8.0F * (across / (quarter > 1.0F ? quarter : 1.0F));
      const float angle = cosine < 0.0F ? 16.0F - within_quarter : within_quarter;
      const auto rounded = static_cast<float>(static_cast<std::int32_t>(angle + 0.5F));
      const float moved = (sine < 0.0F ? -rounded : rounded) * 0x1p-5F;
      const float scale = short_scale(2.0F * width_ / static_cast<float>(directions.half_steps[lane]));
      to.scale[lane] = scale;
      // The product is exact.
      to.min[lane] = range_.lowest + moved * scale;
    }
  }

  /// Puts Count lanes from `from` on into those from `into` on where they are longer.
  template <std::size_t Count>
  static void keep_longer(lanes_of_directions& directions, std::size_t from,
                          std::size_t into) noexcept {
    for (std::size_t lane = 0; lane < Count; ++lane) {
      const bool is_longer =
          directions.squared_length[from + lane] > directions.squared_length[into + lane];
      const auto keep = [&](auto& in) {
        in[into + lane] = is_longer ? in[from + lane] : in[into + lane];
      };
      keep(directions.cosine);
      keep(directions.sine);
      keep(directions.half_steps);
      keep(directions.squared_length);
    }
  }

  value_range range_;
  float width_;
  std::array<std::uint16_t, 32> places_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
