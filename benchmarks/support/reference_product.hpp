#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace nibble_benchmark {

/// Values in -1..1 without structure, for the inputs of a product.
[[nodiscard]] inline std::vector<float> unstructured_values(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 12345;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;  // Numerical Recipes' generator; its high bits are good
    value = static_cast<float>(state >> 8U) * 0x1p-23F - 1.0F;
  }
  return values;
}

/// How far y is from x * w^T in f64: norm of the difference over norm of the result; infinite where
/// only one of them is a number. Row n of w is what decode_row(n, floats) gives.
///
/// Looks at the first, the middle and the last row of x, and at no more than about 512 rows of w,
/// spread so that each place in a tile of any size comes up.
template <class DecodeRow>
[[nodiscard]] double product_error(std::uint64_t outputs, std::uint64_t inputs,
                                   std::span<const float> x, std::span<const float> y,
                                   DecodeRow&& decode_row) {
  const auto cols = static_cast<std::size_t>(inputs);
  const std::size_t x_rows = x.size() / cols;
  std::vector<std::size_t> looked_at{0, x_rows / 2, x_rows - 1};
  looked_at.erase(std::unique(looked_at.begin(), looked_at.end()), looked_at.end());
  const std::uint64_t step = outputs / 512 | 1U;
  std::vector<float> row(cols);
  double squared_difference = 0.0;
  double squared_norm = 0.0;
  const auto look = [&](std::uint64_t n) {
    decode_row(n, std::span(row));
    for (const std::size_t m : looked_at) {
      double product = 0.0;
      for (std::size_t k = 0; k < cols; ++k) {
        product += static_cast<double>(row[k]) * static_cast<double>(x[m * cols + k]);
      }
      const double difference = static_cast<double>(y[m * outputs + n]) - product;
      squared_difference += difference * difference;
      squared_norm += product * product;
    }
  };
  std::uint64_t n = 0;
  for (; n < outputs; n += step) look(n);
  if (n - step != outputs - 1) look(outputs - 1);
  if (squared_difference == 0.0) return 0.0;
  const double error = std::sqrt(squared_difference / squared_norm);
  return std::isfinite(error) ? error : std::numeric_limits<double>::infinity();
}

}  // namespace nibble_benchmark
