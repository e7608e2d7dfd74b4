#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/kernel/matmul_mode.hpp>

#include <support/decoded_weight.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace nibble_test {

/// x[M x K] and w[N x K].
struct product_operands {
  product_operands(nibble::encoding which, std::size_t rows, std::size_t outputs, std::size_t inputs,
                   std::uint32_t seed)
      : m(rows),
        n(outputs),
        k(inputs),
        bytes(finite_stored_bytes(which, outputs, inputs, seed)),
        x(gaussian(m * k, seed + 7, 1.0F)) {}

  std::size_t m;
  std::size_t n;
  std::size_t k;
  std::vector<std::byte> bytes;
  std::vector<float> x;
};

/// Their products in double, with what the bounds of matmul.hpp are made of.
struct product_problem : product_operands {
  product_problem(nibble::encoding which, std::size_t rows, std::size_t outputs, std::size_t inputs,
                  std::uint32_t seed)
      : product_operands(which, rows, outputs, inputs, seed) {
    const decoded_weight weights(nibble::to_string(which), bytes, n, k);
    for (std::size_t i = 0; i < m; ++i) {
      std::vector<double> largest((k + 31) / 32);
      for (std::size_t at = 0; at < k; ++at) {
        largest[at / 32] = std::max(largest[at / 32], std::fabs(static_cast<double>(x[i * k + at])));
      }
      for (std::size_t j = 0; j < n; ++j) {
        expectation of;
        for (std::size_t at = 0; at < k; ++at) {
          const auto activation = static_cast<double>(x[i * k + at]);
          const auto weight = static_cast<double>(weights.values[j * k + at]);
          of.product += activation * weight;
          of.magnitudes += std::fabs(activation * weight);
          of.parts += std::fabs(activation) * weights.parts[j * k + at];
          of.largest += largest[at / 32] * std::fabs(weight);
        }
        expected.push_back(of);
      }
    }
  }

  struct expectation {
    double product = 0.0;
    double magnitudes = 0.0;  ///< sum |x_k w_k|
    double parts = 0.0;       ///< sum |x_k| (|scale_k q_k| + |min_k|)
    double largest = 0.0;     ///< sum over blocks of max|x| * sum |w_k|
  };

  /// The documented bound, with the terms beyond first order: n u / (1 - n u). The double sums err by
  /// 2^-53 a term, some 2^-29 of it.
  [[nodiscard]] double bound(std::size_t i, std::size_t j, nibble::encoding which, std::size_t rows,
                             nibble::matmul_mode mode) const {
    const expectation& of = expected[i * n + j];
    const bool is_coded =
        nibble::describe(which).is_quantized() && (which != nibble::encoding::apr_q4 || k % 32 == 0);
    const double roundings = (static_cast<double>(k) + 8.0) * 0x1p-24;
    const double rounding = roundings / (1.0 - roundings);
    // Activations may be rounded to bf16, which costs no more than codes of 8 bits.
    const bool is_rounded = which == nibble::encoding::bf16 && mode == nibble::matmul_mode::int8;
    if (is_rounded) return of.largest / 253.0 + rounding * 1.01 * of.magnitudes;
    if (!is_coded || (mode == nibble::matmul_mode::exact && rows > 8)) return rounding * of.magnitudes;
    if (mode == nibble::matmul_mode::exact) return rounding * of.parts;
    // Codes are half a step off at most, and what two roundings to f32 make of 32767 (127) steps.
    const double steps = mode == nibble::matmul_mode::int16 ? 64000.0 : 253.0;
    return of.largest / steps + rounding * 1.01 * of.parts;
  }

  std::vector<expectation> expected;  ///< m x n
};

}  // namespace nibble_test
