#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_benchmark {

inline constexpr nibble::encoding packed_encodings[] = {
    nibble::encoding::q8,  nibble::encoding::q4,   nibble::encoding::apr_q8, nibble::encoding::apr_q4,
    nibble::encoding::f16, nibble::encoding::bf16, nibble::encoding::f32};

/// Gaussian weights and the same packed.
struct packed_weight {
  packed_weight(nibble::encoding which, std::uint64_t rows, std::uint64_t cols)
      : encoding(which),
        shape({rows, cols}),
        values(shape.elements()),
        bytes(*nibble::stored_bytes(which, shape)) {
    std::mt19937 generator(7);
    std::normal_distribution<float> distribution(0.0F, 0.02F);
    for (float& value : values) value = distribution(generator);
    nibble::quantize(which, shape, values, bytes);
  }

  [[nodiscard]] nibble::tensor_view view() const { return {"weight", encoding, shape, bytes}; }

  /// Norm of what packing changed over the norm of the weights, or a large number for no numbers at
  /// all.
  [[nodiscard]] double relative_error() const {
    std::vector<float> decoded(values.size());
    nibble::dequantize(view(), decoded);
    double difference = 0.0;
    double norm = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      difference += std::pow(static_cast<double>(values[i]) - static_cast<double>(decoded[i]), 2);
      norm += std::pow(static_cast<double>(values[i]), 2);
    }
    const double relative = std::sqrt(difference / norm);
    return std::isfinite(relative) ? relative : 1e9;
  }

  nibble::encoding encoding;
  nibble::shape shape;
  std::vector<float> values;
  std::vector<std::byte> bytes;
};

}  // namespace nibble_benchmark
