#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <tuple>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/simd/vector.hpp>

#include <support/catch.hpp>
#include <support/decoded_weight.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace nibble_test {

/// Outputs of those weights; kernels are given all but the first and last.
inline constexpr std::size_t kernel_outputs = 39;

/// Whether M rows of K, of at most so many rows, are multiplied: portable code is not optimized here, and
/// multiplies long rows for some M alone.
template <class Architecture>
[[nodiscard]] constexpr bool multiplies_rows_of(std::size_t k, std::size_t m, std::size_t most) {
  if (!std::is_same_v<Architecture, nibble::simd::portable> || k < 4000) return true;
  return m <= 2 || m == most / 2 || m == most;
}

/// x[M x K] and a weight, their products in double, and what the bounds of those are made of.
struct kernel_problem {
  kernel_problem(nibble::encoding which, std::size_t m, std::size_t k)
      : bytes(finite_stored_bytes(which, kernel_outputs, k, static_cast<std::uint32_t>(k + m))),
        x(gaussian(m * k, 3, 1.0F)),
        expected(m * kernel_outputs) {
    const decoded_weight weights(nibble::to_string(which), bytes, kernel_outputs, k);
    const double rounding = (static_cast<double>(k) + 9.0) * 0x1p-24;
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 1; j < kernel_outputs - 1; ++j) {
        expectation& sums = expected[i * kernel_outputs + j];
        for (std::size_t first = 0; first < k; first += 32) {
          double largest = 0.0;
          double magnitudes = 0.0;
          for (std::size_t at = first; at < std::min(first + 32, k); ++at) {
            const auto activation = static_cast<double>(x[i * k + at]);
            const auto weight = static_cast<double>(weights.values[j * k + at]);
            sums.product += activation * weight;
            sums.roundings += rounding * std::fabs(activation) * weights.parts[j * k + at];
            largest = std::max(largest, std::fabs(activation));
            magnitudes += std::fabs(weight);
          }
          sums.largest += largest * magnitudes;
        }
      }
    }
  }

  struct expectation {
    double product = 0.0;
    double roundings = 0.0;  ///< what sums in f32 may be off
    double largest = 0.0;    ///< sum over blocks of max|x| * sum |w_k|, of which coding x costs a part
  };

  std::vector<std::byte> bytes;
  std::vector<float> x;
  std::vector<expectation> expected;  ///< m x kernel_outputs
};

/// Made once for every architecture, kind of activations and tiling that is held against it.
inline const kernel_problem& kernel_problem_of(nibble::encoding which, std::size_t m, std::size_t k) {
  static std::map<std::tuple<nibble::encoding, std::size_t, std::size_t>, kernel_problem> made;
  return made.try_emplace({which, m, k}, which, m, k).first->second;
}

/// Holds y against its bound, where activations were coded in so many steps.
inline void require_expected(const kernel_problem& problem, nibble::encoding which, std::size_t m,
                             std::size_t k, double steps, const std::vector<float>& y) {
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < kernel_outputs; ++j) {
      const float written = y[i * kernel_outputs + j];
      if (j == 0 || j == kernel_outputs - 1) {
        if (written != -7777.0F) FAIL("wrote to an output of another task");
        continue;
      }
      const auto found = static_cast<double>(written);
      const kernel_problem::expectation& expected = problem.expected[i * kernel_outputs + j];
      const double bound = expected.roundings + expected.largest / steps;
      if (!(std::fabs(found - expected.product) <= bound)) {
        FAIL(fmt::format("{} M {} K {}: y[{}][{}] is {} instead of {} +- {}", nibble::to_string(which),
                         m, k, i, j, found, expected.product, bound));
      }
    }
  }
}

/// Products by one kernel, whichever matmul would choose, of all weight rows but the first and last:
/// y[m][n] within the rounding of f32, and of codes half a step from x. What must not be written is
/// watched. Activations are prepared in that layout, in tiles of at most so many rows; `multiply` is
/// called with (weight, first row, rows, x, prepared x, output).
template <class Architecture, class Codec, class Value, class Multiply>
void require_kernel_products(std::size_t m, std::size_t k,
                             const nibble::kernel::activation_layout& layout, std::size_t max_tile_rows,
                             const Multiply& multiply) {
  namespace kernel = nibble::kernel;
  constexpr std::size_t n = kernel_outputs;
  const kernel_problem& problem = kernel_problem_of(Codec::encoding, m, k);
  const nibble::tensor_view w("w", Codec::encoding, {n, k}, problem.bytes);

  std::vector<std::byte> memory(m * kernel::prepared_row_bytes<Value>(k) + 64);
  auto* start = memory.data();
  while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
  const auto prepared = kernel::place_activations<Value>(start, m, max_tile_rows, k);
  for (std::size_t i = 0; i < m; ++i) {
    kernel::prepare_row<Architecture>(problem.x.data() + i * k, k, layout, i, prepared);
  }
  std::vector<float> y(m * n, -7777.0F);
  multiply(w, std::uint64_t{1}, n - 2, problem.x, prepared,
           kernel::product_output{y.data(), n, nullptr});

  double steps = std::numeric_limits<double>::infinity();
  if constexpr (!std::is_same_v<Value, float>)
    steps = std::is_same_v<Value, std::int16_t> ? 64000 : 253;
  require_expected(problem, Codec::encoding, m, k, steps, y);
}

}  // namespace nibble_test
