#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of many rows of f32 activations with any weight, as BLIS orders them (Van Zee and van de
// Geijn, BLIS: A Framework for Rapidly Instantiating BLAS Functionality): a few weight rows are decoded
// into a panel that stays in the first-level cache, each row in a lane of its own, and all activations
// pass over it in tiles, copied once so that a tile's are read in the order in which they are used.

/// Columns of a panel, whole stored blocks of every encoding.
template <class Architecture>
inline constexpr std::size_t float_panel_cols = simd::lanes<Architecture> == 16 ? 256 : 512;

/// Rows of activations that pass over a panel, at most, and columns of them, or a multiple: decoding is
/// a small part of so many products.
inline constexpr std::size_t interleaved_rows = 512;
inline constexpr std::size_t interleaved_cols = 512;

/// Rows of activations a tile, and vectors of weight rows: their sums fill the registers.
template <class Architecture>
inline constexpr std::size_t float_tile_rows = simd::lanes<Architecture> == 16 ? 12 : 6;
inline constexpr std::size_t float_tile_groups = 2;

/// Some columns of some rows of activations, tile by tile; in a tile column by column.
struct interleaved_activations {
  std::size_t rows;
  std::size_t max_tile_rows;
  std::size_t first_col;
  std::size_t cols;
  float* values;  ///< of each tile in turn: [cols][tile rows]

  /// Rows of the tile that starts at row m.
  [[nodiscard]] std::size_t tile_rows(std::size_t m) const noexcept {
    return tile_rows_at(m, rows, max_tile_rows);
  }
  /// The number of tiles.
  [[nodiscard]] std::size_t tiles() const noexcept {
    return (rows + max_tile_rows - 1) / max_tile_rows;
  }
};

/// Copies the tile-th tile of x, rows of activations stride_elements apart.
inline void interleave_tile(const float* x, std::size_t stride_elements, std::size_t tile,
                            const interleaved_activations& to) noexcept {
  std::size_t m = 0;
  for (; tile != 0; --tile) m += to.tile_rows(m);
  const std::size_t rows = to.tile_rows(m);
  const float* from = x + m * stride_elements + to.first_col;
  float* const values = to.values + m * to.cols;
  for (std::size_t row = 0; row < rows; ++row, from += stride_elements) {
    float* own = values + row;
    for (std::size_t k = 0; k < to.cols; ++k, own += rows) *own = from[k];
  }
}

/// Where a tile's products go, and what they are added to.
struct tile_output {
  const float* start;
  std::size_t start_stride_elements;  ///< 0: the same for all rows
  float* to;
  std::size_t stride_elements;
};

/// y.to[Rows][Groups * lanes] = y.start[..] + x[count][Rows]^T * panel[count][Groups * lanes].
template <class Architecture, std::size_t Groups, std::size_t Rows>
void multiply_float_panel(const float* x, const float* panel, std::size_t count,
                          const tile_output& y) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  // Where the sums go is at hand when they are there.
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto* const row = reinterpret_cast<const std::byte*>(y.to + m * y.stride_elements);
    simd::prefetch(row, 0);
    simd::prefetch(row, (Groups * width - 1) * sizeof(float));
  }
  std::array<std::array<floats, Groups>, Rows> totals;
  NIBBLE_UNROLL
  for (auto& row : totals) row.fill(floats(0.0F));
  NIBBLE_UNROLL_TWICE
  for (std::size_t k = 0; k < count; ++k) {
    std::array<floats, Groups> weights;
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) weights[g] = simd::load<Architecture>(panel + g * width);
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      const floats activation(x[m]);
      NIBBLE_UNROLL
      for (std::size_t g = 0; g < Groups; ++g) {
        totals[m][g] = fma(activation, weights[g], totals[m][g]);
      }
    }
    x += Rows;
    panel += Groups * width;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) {
      const auto start = simd::load<Architecture>(y.start + m * y.start_stride_elements + g * width);
      (start + totals[m][g]).store_unaligned(y.to + m * y.stride_elements + g * width);
    }
  }
}

template <class Architecture>
using float_tile_function = void (*)(const float*, const float*, std::size_t,
                                     const tile_output&) noexcept;

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

/// What a panel of floats is filled with, of any encoding: what is built on it is compiled once, and
/// not for each.
template <class Architecture>
struct float_panel_source {
  range_decoder decoder;
  /// Of encodings whose codes come apart as bytes; else its functions are null.
  code_panel_source<Architecture, std::int8_t> codes{};
  activation_order order{};  ///< of the codes
  bool is_signed = false;    ///< values are scale * (code - 128), the scale an f32

  [[nodiscard]] bool has_codes() const noexcept { return codes.store_codes != nullptr; }
};

/// The source of a weight. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] float_panel_source<Architecture> float_panel_source_of(const tensor_view& weight) {
  float_panel_source<Architecture> source{decoder_of<Architecture>(weight)};
  visit_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
    if constexpr (has_block_scales<Codec>() && !WideScaleCodec<Codec>) {
      if (!rows_are_blocks<Codec>(weight)) return;
      source.codes = code_panel_source_of<Architecture, Codec, std::int8_t>();
      source.order = activation_order_of<Codec>();
      source.is_signed = TensorScaleCodec<Codec>;
    }
  });
  return source;
}

/// Elements first .. first + count of `rows` weight rows, at most one for each lane, into
/// panel[count][lanes], each column's stride_elements apart; lanes without a row become zeros. Whole
/// blocks of columns, or vectors of them, are written.
///
/// Here from codes: these go into their lanes as bytes, four columns at a time, and are multiplied
/// there with each row's scale. scale * code + offset rounds once, to what decoding gives: of a float16
/// scale, an offset for codes that are larger than the codec's is exact; under an f32 one they are made
/// as small as the codec's first.
template <class Architecture>
void fill_from_codes(const float_panel_source<Architecture>& source, const tensor_view& weight,
                     std::uint64_t first_row, std::size_t rows, std::size_t first, std::size_t count,
                     float* panel, std::size_t stride_elements) noexcept {
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using panel_type = code_panel<Architecture, std::int8_t>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  static_assert(float_panel_cols<Architecture> <= code_panel_blocks * simd::block_codes);
  const std::size_t blocks = (count + simd::block_codes - 1) / simd::block_codes;
  panel_type own;
  fill_code_panel(source.codes, weight, first_row, rows, first / simd::block_codes, blocks, own);
  const bool is_natural = source.order == activation_order::natural;
  const std::size_t next = (is_natural ? 1 : 2) * stride_elements;
  const integers zero(source.is_signed ? 128 : 0);
  const bool has_offsets = source.codes.has_offsets && !source.is_signed;
  const auto* from = own.codes.data();
  for (std::size_t b = 0; b < blocks; ++b) {
    const floats scale = simd::load<Architecture>(own.scales.data() + b * width);
    floats offset(0.0F);
    if (has_offsets) offset = simd::load<Architecture>(own.offsets.data() + b * width);
    float* const block = panel + b * simd::block_codes * stride_elements;
    for (std::size_t half = 0; half < 2; ++half) {
      float* to = block + (is_natural ? half * simd::block_codes / 2 : half) * stride_elements;
      for (std::size_t quad = 0; quad < simd::block_codes / 8; ++quad) {
        const integers codes =
            simd::load_bytes<std::int32_t, Architecture>(reinterpret_cast<const std::byte*>(from));
        NIBBLE_UNROLL
        for (int i = 0; i < 4; ++i) {
          const integers code = ((codes >> (8 * i)) & integers(255)) - zero;
          fma(to_float(code), scale, offset).store_unaligned(to);
          to += next;
        }
        from += panel_type::lane_codes * width;
      }
    }
  }
}

/// The same from decoded rows.
template <class Architecture>
void fill_from_rows(const range_decoder& decoder, const tensor_view& weight, std::uint64_t first_row,
                    std::size_t rows, std::size_t first, std::size_t count, float* panel,
                    std::size_t stride_elements) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  alignas(64) std::array<std::array<float, float_panel_cols<Architecture>>, width> decoded;
  const std::size_t padded = (count + width - 1) / width * width;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < width; ++n) {
    if (n >= rows) {
      std::fill_n(decoded[n].begin(), padded, 0.0F);
      continue;
    }
    const auto [run, start] = position_of_row(decoder.of, weight, first_row + n);
    prefetch_columns(decoder.of, run, start + first + count, count);
    decoder.decode_range(run, start + first, count, decoded[n].data());
    std::fill_n(decoded[n].begin() + static_cast<std::ptrdiff_t>(count), padded - count, 0.0F);
  }
  for (std::size_t k = 0; k < padded; k += width) {
    simd::lane_tile<Architecture> square;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < width; ++n) {
      square[n] = std::bit_cast<integers>(simd::load<Architecture>(decoded[n].data() + k));
    }
    simd::transpose<Architecture>(square, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < width; ++i) {
      std::bit_cast<simd::vector<float, Architecture>>(square[i]).store_unaligned(
          panel + (k + i) * stride_elements);
    }
  }
}

/// The same from whatever the source has.
template <class Architecture>
void fill_float_panel(const float_panel_source<Architecture>& source, const tensor_view& weight,
                      std::uint64_t first_row, std::size_t rows, std::size_t first, std::size_t count,
                      float* panel, std::size_t stride_elements) noexcept {
  if (source.has_codes()) {
    fill_from_codes(source, weight, first_row, rows, first, count, panel, stride_elements);
  } else {
    fill_from_rows<Architecture>(source.decoder, weight, first_row, rows, first, count, panel,
                                 stride_elements);
  }
}

/// Products of some columns of f32 activations with rows first_row .. first_row + row_count of any
/// weight. From the first column on they set y, else they are added to it.
template <class Architecture>
void multiply_float_panels(const float_panel_source<Architecture>& source, const tensor_view& weight,
                           std::uint64_t first_row, std::size_t row_count,
                           const interleaved_activations& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t most_rows = float_tile_rows<Architecture>;
  constexpr std::size_t tile_cols = width * float_tile_groups;
  constexpr std::size_t panel_cols = float_panel_cols<Architecture>;
  static_assert(interleaved_cols % panel_cols == 0);
  alignas(64) std::array<float, tile_cols * panel_cols> panel;
  alignas(64) std::array<float, most_rows * tile_cols> sums;
  alignas(64) constexpr std::array<float, tile_cols> zeros{};
  for (std::size_t n = 0; n < row_count; n += tile_cols) {
    const std::size_t tile_count = std::min(tile_cols, row_count - n);
    const bool is_one_group = tile_count <= width;
    const std::size_t panel_width = is_one_group ? width : tile_cols;
    for (std::size_t first = 0; first < x.cols; first += panel_cols) {
      const std::size_t count = std::min(panel_cols, x.cols - first);
      for (std::size_t g = 0; g * width < tile_count; ++g) {
        fill_float_panel(source, weight, first_row + n + g * width,
                         std::min(width, tile_count - g * width), x.first_col + first, count,
                         panel.data() + g * width, panel_width);
      }
      const bool is_first = x.first_col + first == 0;
      for (std::size_t m = 0; m < x.rows;) {
        const std::size_t rows = x.tile_rows(m);
        const auto multiply = choose_float_tile<Architecture>(rows, is_one_group);
        const float* const own = x.values + m * x.cols + first * rows;
        float* const to = y.y + m * y.stride_elements + first_row + n;
        if (tile_count == panel_width) {
          tile_output out{to, y.stride_elements, to, y.stride_elements};
          if (is_first) {
            out.start = y.bias != nullptr ? y.bias + first_row + n : zeros.data();
            out.start_stride_elements = 0;
          }
          multiply(own, panel.data(), count, out);
        } else {
          multiply(own, panel.data(), count, {zeros.data(), 0, sums.data(), panel_width});
          for (std::size_t i = 0; i < rows; ++i) {
            y.put_row(m + i, first_row + n, sums.data() + i * panel_width, tile_count, is_first);
          }
        }
        m += rows;
      }
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
