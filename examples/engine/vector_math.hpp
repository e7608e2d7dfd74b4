#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <span>

#include <xsimd/xsimd.hpp>

#include <nibble/core/architecture.hpp>

namespace nibble_engine {
NIBBLE_BEGIN_VECTOR_CODE

/// What a token's vectors need beside the products with weights: plain loops in an order that does not
/// depend on threads.

/// The sum of a[i] * b[i], in 16 partial sums so that compilers use vectors.
[[nodiscard]] inline float dot(const float* a, const float* b, std::size_t count) noexcept {
  constexpr std::size_t lanes = 16;
  std::array<float, lanes> sums{};
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (std::size_t lane = 0; lane < lanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (std::size_t lane = 0; i < count; ++i, ++lane) sums[lane] += a[i] * b[i];
  // By halves of constant lengths, so that they stay in registers.
  std::array<float, 8> eight;
  for (std::size_t lane = 0; lane < 8; ++lane) eight[lane] = sums[lane] + sums[lane + 8];
  std::array<float, 4> four;
  for (std::size_t lane = 0; lane < 4; ++lane) four[lane] = eight[lane] + eight[lane + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

/// to[i] += factor * from[i]
inline void add_scaled(float factor, const float* from, float* to, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) to[i] += factor * from[i];
}

/// to = the sum of factors[i] * row i of `rows`, [factors, count], in the order of the rows.
inline void scaled_sum(std::span<const float> factors, const float* rows, float* to,
                       std::size_t count) noexcept {
  std::fill_n(to, count, 0.0F);
  // Four rows at a time: sums are loaded and stored once for them.
  constexpr std::size_t joined = 4;
  std::size_t row = 0;
  for (; row + joined <= factors.size(); row += joined, rows += joined * count) {
    for (std::size_t i = 0; i < count; ++i) {
      float sum = to[i];
      sum += factors[row] * rows[i];
      sum += factors[row + 1] * rows[count + i];
      sum += factors[row + 2] * rows[2 * count + i];
      sum += factors[row + 3] * rows[3 * count + i];
      to[i] = sum;
    }
  }
  for (; row < factors.size(); ++row, rows += count) add_scaled(factors[row], rows, to, count);
}

/// Calls transform(batch) on all of `values`, in place, or where there are no batches transform(float).
/// The last batch is filled up, so that a value's result does not depend on where it stands.
template <class Transform>
void transform_in_place(std::span<float> values, Transform transform) noexcept {
  std::size_t i = 0;
#ifndef XSIMD_NO_SUPPORTED_ARCHITECTURE
  using batch = xsimd::batch<float>;
  for (; i + batch::size <= values.size(); i += batch::size) {
    transform(batch::load_unaligned(&values[i])).store_unaligned(&values[i]);
  }
  if (i == values.size()) return;
  std::array<float, batch::size> last{};
  std::copy(values.begin() + static_cast<std::ptrdiff_t>(i), values.end(), last.begin());
  transform(batch::load_unaligned(last.data())).store_unaligned(last.data());
  std::copy_n(last.begin(), values.size() - i, values.begin() + static_cast<std::ptrdiff_t>(i));
#else
  for (; i < values.size(); ++i) values[i] = transform(values[i]);
#endif
}

/// e^x of a float or a batch of them, whichever a formula is written for.
struct exponential {
  [[nodiscard]] float operator()(float x) const noexcept { return std::exp(x); }
  template <class Batch>
  [[nodiscard]] Batch operator()(const Batch& x) const noexcept {
    return xsimd::exp(x);
  }
};

/// values = e^(values - max) / sum of these
inline void softmax(std::span<float> values) noexcept {
  const float most = *std::max_element(values.begin(), values.end());
  transform_in_place(values, [most](auto x) { return exponential{}(x - decltype(x)(most)); });
  double sum = 0.0;
  for (const float value : values) sum += static_cast<double>(value);
  const auto factor = static_cast<float>(1.0 / sum);
  for (float& value : values) value *= factor;
}

/// gate = silu(gate) * up with silu(x) = x / (1 + e^-x): SwiGLU (Shazeer 2020, arXiv:2002.05202)
inline void swiglu(std::span<float> gate, const float* up) noexcept {
  transform_in_place(gate, [](auto x) { return x / (decltype(x)(1.0F) + exponential{}(-x)); });
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i];
}

/// GELU by tanh (Hendrycks and Gimpel 2016, arXiv:1606.08415), as GPT-2 has it:
/// x / 2 * (1 + tanh(u)) with u = sqrt(2 / pi) * (x + 0.044715 x^3), which is x / (1 + e^(-2 u)).
inline void gelu(std::span<float> values) noexcept {
  transform_in_place(values, [](auto x) {
    using value = decltype(x);
    const value twice = value(1.5957691216F) * (x + value(0.044715F) * x * x * x);
    return x / (value(1.0F) + exponential{}(-twice));
  });
}

/// to = from / sqrt(mean of squares + epsilon) * gain: RMSNorm (Zhang and Sennrich 2019)
inline void rms_norm(std::span<const float> from, std::span<const float> gain, double epsilon,
                     float* to) noexcept {
  const double mean = static_cast<double>(dot(from.data(), from.data(), from.size())) /
                      static_cast<double>(from.size());
  const auto factor = static_cast<float>(1.0 / std::sqrt(mean + epsilon));
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = from[i] * factor * gain[i];
}

/// to = (from - mean) / sqrt(variance + epsilon) * gain + bias: LayerNorm (Ba et al. 2016)
inline void layer_norm(std::span<const float> from, std::span<const float> gain,
                       std::span<const float> bias, double epsilon, float* to) noexcept {
  double sum = 0.0;
  for (const float value : from) sum += static_cast<double>(value);
  const auto mean = static_cast<float>(sum / static_cast<double>(from.size()));
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = from[i] - mean;
  const double variance =
      static_cast<double>(dot(to, to, from.size())) / static_cast<double>(from.size());
  const auto factor = static_cast<float>(1.0 / std::sqrt(variance + epsilon));
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = to[i] * factor * gain[i] + bias[i];
}

NIBBLE_END_VECTOR_CODE
}  // namespace nibble_engine
