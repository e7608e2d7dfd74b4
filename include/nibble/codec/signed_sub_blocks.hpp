#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/round_half_away.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 values in sixteen sub-blocks of 16, each on a grid scale * s * q, with s in LowestNumber ..
/// -LowestNumber - 1 of the sub-block, q in LowestCode .. -LowestCode - 1 and one float16 scale of all:
/// how Q3_K and Q6_K are packed.
template <int LowestCode, int LowestNumber>
class signed_sub_blocks {
 public:
  static constexpr std::size_t elements = 256;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr std::size_t sub_block_count = elements / sub_block_elements;
  using codes_t = std::array<std::int32_t, sub_block_elements>;

  /// `values` are 1..256 finite numbers; those that are missing count as 0.
  ///
  /// First each sub-block gets the scale that fits it best on its own. Then several scales of all are
  /// tried: those that give the largest of them the number LowestNumber or one near it, and fits to
  /// what was chosen before. Under each, every sub-block takes the number around its own scale with the least
  /// squared error.
  explicit signed_sub_blocks(std::span<const float> values, const block_packing& how = {}) noexcept
      : signed_sub_blocks(values, std::span<const float>(), 0.0F) {
    const float factor = importance_factor(how.importance);
    if (status_ != pack_status::packed || factor == 0.0F) return;
    signed_sub_blocks weighted(values, how.importance, factor);
    // What equal weights choose is not given up for what errs more.
    if (weighted.status_ != pack_status::packed ||
        weighted.squared_error(chosen_) < weighted.squared_error(weighted.chosen_)) {
      weighted.chosen_ = chosen_;
    }
    weighted.status_ = pack_status::packed;
    *this = weighted;
  }

  [[nodiscard]] pack_status status() const noexcept { return status_; }
  /// What follows holds only where the status is packed.
  [[nodiscard]] float16 scale() const noexcept { return chosen_.scale; }
  [[nodiscard]] const sub_block_numbers& numbers() const noexcept { return chosen_.numbers; }
  /// The codes of sub-block i's values.
  [[nodiscard]] codes_t codes(std::size_t i) const noexcept {
    return grid(chosen_.scale, chosen_.numbers[i]).codes_of(sub_blocks_[i].all);
  }
  /// The codes of all values as they are stored, counted from the lowest; those of absent values are 0.
  [[nodiscard]] std::array<std::uint8_t, elements> stored_codes() const noexcept {
    std::array<std::uint8_t, elements> stored{};
    for (std::size_t i = 0; i < sub_block_count; ++i) {
      const codes_t some = codes(i);
      for (std::size_t k = 0; k < sub_blocks_[i].count; ++k) {
        stored[sub_block_elements * i + k] = static_cast<std::uint8_t>(some[k] - lowest_code);
      }
    }
    return stored;
  }

 private:
  static constexpr std::int32_t lowest_code = LowestCode;
  static constexpr std::int32_t highest_code = -LowestCode - 1;
  static constexpr auto lowest = static_cast<float>(LowestCode);
  static constexpr auto lowest_number = static_cast<float>(LowestNumber);
  /// Where on the grid the largest magnitude of a sub-block is put.
  static constexpr std::array places = {lowest,        lowest + 0.25F, lowest + 0.5F, lowest + 0.75F,
                                        lowest + 1.0F, lowest + 1.5F,  lowest + 2.0F, lowest - 0.25F,
                                        lowest - 0.5F, lowest - 0.75F, lowest - 1.0F, -lowest - 1.0F,
                                        -lowest - 0.5F};

  /// A scale of all, and the number of each sub-block.
  struct choice {
    float16 scale{};
    sub_block_numbers numbers{};
  };
  struct scored_choice {
    choice chosen;
    double error = 0.0;  ///< sum of squares over all values
  };
  using sub_block = weighted_values<sub_block_elements>;

  signed_sub_blocks(std::span<const float> values, std::span<const float> importance,
                    float factor) noexcept {
    for (std::size_t i = 0; sub_block_elements * i < values.size(); ++i) {
      const std::size_t at = sub_block_elements * i;
      const std::size_t count = std::min(sub_block_elements, values.size() - at);
      const auto of = values.subspan(at, count);
      sub_blocks_[i] =
          factor == 0.0F ? sub_block(of) : sub_block(of, importance.subspan(at, count), factor);
    }
    choose();
  }

  void choose() noexcept {
    float largest = 0.0F;
    for (std::size_t i = 0; i < sub_block_count; ++i) {
      farthest_[i] = farthest_from_zero(sub_blocks_[i].all);
      best_scales_[i] =
          best_signed_grid(sub_blocks_[i], lowest_code, highest_code, places, short_scale).scale;
      if (std::fabs(best_scales_[i]) > std::fabs(largest)) largest = best_scales_[i];
    }
    const float16 plain = to_float16(farthest_from_zero(farthest_) / lowest / lowest_number);
    float16 first = to_float16(largest / lowest_number);
    if (!is_finite(first)) first = plain;
    if (!is_finite(first)) {
      status_ = pack_status::scale_overflow;
      return;
    }
    least_error<choice> kept;
    const auto consider = [&](float16 scale) {
      const auto [chosen, error] = choose_numbers(scale);
      kept.offer(chosen, error);
    };
    const auto consider_another = [&](float16 scale) {
      if (is_finite(scale) && !(scale == kept.best().scale)) consider(scale);
    };
    consider(first);
    if (to_float32(first) == 0.0F) consider_another(float16{1});
    consider_another(plain);
    for (const float share : {127.0F, 125.0F, 132.0F}) {
      consider_another(to_float16(largest / (lowest_number * (share / 128.0F))));
    }
    for (int turn = 0; turn < 2; ++turn) consider_another(fitted_scale(kept.best()));
    chosen_ = kept.best();
  }

  [[nodiscard]] static affine_grid grid(float16 scale, int number) noexcept {
    return {to_float32(scale) * static_cast<float>(number), 0.0F, lowest_code, highest_code};
  }

  [[nodiscard]] double squared_error(const choice& chosen) const noexcept {
    double error = 0.0;
    for (std::size_t i = 0; i < sub_block_count; ++i) {
      error += grid(chosen.scale, chosen.numbers[i]).squared_error(sub_blocks_[i]);
    }
    return error;
  }

  /// The whole number of units nearest to a scale.
  [[nodiscard]] static int nearest_number(float scale, float unit) noexcept {
    if (unit == 0.0F) return 0;
    return static_cast<int>(
        std::min(std::max(round_half_away(scale / unit), lowest_number), -lowest_number - 1.0F));
  }

  /// The number of sub-block i with the least squared error under a scale of all.
  [[nodiscard]] least_error<std::int8_t> choose_number(std::size_t i, float16 scale) const noexcept {
    const float unit = to_float32(scale);
    least_error<std::int8_t> kept;
    const auto consider = [&](int number) {
      kept.offer(static_cast<std::int8_t>(number), grid(scale, number).squared_error(sub_blocks_[i]));
    };
    const int nearest = nearest_number(best_scales_[i], unit);
    for (int number = std::max(nearest - 1, LowestNumber);
         number <= std::min(nearest + 1, -LowestNumber - 1); ++number) {
      consider(number);
    }
    for (const float place : {lowest, lowest + 1.0F}) {
      const int number = nearest_number(farthest_[i] / place, unit);
      if (std::abs(number - nearest) > 1) consider(number);
    }
    return kept;
  }

  [[nodiscard]] scored_choice choose_numbers(float16 scale) const noexcept {
    scored_choice scored{{.scale = scale}};
    for (std::size_t i = 0; i < sub_block_count; ++i) {
      const least_error<std::int8_t> kept = choose_number(i, scale);
      scored.chosen.numbers[i] = kept.best();
      scored.error += kept.error();
    }
    return scored;
  }

  /// The scale with the least squared error for the numbers of a choice and the codes under them.
  [[nodiscard]] float16 fitted_scale(const choice& chosen) const noexcept {
    lane_sums products;
    lane_sums squares;
    for (std::size_t i = 0; i < sub_block_count; ++i) {
      const sub_block& values = sub_blocks_[i];
      codes_t factors = grid(chosen.scale, chosen.numbers[i]).codes_of(values.all);
      std::array<float, sub_block_elements> weighted;
      std::array<float, sub_block_elements> weighted_factors;
      for (std::size_t k = 0; k < sub_block_elements; ++k) {
        factors[k] *= chosen.numbers[i];
        weighted[k] = values.all[k] * values.weights[k];
        weighted_factors[k] = static_cast<float>(factors[k]) * values.weights[k];
      }
      products.add_products(weighted, factors);
      squares.add_products(weighted_factors, factors);
    }
    if (squares.total() == 0.0) return chosen.scale;
    return to_float16(static_cast<float>(products.total() / squares.total()));
  }

  pack_status status_ = pack_status::packed;
  choice chosen_;
  std::array<sub_block, sub_block_count> sub_blocks_;
  std::array<float, sub_block_count> best_scales_{};  ///< of each sub-block on its own
  std::array<float, sub_block_count> farthest_{};     ///< value of the largest magnitude
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
