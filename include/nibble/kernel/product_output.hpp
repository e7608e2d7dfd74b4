#pragma once

#include <cstddef>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Where products go: y[m][n], with a bias for each n or none.
struct product_output {
  float* y;
  std::size_t stride_elements;
  const float* bias;  ///< or null

  /// Sets y[0 .. rows][n] to values + bias where they are the first, else adds them.
  void put(std::uint64_t n, const float* values, std::size_t rows, bool is_first) const noexcept {
    const float start = bias != nullptr ? bias[n] : 0.0F;
    float* to = y + n;
    for (std::size_t m = 0; m < rows; ++m, to += stride_elements) {
      *to = values[m] + (is_first ? start : *to);
    }
  }

  /// Sets y[m][n .. n + count] to values + bias where they are the first, else adds them.
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
}  // namespace nibble
