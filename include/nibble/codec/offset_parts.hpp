#pragma once

#include <algorithm>
#include <array>
#include <bit>
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

  /// `values` are 1..256 finite numbers. First each part gets the scale and min that fit it best on
  /// their own; then scale and min of all are laid so that the largest of them take 63, and each part
  /// takes the whole numbers around its own with the least squared error; then scale and min of all are
  /// fitted to what was chosen, where that lessens the error.
  offset_parts(std::span<const float> values, std::int32_t largest_code) noexcept
      : largest_(largest_code) {
    parts_ = (values.size() + 31) / 32;
    for (std::size_t i = 0; i < parts_; ++i) {
      const auto own = values.subspan(32 * i, std::min<std::size_t>(32, values.size() - 32 * i));
      std::array<float, 32> padded;
      const auto all = pad_block(own, padded);
      std::copy(all.begin(), all.end(), values_[i].begin());
      wanted_[i] = best_part(i);
    }
    float largest_scale = 0.0F;
    float lowest_min = 0.0F;
    for (std::size_t i = 0; i < parts_; ++i) {
      largest_scale = std::max(largest_scale, wanted_[i].scale);
      lowest_min = std::min(lowest_min, wanted_[i].min);
    }
    scale = unit_of(largest_scale / 63.0F);
    min = unit_of(-lowest_min / 63.0F);
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
    consider(unit_of(largest_scale / 62.0F), min);
    consider(unit_of(largest_scale / 61.0F), min);
    consider(scale, unit_of(-lowest_min / 62.0F));
    for (int turn = 0; turn < 2; ++turn) {
      const auto [fit_scale, fit_min] = fitted_units();
      consider(fit_scale, fit_min);
    }
    for (std::size_t j = 0; j < values.size(); j += 32) {
      const auto own = grid_of(scales[j / 32], mins[j / 32]).codes_of(part(j / 32));
      const std::size_t count = std::min<std::size_t>(32, values.size() - j);
      for (std::size_t k = 0; k < count; ++k) codes[j + k] = static_cast<std::uint8_t>(own[k]);
    }
  }

 private:
  [[nodiscard]] std::span<const float, 32> part(std::size_t i) const noexcept { return values_[i]; }

  /// The float16 nearest to a number that is not negative; above 0 where that is.
  [[nodiscard]] static float16 unit_of(float wanted) noexcept {
    const float16 unit = to_float16(wanted);
    return unit.bits == 0 && wanted > 0.0F ? float16{1} : unit;
  }

  /// With few enough significant bits for products with codes to be exact.
  [[nodiscard]] static float shorten(float value) noexcept {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & 0xFFFFFF00U);
  }

  [[nodiscard]] offset_grid grid_of(std::int8_t s, std::int8_t m) const noexcept {
    return {to_float32(scale) * static_cast<float>(s), -to_float32(min) * static_cast<float>(m),
            largest_};
  }

  /// The grid that fits a part best, if its scale and min could be any; min is at most 0.
  [[nodiscard]] offset_grid best_part(std::size_t i) const noexcept {
    const value_range range(part(i));
    const float lowest = range.lowest < 0.0F ? range.lowest : 0.0F;
    offset_grid best{0.0F, shorten(lowest), largest_};
    if (!(range.highest > lowest)) return best;
    double least = best.squared_error(part(i));
    const auto consider = [&](const offset_grid& other) {
      const double error = other.squared_error(part(i));
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
      const float steps = static_cast<float>(largest_) + below + above;
      const float step = shorten((range.highest - lowest) / steps);
      // The product is exact.
      const offset_grid tried{step, std::min(lowest + below * step, 0.0F), largest_};
      consider(tried.fitted(part(i), 0.0F, shorten));
    }
    for (int turn = 0; turn < 2; ++turn) consider(best.fitted(part(i), 0.0F, shorten));
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
    for (std::size_t i = 0; i < parts_; ++i) {
      const int s = nearest(wanted_[i].scale, to_float32(scale));
      const int m = nearest(-wanted_[i].min, to_float32(min));
      double least = -1.0;
      for (int own_m = std::max(m - 1, 0); own_m <= std::min(m + 1, 63); ++own_m) {
        for (int own_s = std::max(s - 1, 0); own_s <= std::min(s + 1, 63); ++own_s) {
          const auto tried_s = static_cast<std::int8_t>(own_s);
          const auto tried_m = static_cast<std::int8_t>(own_m);
          const double error = grid_of(tried_s, tried_m).squared_error(part(i));
          if (least >= 0.0 && !(error < least)) continue;
          least = error;
          scales[i] = tried_s;
          mins[i] = tried_m;
        }
      }
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
    for (std::size_t i = 0; i < parts_; ++i) {
      const auto own = grid_of(scales[i], mins[i]).codes_of(part(i));
      std::array<std::int32_t, 32> a;
      std::array<std::int32_t, 32> b;
      for (std::size_t j = 0; j < 32; ++j) {
        a[j] = scales[i] * own[j];
        b[j] = mins[i];
        aa += a[j] * a[j];
        ab += a[j] * b[j];
        bb += b[j] * b[j];
      }
      ax.add_products(part(i), a);
      bx.add_products(part(i), b);
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
  std::size_t parts_ = 0;
  std::array<std::array<float, 32>, part_count> values_;
  std::array<offset_grid, part_count> wanted_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
