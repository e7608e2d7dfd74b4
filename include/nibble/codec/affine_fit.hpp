#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The sums over a block from which least squares follow, for values x less the grid's min, codes q and
/// weights w. Rounded to f32: a product of two of them is exact in f64, so that fusing it with a sum
/// changes no bit.
class affine_fit {
 public:
  template <std::size_t Count>
  affine_fit(const affine_grid& grid, const weighted_values<Count>& values) noexcept : grid_(grid) {
    const auto codes = grid.codes_of(values.all);
    std::array<float, Count> offsets;
    std::array<float, Count> weighted_codes;
    for (std::size_t j = 0; j < Count; ++j) {
      offsets[j] = (values.all[j] - grid.min) * values.weights[j];
      weighted_codes[j] = static_cast<float>(codes[j]) * values.weights[j];
    }
    w_ = sum_of(values.weights);
    wx_ = sum_of(offsets);
    wq_ = sum_of(weighted_codes);
    wxq_ = sum_of(offsets, codes);
    wqq_ = sum_of(weighted_codes, codes);
  }

  /// The scale with the least squared error for the codes, where min stays; the grid's own where all
  /// codes are 0.
  [[nodiscard]] float scale() const noexcept {
    return wqq_ == 0.0 ? grid_.scale : static_cast<float>(wxq_ / wqq_);
  }

  /// The grid with the least squared error for the codes, whose min is at most `highest_min`. `round`
  /// makes of scale and min ones that can be stored.
  template <class Round>
  [[nodiscard]] affine_grid grid(float highest_min, const Round& round) const noexcept {
    // scale = (W sum wxq - sum wq sum wx) / (W sum wqq - (sum wq)^2), with W = sum w.
    const double spread = w_ * wqq_ - wq_ * wq_;
    if (!(spread > 0x1p-18 * w_ * wqq_)) return grid_;
    affine_grid fit = grid_;
    fit.scale = round(static_cast<float>((w_ * wxq_ - wq_ * wx_) / spread));
    const double offset = (wx_ - static_cast<double>(fit.scale) * wq_) / w_;
    fit.min = round(static_cast<float>(offset + static_cast<double>(grid_.min)));
    if (fit.min > highest_min) {
      fit.min = highest_min;
      const double from = static_cast<double>(highest_min - grid_.min);
      fit.scale = round(static_cast<float>((wxq_ - from * wq_) / wqq_));
    }
    return fit;
  }

 private:
  template <std::size_t Count, class... Factors>
  [[nodiscard]] static double sum_of(const std::array<float, Count>& values,
                                     const Factors&... factors) noexcept {
    lane_sums sums;
    if constexpr (sizeof...(factors) == 0) {
      std::array<float, Count> ones;
      ones.fill(1.0F);
      sums.add_products(values, ones);
    } else {
      sums.add_products(values, factors...);
    }
    return static_cast<double>(static_cast<float>(sums.total()));
  }

  affine_grid grid_;
  double w_;
  double wx_;
  double wq_;
  double wxq_;
  double wqq_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
