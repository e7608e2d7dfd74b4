#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/checkpoint/element_reader.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// Rows and columns that share one scale.
struct scale_block {
  std::uint64_t rows;
  std::uint64_t cols;
  friend bool operator==(const scale_block&, const scale_block&) = default;
};

inline namespace NIBBLE_ARCHITECTURE {

/// Which scale an element of a weight has. The weight is a matrix, or matrices one behind the other
/// (experts); each is cut into blocks of block.rows x block.cols from its first element on, and what is
/// left at its edges shares a scale too.
struct scale_grid {
  element_reader scales{};
  std::uint64_t matrix_rows = 1;    ///< rows of one matrix
  std::uint64_t matrix_stride = 0;  ///< scales from one matrix to the next; 0: all have the same
  std::uint64_t row_stride = 0;     ///< scales from one block to the one below it
  std::uint64_t col_stride = 0;     ///< scales from one block to the one beside it
  scale_block block{1, 1};

  /// Calls run(first_col, end_col, place) for each run of a row's elements that share a scale; `place` is
  /// its place among the scales.
  template <class Run>
  void for_each_run(std::uint64_t row, std::uint64_t cols, const Run& run) const {
    const std::uint64_t matrix = row / matrix_rows;
    const std::uint64_t first = matrix * matrix_stride + row % matrix_rows / block.rows * row_stride;
    for (std::uint64_t col = 0, place = first; col < cols; col += block.cols, place += col_stride) {
      run(col, std::min(col + block.cols, cols), place);
    }
  }
};

/// The grid that scales of `scales`'s shape make over the weight `weight` of shape `dimensions`. With
/// n x k for the last two dimensions and E for those before them:
///
///   scales                                  are
///   one element, whatever the shape         one for the weight
///   [E, n / r, k / c], rounded up           one a block of one of `blocks`; of a lone
///                                           matrix [n / r, 1, k / c, 1] too
///   [E, n], [E, n, 1]                       one a row
///   [E, 1, k]                               one a column
///   [E], [E, 1, 1]                          one a matrix
///
/// `as` is what the elements of `scales` are read as. Throws bad_scheme, which names both shapes, where
/// none fits, and where element_reader cannot read them.
[[nodiscard]] inline scale_grid fit_scale_grid(std::string_view weight, const shape& dimensions,
                                               const tensor_view& scales, encoding as,
                                               std::span<const scale_block> blocks) {
  if (!element_reader::can_read(as)) {
    weight_composer::refuse(weight, scales.name(),
                            join_text({scales.dtype_text(), " of ", scales.shape().to_string()}),
                            "scales in f32, f16, bf16 or 8-bit floats");
  }
  const std::uint64_t cols = dimensions.cols();
  const std::uint64_t matrix_rows = dimensions.rank() < 2 ? 1 : dimensions[dimensions.rank() - 2];
  scale_grid grid{.scales = element_reader(scales, as), .matrix_rows = matrix_rows};
  using sizes = std::vector<std::uint64_t>;
  const std::span<const std::uint64_t> stored = scales.shape().dimensions();
  sizes experts;
  if (dimensions.rank() > 2) {
    const auto leading = dimensions.dimensions().first(dimensions.rank() - 2);
    experts.assign(leading.begin(), leading.end());
  }
  const auto is = [&](std::initializer_list<std::uint64_t> last) {
    sizes expected = experts;
    expected.insert(expected.end(), last.begin(), last.end());
    return std::equal(stored.begin(), stored.end(), expected.begin(), expected.end());
  };
  const auto whole = [](std::uint64_t size) { return std::max<std::uint64_t>(1, size); };
  grid.block = {whole(matrix_rows), whole(cols)};
  if (scales.elements() == 1) return grid;
  if (dimensions.rank() >= 2) {
    for (const scale_block& block : blocks) {
      const std::uint64_t block_rows = divide_round_up(matrix_rows, block.rows);
      const std::uint64_t block_cols = divide_round_up(cols, block.cols);
      if (is({block_rows, block_cols}) || (experts.empty() && is({block_rows, 1, block_cols, 1}))) {
        grid.block = block;
        grid.row_stride = block_cols;
        grid.col_stride = 1;
        grid.matrix_stride = block_rows * block_cols;
        return grid;
      }
    }
    if (is({matrix_rows}) || is({matrix_rows, 1})) {
      grid.block.rows = 1;
      grid.row_stride = 1;
      grid.matrix_stride = matrix_rows;
      return grid;
    }
    if (is({1, cols})) {
      grid.block.cols = 1;
      grid.col_stride = 1;
      grid.matrix_stride = cols;
      return grid;
    }
    if (!experts.empty() && (is({}) || is({1, 1}))) {
      grid.matrix_stride = 1;
      return grid;
    }
  }
  std::string expected = join_text({"one, one a row (", matrix_rows, "x1), one a matrix"});
  for (const scale_block& block : blocks) {
    expected += join_text({" or one a block of ", block.rows, "x", block.cols, " (",
                           divide_round_up(matrix_rows, block.rows), "x",
                           divide_round_up(cols, block.cols), ")"});
  }
  weight_composer::refuse(weight, scales.name(),
                          join_text({"scales of ", scales.shape().to_string(), " for a weight of ",
                                     dimensions.to_string()}),
                          std::move(expected));
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
