#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/activations.hpp>
#include <nibble/compute/product_output.hpp>
#include <nibble/compute/weight_blocks.hpp>
#include <nibble/core/tensor_view.hpp>

#include <compute/decoded_weight.hpp>
#include <compute/stored_tensors.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace nibble_test {

/// Products by one kernel, whichever matmul would choose, of all weight rows but the first and last:
/// y[m][n] within the rounding of f32, and of codes half a step from x. What must not be written is
/// watched. Activations are prepared in that layout, in tiles of at most so many rows; `multiply` is
/// called with (weight, first row, rows, x, prepared x, output).
template <class Architecture, class Codec, class Value, class Multiply>
void require_kernel_products(std::size_t m, std::size_t k,
                             const nibble::kernel::activation_layout& layout,
                             std::size_t most_tile_rows, const Multiply& multiply) {
  namespace kernel = nibble::kernel;
  constexpr std::size_t n = 39;
  const auto bytes = finite_stored_bytes(Codec::encoding, n, k, static_cast<std::uint32_t>(k + m));
  const nibble::tensor_view w("w", Codec::encoding, {n, k}, bytes);
  const decoded_weight weights(nibble::to_string(Codec::encoding), bytes, n, k);
  const auto x = gaussian(m * k, 3, 1.0F);

  std::vector<std::byte> memory(m * kernel::prepared_row_bytes<Value>(k) + 64);
  auto* start = memory.data();
  while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
  const auto prepared = kernel::place_activations<Value>(start, m, most_tile_rows, k);
  for (std::size_t i = 0; i < m; ++i) {
    kernel::prepare_row<Architecture>(x.data() + i * k, k, layout, i, prepared);
  }
  std::vector<float> y(m * n, -7777.0F);
  multiply(w, std::uint64_t{1}, n - 2, x, prepared, kernel::product_output{y.data(), n, nullptr});

  double steps = std::numeric_limits<double>::infinity();
  if constexpr (!std::is_same_v<Value, float>)
    steps = std::is_same_v<Value, std::int16_t> ? 64000 : 253;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      const auto found = static_cast<double>(y[i * n + j]);
      if (j == 0 || j == n - 1) {
        if (y[i * n + j] != -7777.0F) FAIL("wrote to an output of another task");
        continue;
      }
      double product = 0.0;
      double bound = 0.0;
      for (std::size_t first = 0; first < k; first += 32) {
        double largest = 0.0;
        double magnitudes = 0.0;
        for (std::size_t at = first; at < std::min(first + 32, k); ++at) {
          const auto activation = static_cast<double>(x[i * k + at]);
          product += activation * static_cast<double>(weights.values[j * k + at]);
          bound += (static_cast<double>(k) + 9.0) * 0x1p-24 * std::fabs(activation) *
                   weights.parts[j * k + at];
          largest = std::max(largest, std::fabs(activation));
          magnitudes += std::fabs(static_cast<double>(weights.values[j * k + at]));
        }
        bound += largest / steps * magnitudes;
      }
      if (!(std::fabs(found - product) <= bound)) {
        FAIL(fmt::format("{} M {} K {}: y[{}][{}] is {} instead of {} +- {}",
                         nibble::to_string(Codec::encoding), m, k, i, j, found, product, bound));
      }
    }
  }
}

}  // namespace nibble_test
