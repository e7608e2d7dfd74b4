#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_fit.hpp>
#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 values in sub-blocks, each on a grid scale * s * q - min * m, with s and m in 0..LargestNumber of
/// the sub-block and float16 scale and min of all: how Q2_K, Q4_K and Q5_K are packed.
template <std::size_t SubBlockElements, int LargestNumber>
class offset_sub_blocks {
 public:
  static constexpr std::size_t elements = 256;
  static constexpr std::size_t sub_block_elements = SubBlockElements;
  static constexpr std::size_t sub_block_count = elements / sub_block_elements;
  using codes_t = std::array<std::uint8_t, elements>;

  /// Scale and min of all, and the numbers of each sub-block.
  struct choice {
    float16 scale{};
    float16 min{};
    sub_block_numbers scales{};
    sub_block_numbers mins{};
  };

  /// `values` are 1..256 finite numbers. First each sub-block gets the scale and min that fit it best
  /// on its own. Several scales and mins of all are tried: those that give the largest sub-block the
  /// number LargestNumber or a few less, and fits to what was chosen before. Under each, every sub-block takes the
  /// numbers around its own with the least squared error. The plain choice, every sub-block from lowest
  /// to highest value and the largest being LargestNumber, is among what is tried, so the error is never above
  /// that one's.
  offset_sub_blocks(std::span<const float> values, std::uint32_t largest_code,
                    const block_packing& how = {}) noexcept
      : offset_sub_blocks(values, largest_code, std::span<const float>(), 0.0F) {
    const float factor = importance_factor(how.importance);
    if (status_ != pack_status::packed || factor == 0.0F) return;
    offset_sub_blocks weighted(values, largest_code, how.importance, factor);
    // What equal weights choose is not given up for what errs more.
    if (weighted.squared_error(chosen_) < weighted.squared_error(weighted.chosen_)) {
      weighted.chosen_ = chosen_;
    }
    *this = weighted;
  }

  [[nodiscard]] pack_status status() const noexcept { return status_; }
  /// What follows holds only where the status is packed.
  [[nodiscard]] const choice& chosen() const noexcept { return chosen_; }
  /// The codes of all values; those of absent ones are 0.
  [[nodiscard]] codes_t codes() const noexcept {
    codes_t all{};
    for (std::size_t i = 0; i < used_; ++i) {
      const values_t& values = sub_blocks_[i].values;
      const auto codes = grid_of(chosen_, i).codes_of(values.all);
      for (std::size_t j = 0; j < values.count; ++j) {
        all[sub_block_elements * i + j] = static_cast<std::uint8_t>(codes[j]);
      }
    }
    return all;
  }

 private:
  static constexpr auto most = static_cast<float>(LargestNumber);

  using values_t = weighted_values<sub_block_elements>;
  struct sub_block {
    values_t values;
    affine_grid best_fit{};    ///< if scale and min could be any
    affine_grid full_range{};  ///< from the lowest value, or 0, to the highest
  };

  struct scored_choice {
    choice chosen;
    double error = 0.0;  ///< sum of squares over all values
  };

  struct extremes {
    float scale = 0.0F;
    float min = 0.0F;  ///< magnitude
  };

  offset_sub_blocks(std::span<const float> values, std::uint32_t largest_code,
                    std::span<const float> importance, float factor) noexcept
      : largest_code_(static_cast<std::int32_t>(largest_code)) {
    for (std::size_t at = 0; at < values.size(); at += sub_block_elements) {
      const std::size_t count = std::min<std::size_t>(sub_block_elements, values.size() - at);
      const auto of = values.subspan(at, count);
      sub_block& added = sub_blocks_[used_++];
      added.values =
          factor == 0.0F ? values_t(of) : values_t(of, importance.subspan(at, count), factor);
      added.full_range = full_range_grid(added.values);
      added.best_fit = best_fit_grid(added.values, added.full_range);
    }
    const extremes full_range = largest_of(&sub_block::full_range);
    const extremes best_fit = largest_of(&sub_block::best_fit);
    const float16 first_scale = unit_of(full_range.scale / most);
    const float16 first_min = unit_of(full_range.min / most);
    if (!is_finite(first_scale)) status_ = pack_status::scale_overflow;
    if (!is_finite(first_min)) status_ = pack_status::min_overflow;
    if (status_ != pack_status::packed) return;
    least_error<choice> kept;
    const auto consider = [&](float16 scale, float16 min) {
      const auto [chosen, error] = choose_numbers(scale, min);
      kept.offer(chosen, error);
    };
    const auto consider_another = [&](float16 scale, float16 min) {
      if (!is_finite(scale) || !is_finite(min)) return;
      if (!(scale == kept.best().scale && min == kept.best().min)) consider(scale, min);
    };
    consider(first_scale, first_min);
    const float16 best_min = unit_of(best_fit.min / most);
    for (const float number : {most, most - 1.0F, most - 2.0F}) {
      consider_another(unit_of(best_fit.scale / number), best_min);
    }
    consider_another(kept.best().scale, closest_unit(best_fit.min));
    for (int turn = 0; turn < 2; ++turn) {
      const auto [scale, min] = fitted_units(kept.best());
      consider_another(scale, min);
    }
    chosen_ = kept.best();
  }

  [[nodiscard]] double squared_error(const choice& chosen) const noexcept {
    double error = 0.0;
    for (std::size_t i = 0; i < used_; ++i) {
      error += grid_of(chosen, i).squared_error(sub_blocks_[i].values);
    }
    return error;
  }

  [[nodiscard]] extremes largest_of(affine_grid sub_block::*grid) const noexcept {
    extremes largest;
    for (std::size_t i = 0; i < used_; ++i) {
      largest.scale = std::max(largest.scale, (sub_blocks_[i].*grid).scale);
      largest.min = std::max(largest.min, -(sub_blocks_[i].*grid).min);
    }
    return largest;
  }

  /// The float16 nearest to a number that is not negative; above 0 where that is.
  [[nodiscard]] static float16 unit_of(float wanted) noexcept {
    const float16 unit = to_float16(wanted);
    return unit.bits == 0 && wanted > 0.0F ? float16{1} : unit;
  }

  /// Of the float16 that divide `wanted` into LargestNumber units or up to a quarter less, the one that comes closest to it:
  /// mins far from zero err by what their rounding to float16 does.
  [[nodiscard]] static float16 closest_unit(float wanted) noexcept {
    float16 closest = unit_of(wanted / most);
    double least = HUGE_VAL;
    for (int count = LargestNumber; count >= LargestNumber * 3 / 4 + 1; --count) {
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

  [[nodiscard]] affine_grid grid_of(float16 scale, float16 min, int s, int m) const noexcept {
    return {to_float32(scale) * static_cast<float>(s), -to_float32(min) * static_cast<float>(m), 0,
            largest_code_};
  }
  [[nodiscard]] affine_grid grid_of(const choice& chosen, std::size_t i) const noexcept {
    return grid_of(chosen.scale, chosen.min, chosen.scales[i], chosen.mins[i]);
  }

  [[nodiscard]] affine_grid full_range_grid(const values_t& values) const noexcept {
    const value_range range(values.all);
    const float lowest = range.lowest < 0.0F ? range.lowest : 0.0F;
    const float step = (range.highest - lowest) / static_cast<float>(largest_code_);
    return {range.highest > lowest ? step : 0.0F, lowest, 0, largest_code_};
  }

  /// min is at most 0.
  [[nodiscard]] affine_grid best_fit_grid(const values_t& values,
                                          const affine_grid& full_range) const noexcept {
    const affine_grid first{short_scale(full_range.scale), short_scale(full_range.min), 0,
                            largest_code_};
    if (full_range.scale == 0.0F) return first;
    least_error<affine_grid> kept(first, first.squared_error(values));
    const auto consider = [&](const affine_grid& grid) {
      kept.offer(grid, grid.squared_error(values));
    };
    for (const auto [below, above] : {grid_margins{0.0F, 0.0F},
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
      const auto steps = static_cast<float>(largest_code_);
      const float step = short_scale(full_range.scale * (steps / (steps + below + above)));
      // The product is exact.
      const affine_grid tried{step, std::min(full_range.min + below * step, 0.0F), 0, largest_code_};
      consider(affine_fit(tried, values).grid(0.0F, short_scale));
    }
    for (int turn = 0; turn < 2; ++turn)
      consider(affine_fit(kept.best(), values).grid(0.0F, short_scale));
    return kept.best();
  }

  struct numbers {
    int s = 0;
    int m = 0;
    friend bool operator==(const numbers&, const numbers&) = default;
  };
  /// The numbers nearest to a grid of a sub-block's own.
  [[nodiscard]] static numbers nearest_numbers(const affine_grid& grid, float16 scale,
                                               float16 min) noexcept {
    const auto nearest = [](float value, float unit) {
      if (unit == 0.0F) return 0;
      const float number = value / unit + 0.5F;
      return static_cast<int>(number < most ? number : most);
    };
    return {nearest(grid.scale, to_float32(scale)), nearest(-grid.min, to_float32(min))};
  }

  /// The numbers of sub-block i with the least squared error under scale and min of all.
  [[nodiscard]] least_error<numbers> choose_numbers(std::size_t i, float16 scale,
                                                    float16 min) const noexcept {
    least_error<numbers> kept;
    const auto consider = [&](const numbers& tried) {
      if (tried.s < 0 || tried.s > LargestNumber || tried.m < 0 || tried.m > LargestNumber) return;
      kept.offer(tried, grid_of(scale, min, tried.s, tried.m).squared_error(sub_blocks_[i].values));
    };
    const numbers best_fit = nearest_numbers(sub_blocks_[i].best_fit, scale, min);
    const numbers full_range = nearest_numbers(sub_blocks_[i].full_range, scale, min);
    for (const int more_m : {0, -1, 1}) {
      for (const int more_s : {0, -1, 1}) consider({best_fit.s + more_s, best_fit.m + more_m});
    }
    if (full_range != best_fit) consider(full_range);
    return kept;
  }

  [[nodiscard]] scored_choice choose_numbers(float16 scale, float16 min) const noexcept {
    scored_choice scored{{.scale = scale, .min = min}};
    for (std::size_t i = 0; i < used_; ++i) {
      const least_error<numbers> kept = choose_numbers(i, scale, min);
      scored.chosen.scales[i] = static_cast<std::int8_t>(kept.best().s);
      scored.chosen.mins[i] = static_cast<std::int8_t>(kept.best().m);
      scored.error += kept.error();
    }
    return scored;
  }

  struct units {
    float16 scale;
    float16 min;
  };
  /// Scale and min of all, fitted to the numbers and codes that were chosen.
  [[nodiscard]] units fitted_units(const choice& chosen) const noexcept {
    units fit{chosen.scale, chosen.min};
    // Least squares of x = scale * a - min * b, with whole numbers a = s q and b = m.
    lane_sums aa;
    lane_sums ab;
    lane_sums bb;
    lane_sums ax;
    lane_sums bx;
    for (std::size_t i = 0; i < used_; ++i) {
      const values_t& values = sub_blocks_[i].values;
      const auto codes = grid_of(chosen, i).codes_of(values.all);
      using floats = std::array<float, sub_block_elements>;
      floats a;
      floats b;
      floats weighted_a;
      floats weighted_b;
      floats weighted_x;
      for (std::size_t j = 0; j < sub_block_elements; ++j) {
        a[j] = static_cast<float>(chosen.scales[i] * codes[j]);
        b[j] = static_cast<float>(chosen.mins[i]);
        weighted_a[j] = a[j] * values.weights[j];
        weighted_b[j] = b[j] * values.weights[j];
        weighted_x[j] = values.all[j] * values.weights[j];
      }
      aa.add_products(weighted_a, a);
      ab.add_products(weighted_a, b);
      bb.add_products(weighted_b, b);
      ax.add_products(weighted_x, a);
      bx.add_products(weighted_x, b);
    }
    // With the min as it is, then with the scale that came of it: each is a division of exact products.
    const auto unit_from = [](double rest, double squares, float16 otherwise) {
      if (squares == 0.0) return otherwise;
      const float16 unit = to_float16(static_cast<float>(rest / squares));
      return unit.bits < 0x7C00U ? unit : otherwise;
    };
    const auto cross = static_cast<double>(static_cast<float>(ab.total()));
    fit.scale = unit_from(ax.total() + static_cast<double>(to_float32(chosen.min)) * cross, aa.total(),
                          chosen.scale);
    fit.min = unit_from(static_cast<double>(to_float32(fit.scale)) * cross - bx.total(), bb.total(),
                        chosen.min);
    return fit;
  }

  std::int32_t largest_code_;
  pack_status status_ = pack_status::packed;
  choice chosen_;
  std::size_t used_ = 0;
  std::array<sub_block, sub_block_count> sub_blocks_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
