#pragma once

// Fills panels of floats: as many weight rows as a vector has lanes are decoded together, each row into
// a lane of its own. Loop nest of fill_panel, for at most 512 columns (256 where a vector has 16
// lanes):
//
//   from codes, for encodings with one scale for every 32:
//     fill_code_panel unpacks the blocks to bytes, a lane a row                    (code_panel.hpp)
//     for each block: for each four columns, in one vector of four bytes a lane
//       shift one byte of every lane down, scale it, store a column
//   from rows, for all others:
//     decode each row                                                              (decode.hpp)
//     for each tile of as many columns as there are lanes: transpose it in registers, store its columns
//
// The panel of bytes (8 KiB for 8 lanes, 16 KiB for 16), or the decoded rows (16 KiB), and the panel
// that is filled stay in cache.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Columns of a panel: whole stored blocks of every encoding.
template <class Architecture>
inline constexpr std::size_t float_panel_cols = simd::lanes<Architecture> == 16 ? 256 : 512;

/// What a panel's lanes hold of a row at one step: a column as f32, or a pair of columns as bf16
/// (bfloat16_panel.hpp).
template <class T>
concept PanelElement = std::same_as<T, float> || std::same_as<T, std::int32_t>;
/// Columns of a step.
template <PanelElement Element>
inline constexpr std::size_t step_cols = std::same_as<Element, float> ? 1 : 2;

/// Where a panel goes: what its lanes hold of step k to values + k * stride_elements, a row in each lane.
template <PanelElement Element>
struct panel_view {
  Element* values;
  std::size_t stride_elements;
};

/// What panels of floats are filled with, of any encoding. Function pointers hide the codec, so that
/// their callers are compiled once for an architecture.
template <class Architecture>
struct float_panel_source {
  range_decoder decoder;
  /// For encodings whose codes unpack to bytes with one scale a block; else its functions are null.
  code_panel_source<Architecture, std::int8_t> codes{};
  activation_order order{};  ///< of the codes
  bool is_signed = false;    ///< values are scale * (code - 128), the scale an f32

  [[nodiscard]] bool has_codes() const noexcept { return codes.store_codes != nullptr; }
};

/// The source of a weight. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] float_panel_source<Architecture> float_panel_source_of(const tensor_view& weight) {
  float_panel_source<Architecture> source{decoder_of<Architecture>(weight)};
  visit_stored_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
    if constexpr (has_block_scales<Codec>() && !WideScaleCodec<Codec>) {
      if (!rows_are_blocks<Codec>(weight)) return;
      source.codes = code_panel_source_of<Architecture, Codec, std::int8_t>();
      source.order = activation_order_of<Codec>();
      source.is_signed = TensorScaleCodec<Codec>;
    }
  });
  return source;
}

/// fill_panel, from codes. They are widened in their lanes, four columns at a time, and computed
/// as scale * code + offset with one rounding, to what decoding gives. With a float16 scale the bias
/// that load_codes added is part of the offset, exactly. With an f32 scale it is subtracted from the
/// code first.
template <class Architecture>
void fill_from_codes(const float_panel_source<Architecture>& source, const tensor_view& weight,
                     row_range rows, column_range columns, panel_view<float> panel) noexcept {
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using panel_type = code_panel<Architecture, std::int8_t>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  static_assert(float_panel_cols<Architecture> <= code_panel_blocks * simd::block_codes);
  const block_range blocks{columns.first / simd::block_codes, blocks_in(columns.count)};
  panel_type unpacked;
  fill_code_panel(source.codes, {weight, rows, blocks}, unpacked);
  const bool is_natural = source.order == activation_order::natural;
  const std::size_t next = (is_natural ? 1 : 2) * panel.stride_elements;
  const integers zero(source.is_signed ? 128 : 0);
  const bool has_offsets = source.codes.has_offsets && !source.is_signed;
  const auto* from = unpacked.codes.data();
  for (std::size_t b = 0; b < blocks.count; ++b) {
    const floats scale = simd::load<Architecture>(unpacked.scales.data() + b * width);
    floats offset(0.0F);
    if (has_offsets) offset = simd::load<Architecture>(unpacked.offsets.data() + b * width);
    float* const block = panel.values + b * simd::block_codes * panel.stride_elements;
    for (std::size_t half = 0; half < 2; ++half) {
      float* to = block + (is_natural ? half * simd::block_codes / 2 : half) * panel.stride_elements;
      for (std::size_t quad = 0; quad < simd::block_codes / 8; ++quad) {
        const integers codes =
            simd::load_bytes<std::int32_t, Architecture>(reinterpret_cast<const std::byte*>(from));
        NIBBLE_UNROLL
        for (int i = 0; i < 4; ++i) {
          const integers code = (simd::shift_right<Architecture>(codes, 8 * i) & integers(255)) - zero;
          simd::fma(to_float(code), scale, offset).store_unaligned(to);
          to += next;
        }
        from += panel_type::lane_codes * width;
      }
    }
  }
}

/// fill_panel, from decoded rows.
template <class Architecture>
void fill_from_rows(const range_decoder& decoder, const tensor_view& weight, row_range rows,
                    column_range columns, panel_view<float> panel) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  alignas(64) std::array<std::array<float, float_panel_cols<Architecture>>, width> decoded;
  const std::size_t padded = (columns.count + width - 1) / width * width;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < width; ++n) {
    if (n >= rows.count) {
      std::fill_n(decoded[n].begin(), padded, 0.0F);
      continue;
    }
    const row_position row = position_of_row(weight, rows.first + n);
    prefetch_next_columns<Architecture>(decoder.description, weight, rows.first + n, columns);
    decoder.decode(row, columns.first, columns.count, decoded[n].data());
    std::fill_n(decoded[n].begin() + static_cast<std::ptrdiff_t>(columns.count), padded - columns.count,
                0.0F);
  }
  for (std::size_t k = 0; k < padded; k += width) {
    simd::lane_tile<Architecture> tile;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < width; ++n) {
      tile[n] = std::bit_cast<integers>(simd::load<Architecture>(decoded[n].data() + k));
    }
    simd::transpose<Architecture>(tile, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < width; ++i) {
      std::bit_cast<simd::vector<float, Architecture>>(tile[i]).store_unaligned(
          panel.values + (k + i) * panel.stride_elements);
    }
  }
}

/// Decodes some columns of some rows of a weight, at most a row for each lane, into a panel. Lanes
/// without a row become zeros. Whole blocks, or vectors, of columns are written: the panel has room for
/// columns.count rounded up to a multiple of 32.
template <class Architecture>
void fill_panel(const float_panel_source<Architecture>& source, const tensor_view& weight,
                row_range rows, column_range columns, panel_view<float> panel) noexcept {
  if (source.has_codes()) {
    fill_from_codes(source, weight, rows, columns, panel);
  } else {
    fill_from_rows<Architecture>(source.decoder, weight, rows, columns, panel);
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
