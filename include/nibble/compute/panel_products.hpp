#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/activations.hpp>
#include <nibble/compute/bit_blocks.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/product_output.hpp>
#include <nibble/compute/weight_blocks.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of many rows of activations: as many weight rows as a vector has lanes are expanded together
// into a panel that stays in cache, each row in a lane of its own, and every activation is multiplied
// with all of them at once.

/// Elements of a row that a panel of floats and one of codes hold: a panel and the activations that
/// pass over it stay in the first-level cache.
inline constexpr std::size_t float_panel_cols = 256;
inline constexpr std::size_t code_panel_blocks = 32;

/// Rows of activations a tile, and groups of weight rows: their sums fill the registers.
template <class Architecture>
inline constexpr std::size_t float_tile_rows = simd::lanes<Architecture> == 16 ? 12 : 6;
inline constexpr std::size_t float_tile_groups = 2;
inline constexpr std::size_t code_tile_rows = 4;

/// What a tile sums up: [rows][groups][lanes].
template <class Architecture, std::size_t MostRows, std::size_t Groups>
using tile_sums = std::array<float, MostRows * Groups * simd::lanes<Architecture>>;

/// sums = x[Rows][count] * panel[Groups][count][lanes].
template <class Architecture, std::size_t Groups, std::size_t Rows>
void multiply_float_panel(const float* x, std::size_t x_stride, const float* panel, std::size_t count,
                          float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::array<std::array<floats, Groups>, Rows> totals;
  NIBBLE_UNROLL
  for (auto& row : totals) row.fill(floats(0.0F));
  for (std::size_t k = 0; k < count; ++k) {
    std::array<floats, Groups> weights;
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) {
      weights[g] = simd::load<Architecture>(panel + (g * float_panel_cols + k) * width);
    }
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      const floats activation(x[m * x_stride + k]);
      NIBBLE_UNROLL
      for (std::size_t g = 0; g < Groups; ++g) {
        totals[m][g] = fma(activation, weights[g], totals[m][g]);
      }
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) {
      totals[m][g].store_unaligned(sums + (m * Groups + g) * width);
    }
  }
}

template <class Architecture>
using float_tile_function = void (*)(const float*, std::size_t, const float*, std::size_t,
                                     float*) noexcept;

/// multiply_float_panel for `rows` rows of activations and one group or float_tile_groups of them.
template <class Architecture>
[[nodiscard]] float_tile_function<Architecture> choose_float_tile(std::size_t rows,
                                                                  bool is_one_group) noexcept {
  return [=]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<float_tile_function<Architecture>, sizeof...(I)> one = {
        &multiply_float_panel<Architecture, 1, I + 1>...};
    constexpr std::array<float_tile_function<Architecture>, sizeof...(I)> all = {
        &multiply_float_panel<Architecture, float_tile_groups, I + 1>...};
    return is_one_group ? one[rows - 1] : all[rows - 1];
  }
  (std::make_index_sequence<float_tile_rows<Architecture>>{});
}

/// Decodes elements first .. first + count of `rows` weight rows, at most one for each lane, into
/// panel[count][lanes]; lanes without a row become zeros.
template <class Architecture, Codec Codec>
void fill_float_panel(const tensor_view& weight, std::uint64_t first_row, std::size_t rows,
                      std::size_t first, std::size_t count, float* panel) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  alignas(64) std::array<std::array<float, float_panel_cols>, width> decoded;
  const std::size_t padded = (count + width - 1) / width * width;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < width; ++n) {
    if (n >= rows) {
      std::fill_n(decoded[n].begin(), padded, 0.0F);
      continue;
    }
    const auto [run, start] = position_of_row<Codec>(weight, first_row + n);
    decode_run<Architecture, Codec>(run, start + first, count, decoded[n].data());
    std::fill_n(decoded[n].begin() + static_cast<std::ptrdiff_t>(count), padded - count, 0.0F);
  }
  for (std::size_t k = 0; k < padded; k += width) {
    simd::square<Architecture> square;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < width; ++n) {
      square[n] = std::bit_cast<integers>(simd::load<Architecture>(decoded[n].data() + k));
    }
    simd::transpose<Architecture>(square, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < width; ++i) {
      std::bit_cast<simd::vector<float, Architecture>>(square[i]).store_unaligned(panel +
                                                                                  (k + i) * width);
    }
  }
}

/// Products of x_rows rows of f32 activations with rows first_row .. first_row + row_count of any
/// weight.
template <class Architecture, Codec Codec>
void multiply_float_panels(const tensor_view& weight, std::uint64_t first_row, std::size_t row_count,
                           const float* x, std::size_t x_stride, std::size_t x_rows,
                           const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t most_rows = float_tile_rows<Architecture>;
  constexpr std::size_t tile_cols = width * float_tile_groups;
  alignas(64) std::array<float, tile_cols * float_panel_cols> panel;
  alignas(64) tile_sums<Architecture, most_rows, float_tile_groups> sums;
  const auto cols = static_cast<std::size_t>(weight.cols());
  for (std::size_t n = 0; n < row_count; n += tile_cols) {
    const std::size_t tile_count = std::min(tile_cols, row_count - n);
    const bool is_one_group = tile_count <= width;
    for (std::size_t first = 0; first < cols; first += float_panel_cols) {
      const std::size_t count = std::min(float_panel_cols, cols - first);
      for (std::size_t g = 0; g * width < tile_count; ++g) {
        fill_float_panel<Architecture, Codec>(weight, first_row + n + g * width,
                                              std::min(width, tile_count - g * width), first, count,
                                              panel.data() + g * float_panel_cols * width);
      }
      for (std::size_t m = 0; m < x_rows;) {
        const std::size_t rows = tile_rows_at(m, x_rows, most_rows);
        const auto multiply = choose_float_tile<Architecture>(rows, is_one_group);
        multiply(x + m * x_stride + first, x_stride, panel.data(), count, sums.data());
        const std::size_t row_sums = is_one_group ? width : tile_cols;
        for (std::size_t i = 0; i < rows; ++i) {
          y.put_row(m + i, first_row + n, sums.data() + i * row_sums, tile_count, first == 0);
        }
        m += rows;
      }
    }
  }
}

/// Codes of one panel, a lane a weight row: for every block its quads of bytes, or pairs of words.
template <class Architecture, Activation Value>
struct code_panel {
  static constexpr std::size_t width = simd::lanes<Architecture>;
  using code = std::conditional_t<std::same_as<Value, std::int8_t>, std::uint8_t, std::int16_t>;
  static constexpr std::size_t lane_codes = 4 / sizeof(code);
  /// Vectors a block.
  static constexpr std::size_t block_vectors = simd::block_codes / lane_codes;

  alignas(64) std::array<code, code_panel_blocks * simd::block_codes * width> codes;
  alignas(64) std::array<float, code_panel_blocks * width> scales;
  alignas(64) std::array<float, code_panel_blocks * width> offsets;
};

/// As many rows as a block_architecture has lanes, from `first` on; behind `last` comes it again.
template <class Row, std::size_t... I>
[[nodiscard]] std::array<Row, sizeof...(I)> rows_from(const tensor_view& weight, std::uint64_t first,
                                                      std::uint64_t last,
                                                      std::index_sequence<I...>) noexcept {
  return {Row(weight, std::min(first + I, last))...};
}

/// Takes `count` blocks of `rows` weight rows apart, at most one for each lane, into a panel. A lane
/// without a row has scales and offsets of zero.
template <class Architecture, Codec Codec, Activation Value>
void fill_code_panel(const tensor_view& weight, std::uint64_t first_row, std::size_t rows,
                     std::size_t first, std::size_t count,
                     code_panel<Architecture, Value>& to) noexcept {
  using panel = code_panel<Architecture, Value>;
  using block_tag = simd::block_architecture<Architecture>;
  constexpr std::size_t width = panel::width;
  constexpr std::size_t square_rows = simd::lanes<block_tag>;
  constexpr float shift = shift_of<Codec, Value>();
  constexpr code_packing packing = packing_of<Codec, Value>();
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  block_scales scales;
  for (std::size_t lane = 0; lane < width; lane += square_rows) {
    auto own = rows_from<row_type>(weight, first_row + lane, first_row + rows - 1,
                                   std::make_index_sequence<square_rows>{});
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < square_rows; ++n) {
      own[n].template load_scales<Architecture>(weight, first, count, shift, scales);
      if (lane + n >= rows) {
        scales.scales.fill(0.0F);
        scales.offsets.fill(0.0F);
      }
      for (std::size_t b = 0; b < count; ++b) {
        to.scales[b * width + lane + n] = scales.scales[b];
        if constexpr (row_type::has_offsets(shift)) {
          to.offsets[b * width + lane + n] = scales.offsets[b];
        }
      }
    }
    for (std::size_t b = 0; b < count; ++b) {
      using block = decltype(load_codes<block_tag, packing, Value>(nullptr));
      constexpr std::size_t parts = std::tuple_size_v<block>;
      std::array<simd::square<block_tag>, parts> squares;
      NIBBLE_UNROLL
      for (std::size_t n = 0; n < square_rows; ++n) {
        const block codes = load_codes<block_tag, packing, Value>(own[n].codes_of(first + b));
        NIBBLE_UNROLL
        for (std::size_t part = 0; part < parts; ++part) {
          squares[part][n] = std::bit_cast<simd::vector<std::int32_t, block_tag>>(codes[part]);
        }
      }
      NIBBLE_UNROLL
      for (std::size_t part = 0; part < parts; ++part) {
        simd::transpose<block_tag>(squares[part], block_tag{}, block_tag{});
        NIBBLE_UNROLL
        for (std::size_t i = 0; i < square_rows; ++i) {
          const std::size_t at = b * panel::block_vectors + part * square_rows + i;
          std::bit_cast<typename block::value_type>(squares[part][i])
              .store_unaligned(to.codes.data() + (at * width + lane) * panel::lane_codes);
        }
      }
    }
  }
}

/// sums[Rows][lanes] = the products of a panel with the Rows rows of x, from block `first` on.
template <class Architecture, Activation Value, bool HasOffsets, std::size_t Rows>
void multiply_code_panel(const code_panel<Architecture, Value>& panel, std::size_t blocks,
                         const activation_tile<Value>& x, std::size_t first, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using panel_type = code_panel<Architecture, Value>;
  using codes = simd::vector<typename panel_type::code, Architecture>;
  constexpr std::size_t width = panel_type::width;
  constexpr Architecture tag{};
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  for (std::size_t b = 0; b < blocks; ++b) {
    std::array<const Value*, Rows> from;
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m)
      from[m] = x.values + ((first + b) * Rows + m) * simd::block_codes;
    const auto* const block = panel.codes.data() + b * simd::block_codes * width;
    const auto add_sums = [&](std::size_t m, const auto& products, const floats& scales) {
      totals[m] =
          fma(to_float(products) * scales, floats(x.steps[m * x.row_blocks + first + b]), totals[m]);
    };
    const floats scales = simd::load<Architecture>(panel.scales.data() + b * width);
    if constexpr (std::same_as<Value, std::int8_t>) {
      std::array<simd::quad_sums<Architecture>, Rows> products;
      products.fill(simd::quad_sums<Architecture>(0));
      NIBBLE_UNROLL_TWICE
      for (std::size_t v = 0; v < panel_type::block_vectors; ++v) {
        const codes quads = codes::load_unaligned(block + v * width * 4);
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          products[m] = simd::add_quads<Architecture>(products[m], quads, from[m] + 4 * v, tag, tag);
        }
      }
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        add_sums(m, simd::total_of_quads<Architecture>(products[m], tag, tag), scales);
      }
    } else {
      std::array<simd::vector<std::int32_t, Architecture>, Rows> products;
      products.fill(simd::vector<std::int32_t, Architecture>(0));
      NIBBLE_UNROLL_TWICE
      for (std::size_t v = 0; v < panel_type::block_vectors; ++v) {
        const codes pairs = codes::load_unaligned(block + v * width * 2);
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          products[m] = simd::add_pairs<Architecture>(products[m], pairs, from[m] + 2 * v, tag, tag);
        }
      }
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) add_sums(m, products[m], scales);
    }
    if constexpr (HasOffsets) {
      const floats offsets = simd::load<Architecture>(panel.offsets.data() + b * width);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        totals[m] = fma(offsets, floats(x.sums[m * x.row_blocks + first + b]), totals[m]);
      }
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

template <class Architecture, Activation Value>
using code_tile_function = void (*)(const code_panel<Architecture, Value>&, std::size_t,
                                    const activation_tile<Value>&, std::size_t, float*) noexcept;

/// multiply_code_panel for `rows` rows of activations.
template <class Architecture, Activation Value, bool HasOffsets>
[[nodiscard]] code_tile_function<Architecture, Value> choose_code_tile(std::size_t rows) noexcept {
  return [rows]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<code_tile_function<Architecture, Value>, sizeof...(I)> functions = {
        &multiply_code_panel<Architecture, Value, HasOffsets, I + 1>...};
    return functions[rows - 1];
  }
  (std::make_index_sequence<code_tile_rows>{});
}

/// Products of coded activations, in tiles of at most code_tile_rows, with rows first_row .. first_row
/// + row_count of a weight whose rows_are_blocks.
template <class Architecture, Codec Codec, Activation Value>
void multiply_code_panels(const tensor_view& weight, std::uint64_t first_row, std::size_t row_count,
                          const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  constexpr bool has_offsets = row_type::has_offsets(shift_of<Codec, Value>());
  const auto cols = static_cast<std::size_t>(weight.cols());
  const std::size_t blocks = (cols + simd::block_codes - 1) / simd::block_codes;
  code_panel<Architecture, Value> panel;
  alignas(64) std::array<float, code_tile_rows * width> sums;
  for (std::size_t n = 0; n < row_count; n += width) {
    const std::size_t lanes = std::min(width, row_count - n);
    for (std::size_t first = 0; first < blocks; first += code_panel_blocks) {
      const std::size_t count = std::min(code_panel_blocks, blocks - first);
      fill_code_panel<Architecture, Codec>(weight, first_row + n, lanes, first, count, panel);
      for (std::size_t m = 0; m < x.rows;) {
        const std::size_t rows = x.tile_rows(m);
        choose_code_tile<Architecture, Value, has_offsets>(rows)(panel, count, x.tile(m), first,
                                                                 sums.data());
        for (std::size_t i = 0; i < rows; ++i) {
          y.put_row(m + i, first_row + n, sums.data() + i * width, lanes, first == 0);
        }
        m += rows;
      }
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
