#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Whole blocks as they are, shorter ones repeated from their first value, so that every loop has 32
/// turns and the lowest and highest stay what they were.
[[nodiscard]] inline std::span<const float, 32> pad_block(std::span<const float> values,
                                                          std::array<float, 32>& padded) noexcept {
  if (values.size() == padded.size()) return values.first<32>();
  padded.fill(values[0]);
  std::copy(values.begin(), values.end(), padded.begin());
  return padded;
}

/// The lowest and the highest of 1..32 finite values.
struct value_range {
  explicit value_range(std::span<const float> values) noexcept {
    std::array<float, 32> padded;
    const auto all = pad_block(values, padded);
    // Lanes, so that no compiler needs leave to reorder comparisons.
    std::array<float, 8> lowest_of;
    std::array<float, 8> highest_of;
    std::copy_n(all.begin(), 8, lowest_of.begin());
    std::copy_n(all.begin(), 8, highest_of.begin());
    for (std::size_t j = 8; j < all.size(); j += 8) {
      for (std::size_t lane = 0; lane < 8; ++lane) {
        const float value = all[j + lane];
        lowest_of[lane] = value < lowest_of[lane] ? value : lowest_of[lane];
        highest_of[lane] = value > highest_of[lane] ? value : highest_of[lane];
      }
    }
    for (std::size_t half = 4; half > 0; half /= 2) {
      for (std::size_t lane = 0; lane < half; ++lane) {
        lowest_of[lane] = std::min(lowest_of[lane], lowest_of[lane + half]);
        highest_of[lane] = std::max(highest_of[lane], highest_of[lane + half]);
      }
    }
    lowest = lowest_of[0];
    highest = highest_of[0];
  }

  float lowest;
  float highest;
};

/// How far, in steps, the lowest (highest) value lies below (above) a grid.
struct grid_margins {
  float below;
  float above;
};

/// Margins of a grid whose ends lie half a step inside: a finer step for the same greatest error.
inline constexpr std::array<grid_margins, 3> half_step_margins = {
    {{0.5F, 0.5F}, {0.5F, 0.0F}, {0.0F, 0.5F}}};

/// The grid scale * q + min, q in 0..largest_code, laid over a block's values so that no value lies
/// more than half a step outside it; with margins of 0, no value lies outside it at all.
///
/// A margin is how far, in steps and at most 1/2, the lowest (highest) value may lie below (above) the
/// grid. min is the lowest value plus its margin, rounded down to float16; scale is the least float16
/// with which the grid and the upper margin reach the highest value from there.
///
/// What float16 costs: min is at most one float16 step below where it would be, and
/// scale <= (highest - min) / (largest_code + margin_above) * (1 + 2^-10) + 2^-24.
///
/// The same bits everywhere: comparisons and f32 subtraction, division and truncation have one
/// correctly rounded result each, and no product meets a sum that a compiler could fuse it with, except
/// where the product is exact.
struct min_max_grid {
  /// `values` are 1..32 finite numbers.
  min_max_grid(std::span<const float> values, std::uint32_t largest_code) noexcept
      : min_max_grid(value_range(values), largest_code, grid_margins{0.0F, 0.0F}) {}

  min_max_grid(const value_range& range, std::uint32_t largest_code,
               const grid_margins& margins) noexcept
      : largest(largest_code) {
    const double lowest = range.lowest;
    const double highest = range.highest;
    const double below = margins.below;
    const double steps_above_min =
        static_cast<double>(largest_code) + static_cast<double>(margins.above);
    const double step = (highest - lowest) / (steps_above_min + below);
    min = float16_at_most(lowest + below * step);
    if (!is_finite(min)) {
      status = pack_status::min_overflow;
      return;
    }
    const double from = to_float32(min);
    scale = float16_at_least((highest - from) / steps_above_min);
    if (is_finite(scale) && steps_above_min * static_cast<double>(to_float32(scale)) + from < highest) {
      scale = next_up(scale);
    }
    if (!is_finite(scale)) status = pack_status::scale_overflow;
  }

  /// Codes of the values, nearest grid point each; leaves the rest of `codes` alone. Only after status
  /// says packed.
  void code(std::span<const float> values, std::span<std::uint8_t, 32> codes) const noexcept {
    const float step = to_float32(scale);
    if (status != pack_status::packed || step == 0.0F) return;
    const float origin = to_float32(min);
    const auto top = static_cast<std::int32_t>(largest);
    std::array<float, 32> padded;
    std::array<std::uint8_t, 32> coded;
    const auto all = pad_block(values, padded);
    for (std::size_t j = 0; j < padded.size(); ++j) {
      coded[j] = static_cast<std::uint8_t>(nearest_code(all[j], origin, step, top));
    }
    std::copy_n(coded.begin(), values.size(), codes.begin());
  }

  /// Sum over the values of the square of what coding changes, in one fixed order. Only after status
  /// says packed, and where scale is not 0.
  [[nodiscard]] double squared_error(std::span<const float> values) const noexcept {
    const float step = to_float32(scale);
    const float origin = to_float32(min);
    const auto top = static_cast<std::int32_t>(largest);
    std::array<float, 32> padded;
    std::array<float, 32> differences;
    const auto all = pad_block(values, padded);
    for (std::size_t j = 0; j < padded.size(); ++j) {
      const auto code = static_cast<float>(nearest_code(all[j], origin, step, top));
      differences[j] = all[j] - (step * code + origin);
    }
    lane_sums sums;
    sums.add_squares(std::span<const float>(differences).first(values.size()));
    return sums.total();
  }

  float16 scale{};
  float16 min{};
  std::uint32_t largest;
  pack_status status = pack_status::packed;

 private:
  /// By truncation: no value lies more than half a step below the grid.
  [[nodiscard]] static std::int32_t nearest_code(float value, float origin, float step,
                                                 std::int32_t top) noexcept {
    const auto nearest = static_cast<std::int32_t>((value - origin) / step + 0.5F);
    return nearest < top ? nearest : top;
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
