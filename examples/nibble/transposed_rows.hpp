#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_command {

/// Decodes elements [first_col, first_col + values.size()) of a row through a view of just the blocks
/// that hold them. `scratch` is reused between calls.
class row_part_decoder {
 public:
  void decode(const nibble::tensor_view& from, std::uint64_t row, std::uint64_t first_col,
              std::span<float> values) {
    const nibble::encoding_description& description = nibble::describe(from.encoding());
    if (description.block_rows() != 1) return decode_interleaved(from, row, first_col, values);
    const bool run_is_a_row = description.blocks_run_along == nibble::block_run::row;
    const std::uint64_t run_elements = run_is_a_row ? from.cols() : from.elements();
    const std::uint64_t first = run_is_a_row ? first_col : row * from.cols() + first_col;
    const std::uint64_t run_blocks =
        run_is_a_row ? row * nibble::divide_round_up(run_elements, description.block_elements) : 0;

    const std::uint64_t first_block = first / description.block_elements;
    const std::uint64_t end_block =
        nibble::divide_round_up(first + values.size(), description.block_elements);
    const std::uint64_t skipped = first_block * description.block_elements;
    const std::uint64_t covered =
        std::min(end_block * description.block_elements, run_elements) - skipped;

    std::span<const std::byte> blocks = from.bytes().subspan(
        static_cast<std::size_t>(description.header_bytes +
                                 (run_blocks + first_block) * description.block_bytes),
        static_cast<std::size_t>((end_block - first_block) * description.block_bytes));
    if (description.header_bytes != 0) {
      const auto header = from.bytes().first(description.header_bytes);
      bytes.assign(header.begin(), header.end());
      bytes.insert(bytes.end(), blocks.begin(), blocks.end());
      blocks = bytes;
    }
    block_values.resize(static_cast<std::size_t>(covered));
    nibble::dequantize({from.name(), from.encoding(), {covered}, blocks}, block_values);
    std::copy_n(block_values.begin() + static_cast<std::ptrdiff_t>(first - skipped), values.size(),
                values.begin());
  }

 private:
  void decode_interleaved(const nibble::tensor_view& from, std::uint64_t row, std::uint64_t first_col,
                          std::span<float> values) {
    const std::uint64_t unit = nibble::describe(from.encoding()).block_cols();
    const std::uint64_t first = first_col / unit * unit;
    const std::uint64_t end =
        std::min(nibble::divide_round_up(first_col + values.size(), unit) * unit, from.cols());
    block_values.resize(static_cast<std::size_t>(end - first));
    nibble::dequantize_rows(from.columns(first, end - first), row, 1, block_values);
    std::copy_n(block_values.begin() + static_cast<std::ptrdiff_t>(first_col - first), values.size(),
                values.begin());
  }

  std::vector<std::byte> bytes{};
  std::vector<float> block_values{};
};

/// Rows of a matrix's transpose: row r is column r of `matrix`. Each call decodes only the blocks that
/// the columns asked for lie in, a few source rows at a time, so that memory stays bounded and each
/// cache line of the result is written once.
[[nodiscard]] inline nibble::row_source transposed_rows_of(const nibble::tensor_view& matrix) {
  return [matrix](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
    constexpr std::uint64_t batch_rows = 16;
    const auto columns = static_cast<std::size_t>(row_count);
    const auto source_rows = static_cast<std::size_t>(matrix.rows());
    row_part_decoder decoder;
    std::vector<float> batch(columns * batch_rows);
    for (std::size_t row = 0; row < source_rows; row += batch_rows) {
      const std::size_t count = std::min<std::size_t>(batch_rows, source_rows - row);
      for (std::size_t i = 0; i < count; ++i) {
        decoder.decode(matrix, row + i, first_row, std::span(batch).subspan(i * columns, columns));
      }
      for (std::size_t column = 0; column < columns; ++column) {
        float* const to = values.data() + column * source_rows + row;
        for (std::size_t i = 0; i < count; ++i) to[i] = batch[i * columns + column];
      }
    }
  };
}

}  // namespace nibble_command
