#include <nibble/codec/affine_fit.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/core/float16.hpp>

#include <codec/block_distributions.hpp>
#include <support/catch.hpp>

namespace {

using nibble::affine_fit;
using nibble::affine_grid;
using nibble::weighted_values;

TEST_CASE("a fitted grid errs no more than those around it under the same codes and weights",
          "[affine_fit]") {
  const auto same = [](float value) { return value; };
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {2U, 7U, 32U}) {
      for (const bool has_weights : {false, true}) {
        const auto values = std::span(of.values).first(count);
        const auto [low, high] = std::minmax_element(values.begin(), values.end());
        const affine_grid grid{nibble::nearest_float16((*high - *low) / 15.0F),
                               nibble::nearest_float16(*low), 0, 15};
        std::vector<float> importance(count, 1.0F);
        for (std::size_t j = 0; has_weights && j < count; ++j) {
          importance[j] = static_cast<float>(1 + j % 7);
        }
        const weighted_values<32> own(values, importance, 1.0F);
        const auto codes = grid.codes_of(own.all);
        double size = 0.0;
        for (const float value : values) size = std::max(size, std::fabs(static_cast<double>(value)));
        const auto error_of = [&](double scale, double min) {
          double total = 0.0;
          for (std::size_t j = 0; j < count; ++j) {
            const double difference = static_cast<double>(values[j]) - (scale * codes[j] + min);
            total += static_cast<double>(importance[j]) * difference * difference;
          }
          return total;
        };
        // scale, min and the sums are rounded to f32.
        const double slack = static_cast<double>(8 * count) * std::pow(size * 0x1p-20, 2);
        for (const float highest_min : {3e38F, 0.0F}) {
          const affine_grid fitted = affine_fit(grid, own).grid(highest_min, same);
          if (fitted.scale == grid.scale && fitted.min == grid.min) continue;
          if (!(fitted.min <= highest_min)) FAIL("min " << fitted.min);
          const auto scale = static_cast<double>(fitted.scale);
          const auto min = static_cast<double>(fitted.min);
          for (const double step : {-0.01 * scale, 0.01 * scale}) {
            CAPTURE(of.name, count, has_weights, step, highest_min);
            CHECK(error_of(scale, min) <= error_of(scale + step, min) * (1 + 1e-5) + slack);
            if (min + step <= static_cast<double>(highest_min)) {
              CHECK(error_of(scale, min) <= error_of(scale, min + step) * (1 + 1e-5) + slack);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a fitted scale errs no more than those around it under the same codes and weights",
          "[affine_fit]") {
  for (const auto& of : nibble_test::block_distributions()) {
    const auto values = std::span(of.values).first(32);
    const auto farthest = std::max_element(
        values.begin(), values.end(), [](float a, float b) { return std::fabs(a) < std::fabs(b); });
    const affine_grid grid{nibble::nearest_float16(*farthest / -8.0F), 0.0F, -8, 7};
    std::vector<float> importance(32);
    for (std::size_t j = 0; j < 32; ++j) importance[j] = static_cast<float>(j % 4 + (j == 9 ? 100 : 0));
    const weighted_values<32> own(values, importance, 1.0F);
    const auto codes = grid.codes_of(own.all);
    const auto fitted = static_cast<double>(affine_fit(grid, own).scale());
    const auto error_of = [&](double scale) {
      double total = 0.0;
      for (std::size_t j = 0; j < 32; ++j) {
        const double difference = static_cast<double>(values[j]) - scale * codes[j];
        total += static_cast<double>(importance[j]) * difference * difference;
      }
      return total;
    };
    for (const double factor : {0.99, 0.9999, 1.0001, 1.01}) {
      CAPTURE(of.name, factor);
      CHECK(error_of(fitted) <= error_of(fitted * factor) * (1.0 + 1e-9));
    }
  }
}

}  // namespace
