#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_benchmark {

inline constexpr nibble::encoding packed_encodings[] = {
    nibble::encoding::q8,     nibble::encoding::q4,    nibble::encoding::apr_q8,
    nibble::encoding::apr_q4, nibble::encoding::f16,   nibble::encoding::bf16,
    nibble::encoding::f32,    nibble::encoding::q8_r8, nibble::encoding::q4_r8};
/// Those of ggml that are multiplied by as well, where columns are a multiple of their blocks.
inline constexpr nibble::encoding ggml_encodings[] = {
    nibble::encoding::q4_0, nibble::encoding::q8_0, nibble::encoding::q2_k, nibble::encoding::q3_k,
    nibble::encoding::q4_k, nibble::encoding::q5_k, nibble::encoding::q6_k};

/// Gaussian weights, the same for every call with the same shape; the last shape asked for is kept.
[[nodiscard]] inline std::shared_ptr<const std::vector<float>> gaussian_weights(std::uint64_t rows,
                                                                                std::uint64_t cols) {
  static std::shared_ptr<const std::vector<float>> last;
  static std::uint64_t last_cols = 0;
  const auto count = static_cast<std::size_t>(rows * cols);
  if (last == nullptr || last->size() != count || last_cols != cols) {
    last.reset();
    std::vector<float> values(count);
    std::mt19937 generator(7);
    std::normal_distribution<float> distribution(0.0F, 0.02F);
    for (float& value : values) value = distribution(generator);
    last = std::make_shared<const std::vector<float>>(std::move(values));
    last_cols = cols;
  }
  return last;
}

/// Norm of what packing changed over the norm of the weights; a large number where it is no number.
[[nodiscard]] inline double relative_error(std::span<const float> values,
                                           std::span<const float> decoded) {
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = static_cast<double>(values[i]) - static_cast<double>(decoded[i]);
    difference += error * error;
    norm += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  const double relative = std::sqrt(difference / norm);
  return std::isfinite(relative) ? relative : 1e9;
}
/// From where on decoded values are not the packed ones: above the error of the coarsest encoding, of 2 bits.
inline constexpr double wrong_from = 0.4;

/// Gaussian weights, packed.
struct packed_weight {
  packed_weight(nibble::encoding which, std::uint64_t rows, std::uint64_t cols)
      : encoding(which),
        shape({rows, cols}),
        values(gaussian_weights(rows, cols)),
        bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, shape))) {
    nibble::quantize(which, shape, *values, bytes);
  }

  [[nodiscard]] nibble::tensor_view view() const { return {"weight", encoding, shape, bytes}; }

  nibble::encoding encoding;
  nibble::shape shape;
  std::shared_ptr<const std::vector<float>> values;
  std::vector<std::byte> bytes;
};

/// A packed weight; the last one asked for is kept, for Google Benchmark calls a benchmark several
/// times and neighbours share weights.
[[nodiscard]] inline std::shared_ptr<const packed_weight> weight_of(nibble::encoding which,
                                                                    std::uint64_t rows,
                                                                    std::uint64_t cols) {
  static std::shared_ptr<const packed_weight> last;
  if (last == nullptr || last->encoding != which || last->shape.rows() != rows ||
      last->shape.cols() != cols) {
    last.reset();
    last = std::make_shared<const packed_weight>(which, rows, cols);
  }
  return last;
}

}  // namespace nibble_benchmark
