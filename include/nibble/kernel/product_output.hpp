#pragma once

// Where sums go. No product keeps sums between passes over the columns: the first pass sets y, with the
// bias, and each later one adds to y.

#include <cstddef>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Where products go: y[m][n], a row for each row m of activations and a column for each weight row n,
/// with a bias for each n or none.
struct product_output {
  float* y;
  std::size_t stride_elements;
  const float* bias;  ///< or null

  /// One weight row, `rows` rows of activations: sets y[m][n] to values[m] + bias[n] where these are
  /// the first products of y[m][n], else adds values[m].
  void put(std::uint64_t n, const float* values, std::size_t rows, bool is_first) const noexcept {
    const float start = bias != nullptr ? bias[n] : 0.0F;
    float* to = y + n;
    for (std::size_t m = 0; m < rows; ++m, to += stride_elements) {
      *to = values[m] + (is_first ? start : *to);
    }
  }

  /// One row of activations, `count` weight rows from n on: the same for y[m][n + i] and values[i].
  void put_row(std::size_t m, std::uint64_t n, const float* values, std::size_t count,
               bool is_first) const noexcept {
    float* const to = y + m * stride_elements + n;
    if (!is_first) {
      for (std::size_t i = 0; i < count; ++i) to[i] += values[i];
    } else if (bias != nullptr) {
      for (std::size_t i = 0; i < count; ++i) to[i] = values[i] + bias[n + i];
    } else {
      for (std::size_t i = 0; i < count; ++i) to[i] = values[i];
    }
  }
};

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
