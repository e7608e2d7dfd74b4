#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/offset_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 values in eight parts of 32, each on a grid scale * s * q - min * m, with s and m in 0..63 of
/// the part and float16 scale and min of all: how Q4_K and Q5_K are packed.
struct offset_parts {
  static constexpr std::size_t elements = 256;
  static constexpr std::size_t part_count = 8;
  using codes_t = std::array<std::uint8_t, elements>;

  pack_status status = pack_status::packed;
  float16 scale{};
  float16 min{};
  part_numbers scales{};
  part_numbers mins{};
  codes_t codes{};  ///< those of absent values are 0

  /// `values` are 1..256 finite numbers. First each part gets the scale and min that fit it best on its
  /// own. Several scales and mins of all are tried, the largest part's being 63 of them or a few less,
  /// and fits to what was chosen before; under each, every part takes the whole numbers around its own
  /// with the least squared error. The plain choice, every part from lowest to highest value and the
  /// largest being 63, is among what is tried, so the error is never above that one's.
  offset_parts(std::span<const float> values, std::int32_t largest_code) noexcept
      : largest_(largest_code) {
    for (std::size_t at = 0; at < values.size(); at += 32) {
      part& own = parts_[parts_used_++];
      own.values = offset_values(values.subspan(at, std::min<std::size_t>(32, values.size() - at)));
      own.wanted[1] = whole_range(own.values);
      own.wanted[0] = best_grid(own.values, own.wanted[1]);
    }
    struct extremes {
      float scale = 0.0F;
      float min = 0.0F;
    };
    std::array<extremes, 2> most;
    for (std::size_t i = 0; i < parts_used_; ++i) {
      for (std::size_t way = 0; way < 2; ++way) {
        most[way].scale = std::max(most[way].scale, parts_[i].wanted[way].scale);
        most[way].min = std::max(most[way].min, -parts_[i].wanted[way].min);
      }
    }
    scale = unit_of(most[1].scale / 63.0F);
    min = unit_of(most[1].min / 63.0F);
    if (!is_finite(scale)) status = pack_status::scale_overflow;
    if (!is_finite(min)) status = pack_status::min_overflow;
    if (status != pack_status::packed) return;
    double least = choose_numbers();
    const auto consider = [&](float16 other_scale, float16 other_min) {
      if (!is_finite(other_scale) || !is_finite(other_min)) return;
      if (other_scale == scale && other_min == min) return;
      offset_parts other = *this;
      other.scale = other_scale;
      other.min = other_min;
      const double error = other.choose_numbers();
      if (!(error < least)) return;
      least = error;
      *this = other;
    };
    const float16 best_min = unit_of(most[0].min / 63.0F);
    consider(unit_of(most[0].scale / 63.0F), best_min);
    consider(unit_of(most[0].scale / 62.0F), best_min);
    consider(unit_of(most[0].scale / 61.0F), best_min);
    consider(scale, closest_unit(most[0].min));
    for (int turn = 0; turn < 2; ++turn) {
      const auto [fit_scale, fit_min] = fitted_units();
      consider(fit_scale, fit_min);
    }
    for (std::size_t i = 0; i < parts_used_; ++i) {
      const auto own = grid_of(scales[i], mins[i]).codes_of(parts_[i].values);
      for (std::size_t j = 0; j < parts_[i].values.count; ++j) {
        codes[32 * i + j] = static_cast<std::uint8_t>(own[j]);
      }
    }
  }

 private:
  struct part {
    offset_values values{std::span<const float>(&nothing, 1)};
    std::array<offset_grid, 2> wanted{};  ///< what fits best on its own; and the whole range
  };
  static constexpr float nothing = 0.0F;

  /// The float16 nearest to a number that is not negative; above 0 where that is.
  [[nodiscard]] static float16 unit_of(float wanted) noexcept {
    const float16 unit = to_float16(wanted);
    return unit.bits == 0 && wanted > 0.0F ? float16{1} : unit;
  }

  /// Of the float16 that divide `wanted` into 63, 62, ... 48 units, the one that comes closest to it:
  /// mins far from zero err by what their rounding to float16 does.
  [[nodiscard]] static float16 closest_unit(float wanted) noexcept {
    float16 closest = unit_of(wanted / 63.0F);
    double least = HUGE_VAL;
    for (int count = 63; count >= 48; --count) {
      const float16 unit = unit_of(wanted / static_cast<float>(count));
      if (!is_finite(unit)) continue;
      const double reached = static_cast<double>(to_float32(unit)) * count;
      const double miss = std::fabs(reached - static_cast<double>(wanted));
      if (miss < least) {
        least = miss;
        closest = unit;
      }
    }
    return closest;
  }

  /// With few enough significant bits for products with codes to be exact.
  [[nodiscard]] static float shorten(float value) noexcept {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFFFF00U);
  }

  [[nodiscard]] offset_grid grid_of(std::int8_t s, std::int8_t m) const noexcept {
    return {to_float32(scale) * static_cast<float>(s), -to_float32(min) * static_cast<float>(m),
            largest_};
  }

  /// The grid from the lowest value, or 0, to the highest.
  [[nodiscard]] offset_grid whole_range(const offset_values& values) const noexcept {
    const value_range range(values.all);
    const float lowest = range.lowest < 0.0F ? range.lowest : 0.0F;
    const float step = (range.highest - lowest) / static_cast<float>(largest_);
    return {range.highest > lowest ? step : 0.0F, lowest, largest_};
  }

  /// The grid that fits best, if scale and min could be any; min is at most 0.
  [[nodiscard]] offset_grid best_grid(const offset_values& values,
                                      const offset_grid& whole) const noexcept {
    offset_grid best{shorten(whole.scale), shorten(whole.min), largest_};
    if (whole.scale == 0.0F) return best;
    double least = best.squared_error(values);
    const auto consider = [&](const offset_grid& other) {
      const double error = other.squared_error(values);
      if (error < least) {
        least = error;
        best = other;
      }
    };
    struct margins {
      float below;
      float above;
    };
    for (const auto [below, above] : {margins{0.0F, 0.0F},
                                      {0.0F, -1.0F},
                                      {0.0F, -0.5F},
                                      {0.0F, 0.5F},
                                      {0.0F, 1.0F},
                                      {0.0F, 1.5F},
                                      {0.5F, 0.5F},
                                      {0.5F, 0.0F},
                                      {0.5F, -0.5F},
                                      {0.25F, 0.25F},
                                      {1.0F, 1.0F}}) {
      const auto steps = static_cast<float>(largest_);
      const float step = shorten(whole.scale * (steps / (steps + below + above)));
      // The product is exact.
      const offset_grid tried{step, std::min(whole.min + below * step, 0.0F), largest_};
      consider(tried.fitted(values, 0.0F, shorten));
    }
    for (int turn = 0; turn < 2; ++turn) consider(best.fitted(values, 0.0F, shorten));
    return best;
  }

  /// Chooses every part's numbers, by what all of them together err under scale and min.
  double choose_numbers() noexcept {
    double total = 0.0;
    const auto nearest = [](float wanted, float unit) {
      if (unit == 0.0F) return 0;
      const float number = wanted / unit + 0.5F;
      return static_cast<int>(number < 63.0F ? number : 63.0F);
    };
    for (std::size_t i = 0; i < parts_used_; ++i) {
      double least = -1.0;
      const auto consider = [&](int s, int m) {
        if (s < 0 || s > 63 || m < 0 || m > 63) return;
        const auto own_s = static_cast<std::int8_t>(s);
        const auto own_m = static_cast<std::int8_t>(m);
        const double error = grid_of(own_s, own_m).squared_error(parts_[i].values);
        if (least >= 0.0 && !(error < least)) return;
        least = error;
        scales[i] = own_s;
        mins[i] = own_m;
      };
      std::array<std::array<int, 2>, 2> numbers;
      for (std::size_t way = 0; way < 2; ++way) {
        numbers[way] = {nearest(parts_[i].wanted[way].scale, to_float32(scale)),
                        nearest(-parts_[i].wanted[way].min, to_float32(min))};
      }
      const auto [s, m] = numbers[0];
      for (const int more_m : {0, -1, 1}) {
        for (const int more_s : {0, -1, 1}) consider(s + more_s, m + more_m);
      }
      if (numbers[1] != numbers[0]) consider(numbers[1][0], numbers[1][1]);
      total += least;
    }
    return total;
  }

  struct units {
    float16 scale;
    float16 min;
  };
  /// Scale and min of all, fitted to the numbers and codes that were chosen.
  [[nodiscard]] units fitted_units() const noexcept {
    units fit{scale, min};
    // Least squares of x = scale * a - min * b, with whole numbers a = s q and b = m.
    std::int64_t aa = 0;
    std::int64_t ab = 0;
    std::int64_t bb = 0;
    lane_sums ax;
    lane_sums bx;
    for (std::size_t i = 0; i < parts_used_; ++i) {
      const offset_values& values = parts_[i].values;
      const auto own = grid_of(scales[i], mins[i]).codes_of(values);
      offset_grid::codes_t a;
      offset_grid::codes_t b;
      for (std::size_t j = 0; j < values.count; ++j) {
        a[j] = scales[i] * own[j];
        b[j] = mins[i];
        aa += a[j] * a[j];
        ab += a[j] * b[j];
        bb += b[j] * b[j];
      }
      const auto used = std::span(values.all).first(values.count);
      ax.add_products(used, a);
      bx.add_products(used, b);
    }
    // With the min as it is, then with the scale that came of it: each is a division of exact products.
    const auto unit_from = [](double rest, std::int64_t squares, float16 otherwise) {
      if (squares == 0) return otherwise;
      const float16 unit = to_float16(static_cast<float>(rest / static_cast<double>(squares)));
      return unit.bits < 0x7C00U ? unit : otherwise;
    };
    const auto cross = static_cast<double>(ab);
    fit.scale = unit_from(ax.total() + static_cast<double>(to_float32(min)) * cross, aa, scale);
    fit.min = unit_from(static_cast<double>(to_float32(fit.scale)) * cross - bx.total(), bb, min);
    return fit;
  }

  std::int32_t largest_;
  std::size_t parts_used_ = 0;
  std::array<part, part_count> parts_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
