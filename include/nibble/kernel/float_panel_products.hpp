#pragma once

// Products of many rows of activations by panels of floats: of f32 with any weight, or, where the processor
// multiplies bf16, of activations rounded to bf16 with a weight of bf16. In the order of BLIS
// (Van Zee and van de Geijn, BLIS: A Framework for Rapidly Instantiating BLAS Functionality). Loop
// nest; the first two loops are multiply_interleaved's (compute/multiply.hpp), which interleaves the
// activations for each:
//
//   for each 512 rows of activations, at most
//     for each part of the columns, a multiple of 512 (1024 of bf16), whose activations fit 1 MiB
//       for each two vectors of weight rows
//         for each 512 columns (256 where a vector has 16 lanes; 1024 of bf16)
//           fill_panel decodes the weight rows into a panel, once     (float_panel.hpp, bfloat16_panel.hpp)
//           for each tile of 6 (12) rows of activations
//             for each step: a column, or two columns of bf16            multiply_float_panel
//               load two vectors of the panel; for each row of the tile, unrolled to the end:
//                 multiply them with the row's activation, or pair of them, in all lanes, and add
//
// Sums, two vectors for each row of a tile, fill the registers; they are added to y once a panel. The
// panel (32 KiB) stays in the first-level cache, or of bf16 (64 KiB) in the second, while all tiles pass
// over it. The interleaved activations (1 MiB at most) are read in the order in which they are stored.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/bfloat16_panel.hpp>
#include <nibble/kernel/float_panel.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows of activations that pass over a panel, at most, and columns of them, or a multiple. For so many
/// products, decoding is a small part of the work.
inline constexpr std::size_t interleaved_rows = 512;
template <PanelElement Element>
inline constexpr std::size_t interleaved_cols = std::same_as<Element, float> ? 512 : 1024;

/// Rows of activations of a tile, at most, and vectors of weight rows. Their sums fill the registers.
template <class Architecture>
inline constexpr std::size_t float_tile_rows = simd::lanes<Architecture> == 16 ? 12 : 6;
inline constexpr std::size_t float_tile_vectors = 2;

/// Columns of a panel.
template <class Architecture, PanelElement Element>
inline constexpr std::size_t panel_cols =
    std::same_as<Element, float> ? float_panel_cols<Architecture> : interleaved_cols<Element>;

/// Some columns of some rows of activations, tile by tile, and in a tile step by step. The column behind an
/// odd number of them is zero.
template <PanelElement Element>
struct interleaved_activations {
  std::size_t rows;
  std::size_t max_tile_rows;
  std::size_t first_col;
  std::size_t cols;
  Element* values;  ///< tile after tile, each [steps][tile rows]

  [[nodiscard]] std::size_t steps() const noexcept {
    return static_cast<std::size_t>(divide_round_up(cols, step_cols<Element>));
  }

  /// Rows of the tile that starts at row m.
  [[nodiscard]] std::size_t tile_rows(std::size_t m) const noexcept {
    return tile_rows_at(m, rows, max_tile_rows);
  }
  /// The number of tiles.
  [[nodiscard]] std::size_t tiles() const noexcept {
    return (rows + max_tile_rows - 1) / max_tile_rows;
  }
};

/// Copies tile number `tile` of x, whose rows are stride_elements apart; rounds it where pairs of bf16 are
/// what is wanted.
template <class Architecture, PanelElement Element>
void interleave_tile(const float* x, std::size_t stride_elements, std::size_t tile,
                     const interleaved_activations<Element>& to) noexcept {
  const auto [first_row, rows] = tile_by_number(tile, to.rows, to.max_tile_rows);
  const float* from = x + first_row * stride_elements + to.first_col;
  Element* const tile_values = to.values + first_row * to.steps();
  for (std::size_t row = 0; row < rows; ++row, from += stride_elements) {
    Element* value = tile_values + row;
    if constexpr (std::same_as<Element, float>) {
      for (std::size_t k = 0; k < to.cols; ++k, value += rows) *value = from[k];
    } else {
      constexpr std::size_t most = interleaved_cols<Element>;
      for (std::size_t k = 0; k < to.cols; k += most) {
        std::array<bfloat16_pair, most / step_cols<Element>> pairs;
        const std::size_t count = std::min(most, to.cols - k);
        round_to_pairs<Architecture>(from + k, count, pairs.data());
        for (std::size_t i = 0; 2 * i < count; ++i, value += rows) *value = pairs[i];
      }
    }
  }
}

/// Where a tile's products go, and what they are added to.
struct tile_output {
  const float* start;
  std::size_t start_stride_elements;  ///< 0: the same for all rows
  float* to;
  std::size_t stride_elements;
};

/// y.to[Rows][Vectors * lanes] = y.start[..] + x[count][Rows]^T * panel[count][Vectors * lanes], of so many
/// steps.
template <class Architecture, PanelElement Element, std::size_t Vectors, std::size_t Rows>
void multiply_float_panel(const Element* x, const Element* panel, std::size_t count,
                          const tile_output& y) noexcept {
  using floats = simd::vector<float, Architecture>;
  using elements = simd::vector<Element, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  // y is in a cache when the sums are there.
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto* const row = reinterpret_cast<const std::byte*>(y.to + m * y.stride_elements);
    simd::prefetch(row, 0);
    simd::prefetch(row, (Vectors * width - 1) * sizeof(float));
  }
  std::array<std::array<floats, Vectors>, Rows> totals;
  NIBBLE_UNROLL
  for (auto& row : totals) row.fill(floats(0.0F));
  NIBBLE_UNROLL_TWICE
  for (std::size_t k = 0; k < count; ++k) {
    std::array<elements, Vectors> weights;
    NIBBLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) weights[v] = elements::load_unaligned(panel + v * width);
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      const elements activation(x[m]);
      NIBBLE_UNROLL
      for (std::size_t v = 0; v < Vectors; ++v) {
        if constexpr (std::same_as<Element, float>) {
          totals[m][v] = simd::fma(activation, weights[v], totals[m][v]);
        } else {
          totals[m][v] = simd::add_bfloat16_products<Architecture>(totals[m][v], activation, weights[v],
                                                                   Architecture{}, Architecture{});
        }
      }
    }
    x += Rows;
    panel += Vectors * width;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    NIBBLE_UNROLL
    for (std::size_t v = 0; v < Vectors; ++v) {
      const auto start = simd::load<Architecture>(y.start + m * y.start_stride_elements + v * width);
      (start + totals[m][v]).store_unaligned(y.to + m * y.stride_elements + v * width);
    }
  }
}

template <PanelElement Element>
using float_tile_function = void (*)(const Element* x, const Element* panel, std::size_t count,
                                     const tile_output&) noexcept;

/// multiply_float_panel for `rows` rows of activations, 1 to float_tile_rows, and one vector of weight
/// rows or float_tile_vectors of them.
template <class Architecture, PanelElement Element>
[[nodiscard]] float_tile_function<Element> choose_float_tile(std::size_t rows,
                                                             bool is_one_vector) noexcept {
  using function = float_tile_function<Element>;
  constexpr std::size_t max_rows = float_tile_rows<Architecture>;
  if (is_one_vector) {
    return choose_by_rows<function, max_rows>(
        rows, []<std::size_t Rows>() { return &multiply_float_panel<Architecture, Element, 1, Rows>; });
  }
  return choose_by_rows<function, max_rows>(rows, []<std::size_t Rows>() {
    return &multiply_float_panel<Architecture, Element, float_tile_vectors, Rows>;
  });
}

/// What panels are filled with: float_panel_source, or bfloat16_panel_source.
template <class Architecture, PanelElement Element>
using panel_source = std::conditional_t<std::same_as<Element, float>, float_panel_source<Architecture>,
                                        bfloat16_panel_source>;

/// Products of some columns of activations with some rows of a weight: of f32 with any, of pairs of bf16
/// with one of a BfloatCodec. From the first column on they set y, else they are added to it.
template <class Architecture, PanelElement Element>
void multiply_float_panels(const panel_source<Architecture, Element>& source, const tensor_view& weight,
                           row_range rows, const interleaved_activations<Element>& x,
                           const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t tile_cols = width * float_tile_vectors;
  constexpr std::size_t most_cols = panel_cols<Architecture, Element>;
  static_assert(interleaved_cols<Element> % most_cols == 0);
  alignas(64) std::array<Element, tile_cols * most_cols / step_cols<Element>> panel;
  alignas(64) std::array<float, float_tile_rows<Architecture> * tile_cols> sums;
  alignas(64) constexpr std::array<float, tile_cols> zeros{};
  for (std::size_t n = 0; n < rows.count; n += tile_cols) {
    const std::uint64_t first_row = rows.first + n;
    const std::size_t tile_count = std::min(tile_cols, rows.count - n);
    const bool is_one_vector = tile_count <= width;
    const std::size_t panel_width = is_one_vector ? width : tile_cols;
    for (std::size_t first = 0; first < x.cols; first += most_cols) {
      const std::size_t count = std::min(most_cols, x.cols - first);
      const auto steps = static_cast<std::size_t>(divide_round_up(count, step_cols<Element>));
      for (std::size_t skipped = 0; skipped < tile_count; skipped += width) {
        fill_panel<Architecture>(source, weight,
                                 {first_row + skipped, std::min(width, tile_count - skipped)},
                                 {x.first_col + first, count}, {panel.data() + skipped, panel_width});
      }
      const bool is_first = x.first_col + first == 0;
      for_each_tile(x.rows, x.max_tile_rows, [&](std::size_t m, std::size_t tile_rows) {
        const auto multiply = choose_float_tile<Architecture, Element>(tile_rows, is_one_vector);
        const Element* const tile_x = x.values + m * x.steps() + first / step_cols<Element> * tile_rows;
        if (tile_count == panel_width) {
          float* const to = y.y + m * y.stride_elements + first_row;
          tile_output out{to, y.stride_elements, to, y.stride_elements};
          if (is_first) {
            out.start = y.bias != nullptr ? y.bias + first_row : zeros.data();
            out.start_stride_elements = 0;
          }
          multiply(tile_x, panel.data(), steps, out);
        } else {
          multiply(tile_x, panel.data(), steps, {zeros.data(), 0, sums.data(), panel_width});
          for (std::size_t i = 0; i < tile_rows; ++i) {
            y.put_row(m + i, first_row, sums.data() + i * panel_width, tile_count, is_first);
          }
        }
      });
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
