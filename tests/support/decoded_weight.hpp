#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <codec/independent_decoder.hpp>

namespace nibble_test {

/// A weight [rows, cols] as the independent decoder reads it: every value, and what its magnitude is
/// made of, |scale q| + |min|, taken once for all products.
struct decoded_weight {
  decoded_weight(std::string_view encoding, std::span<const std::byte> bytes, std::size_t rows,
                 std::size_t cols) {
    const independent_decoder decoder(encoding, bytes, cols);
    values.reserve(rows * cols);
    parts.reserve(rows * cols);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t col = 0; col < cols; ++col) {
        values.push_back(decoder(row, col));
        parts.push_back(decoder.parts(row, col));
      }
    }
  }

  std::vector<float> values;
  std::vector<double> parts;
};

}  // namespace nibble_test
