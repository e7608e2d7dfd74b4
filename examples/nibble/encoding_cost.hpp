#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/format/directory.hpp>

namespace nibble_command {

/// A matrix whose encoding is open.
struct open_matrix {
  std::string name;    ///< in the new file
  std::string source;  ///< the name of its tensor in the input
  nibble::shape shape;
  nibble::row_source rows;
  std::span<const float>
      importance;  ///< of columns, or of each of several stacked matrices'; none: alike
  std::vector<nibble::encoding> candidates{};
};

/// What an encoding makes of a matrix.
struct encoding_cost {
  nibble::encoding encoding;
  std::uint64_t bytes;
  /// sum importance (w - q)^2 / sum importance w^2: the share of the products with the matrix that is
  /// noise, where its inputs have nothing to do with each other. 0 for a matrix of zeros.
  double relative_error;
};

/// The encodings that `container` holds and that rows of `row_elements` fit: ggml's have no incomplete
/// blocks, rows of the library's own are padded where they are a block at least. Interleaved rows hold the
/// values of another one in as many bytes, and are not tried.
[[nodiscard]] inline std::vector<nibble::encoding> candidate_encodings(nibble::container container,
                                                                       std::uint64_t row_elements) {
  std::vector<nibble::encoding> fitting;
  for (const nibble::encoding_description& row : nibble::encodings) {
    const bool has_place =
        container == nibble::container::gguf ? row.gguf_type.has_value() : row.apr_dtype_id.has_value();
    if (!nibble::is_packable(row.encoding) || !has_place || row.block_rows() != 1) continue;
    const bool fits =
        row.gguf_type ? row_elements % row.block_elements == 0 : row_elements >= row.block_elements;
    if (fits) fitting.push_back(row.encoding);
  }
  return fitting;
}

/// Packs a matrix's values as `which` and decodes them again. `decoded` is of the size of `values`. Throws
/// not_representable.
[[nodiscard]] inline encoding_cost measure_encoding(const open_matrix& matrix, nibble::encoding which,
                                                    std::span<const float> values,
                                                    std::span<float> decoded,
                                                    const nibble::quantize_options& options) {
  std::vector<std::byte> bytes(static_cast<std::size_t>(*nibble::stored_bytes(which, matrix.shape)));
  nibble::quantize(which, matrix.shape, values, bytes, options);
  nibble::dequantize(nibble::tensor_view(matrix.name, which, matrix.shape, bytes), decoded,
                     {.executor = options.executor});
  const auto cols = static_cast<std::size_t>(matrix.shape.cols());
  const std::size_t lists = matrix.importance.empty() ? 1 : matrix.importance.size() / cols;
  const std::size_t elements_of_list = values.size() / lists;
  double error = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double weight =
        matrix.importance.empty()
            ? 1.0
            : static_cast<double>(matrix.importance[i / elements_of_list * cols + i % cols]);
    const auto value = static_cast<double>(values[i]);
    const double off = value - static_cast<double>(decoded[i]);
    error += weight * off * off;
    norm += weight * value * value;
  }
  return {which, bytes.size(), norm > 0.0 ? error / norm : 0.0};
}

/// What each candidate makes of a matrix; those that cannot hold one of its values are left out. Takes
/// memory for twice the matrix in f32. Throws not_representable where no candidate can hold it, and what its
/// rows throw.
[[nodiscard]] inline std::vector<encoding_cost> measure_candidates(const open_matrix& matrix,
                                                                   nibble::quantize_options options) {
  options.column_importance = matrix.importance;
  std::vector<float> values(static_cast<std::size_t>(matrix.shape.elements()));
  std::vector<float> decoded(values.size());
  matrix.rows(0, matrix.shape.rows(), values);
  std::vector<encoding_cost> costs;
  for (const nibble::encoding each : matrix.candidates) {
    try {
      costs.push_back(measure_encoding(matrix, each, values, decoded, options));
    } catch (const nibble::error& problem) {
      const bool is_last = each == matrix.candidates.back() && costs.empty();
      if (problem.code() != nibble::error_code::not_representable || is_last) throw;
    }
  }
  return costs;
}

}  // namespace nibble_command
