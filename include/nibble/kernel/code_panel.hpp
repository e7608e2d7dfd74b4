#pragma once

// Fills panels of codes: as many weight rows as a vector has lanes are unpacked together, each row into
// a lane of its own. Loop nest of fill_code_panel:
//
//   for each tile of rows: as many as a vector of a block's 32 bytes has 32-bit lanes
//     for each row: point to its codes, or unpack them into memory; ask memory for its next columns
//     write the rows' scales and offsets side by side
//     for each block of at most 32
//       load the block's codes of every row of the tile, transpose them in registers, store them
//
// A tile stays in registers while it is transposed: 32-bit words of rows become lanes. A panel of 32
// blocks (codes 8 KiB for 8 lanes of bytes, else up to 32 KiB) stays in cache, with the activations
// that pass over it.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/block_headers.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/load_codes.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/kernel/unpacked_row.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Blocks of a row that a panel holds. A panel and the activations that pass over it stay in the
/// first-level cache.
inline constexpr std::size_t code_panel_blocks = 32;

/// A panel of codes, a lane a weight row: for every block its codes four bytes, or two words, at a
/// time, those of all lanes side by side.
template <class Architecture, Activation Value>
struct code_panel {
  static constexpr std::size_t width = simd::lanes<Architecture>;
  using code = std::conditional_t<std::same_as<Value, std::int8_t>, std::uint8_t, std::int16_t>;
  static constexpr std::size_t lane_codes = 4 / sizeof(code);
  /// Vectors of a block.
  static constexpr std::size_t block_vectors = simd::block_codes / lane_codes;

  alignas(64) std::array<code, code_panel_blocks * simd::block_codes * width> codes;
  /// One of a block, or two, for its halves.
  alignas(64) std::array<float, 2 * code_panel_blocks * width> scales;
  alignas(64) std::array<float, 2 * code_panel_blocks * width> offsets;
};

/// Rows that are unpacked and transposed together.
template <class Architecture>
inline constexpr std::size_t transposed_rows = simd::lanes<simd::block_architecture<Architecture>>;

/// Where the codes of transposed_rows rows are, each row's blocks stride_bytes apart.
template <class Architecture>
struct row_codes {
  std::array<const std::byte*, transposed_rows<Architecture>> codes;
  std::size_t stride_bytes;
};

/// The codes of one row's blocks in a panel, where products do not read them as they are stored, and
/// those of the row's last block; or its blocks, where rows are interleaved, of at most 36 bytes each.
inline constexpr std::size_t panel_row_bytes = (code_panel_blocks + 1) * (simd::block_codes + 4);

/// Memory for the codes of transposed_rows rows.
template <class Architecture>
using panel_memory = std::array<std::array<std::byte, panel_row_bytes>, transposed_rows<Architecture>>;

/// Unpacks `count` blocks of codes into the lanes of a panel from `lane` on.
template <class Architecture, code_packing Packing, Activation Value>
void store_codes(const row_codes<Architecture>& rows, std::size_t count, std::size_t lane,
                 code_panel<Architecture, Value>& to) noexcept {
  using panel = code_panel<Architecture, Value>;
  using tag = simd::block_architecture<Architecture>;
  using block = decltype(load_codes<tag, Packing, Value>(nullptr));
  constexpr std::size_t tile_rows = transposed_rows<Architecture>;
  constexpr std::size_t vectors = std::tuple_size_v<block>;
  for (std::size_t b = 0; b < count; ++b) {
    std::array<simd::lane_tile<tag>, vectors> tiles;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < tile_rows; ++n) {
      const block codes = load_codes<tag, Packing, Value>(rows.codes[n] + b * rows.stride_bytes);
      NIBBLE_UNROLL
      for (std::size_t v = 0; v < vectors; ++v) {
        tiles[v][n] = std::bit_cast<simd::vector<std::int32_t, tag>>(codes[v]);
      }
    }
    NIBBLE_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      simd::transpose<tag>(tiles[v], tag{}, tag{});
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < tile_rows; ++i) {
        const std::size_t at = b * panel::block_vectors + v * tile_rows + i;
        std::bit_cast<typename block::value_type>(tiles[v][i])
            .store_unaligned(to.codes.data() + (at * panel::width + lane) * panel::lane_codes);
      }
    }
  }
}

/// Asks memory for what is unpacked into a lane next: as many columns of the row as those given, behind them
/// or, where they are the last, from the start of the lane's row in the next panel. Memory answers while
/// the given ones are multiplied. Rows are too far apart for processors to see this by themselves. Into the
/// second-level cache: of so many lines at once the first one takes a part, and waits for the rest.
template <class Architecture>
void prefetch_next_columns(const encoding_description& description, const tensor_view& weight,
                           std::uint64_t row, const column_range& columns) noexcept {
  const auto bytes_of = [&](std::uint64_t elements) {
    return static_cast<std::size_t>(elements / description.block_cols() * description.block_bytes);
  };
  const auto cols = static_cast<std::size_t>(weight.cols());
  std::size_t next = columns.first + columns.count;
  if (next >= cols) {
    next = 0;
    row = std::min(row + simd::lanes<Architecture>, weight.rows() - 1);
  }
  const row_position position = position_of_row(weight, row);
  const std::size_t from = bytes_of(position.first_element + next);
  const std::size_t size_bytes = bytes_of(std::min(columns.count, cols - next));
  for (std::size_t ahead = 0; ahead < size_bytes; ahead += simd::line_bytes) {
    simd::prefetch_to_second_level(position.start, from + ahead);
  }
}

/// The codes of a row's blocks, one behind the other: where the row has them or, where the last block
/// is not with the others, copied to `memory`.
template <class Row>
[[nodiscard]] const std::byte* gather_codes(const Row& row, const block_range& blocks,
                                            std::byte* memory) noexcept {
  if (row.contiguous_blocks(blocks) == blocks.count) return row.codes_of(blocks.first);
  for (std::size_t b = 0; b < blocks.count; ++b) {
    std::memcpy(memory + b * simd::block_codes, row.codes_of(blocks.first + b), simd::block_codes);
  }
  return memory;
}

/// Writes `count` scales and offsets of one row into a lane of a panel, or zeros.
template <class Architecture, Activation Value>
void store_lane_scales(const block_scales& scales, bool has_row, std::size_t count, std::size_t lane,
                       code_panel<Architecture, Value>& to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  for (std::size_t b = 0; b < count; ++b) {
    to.scales[b * width + lane] = has_row ? scales.scales[b] : 0.0F;
    to.offsets[b * width + lane] = has_row ? scales.offsets[b] : 0.0F;
  }
}

/// Writes scales and offsets of blocks whose headers stand before their codes, block by block, into the
/// lanes of a panel from `lane` on. Those of rows from `rows` on are zero.
template <class Architecture, Codec Codec, Activation Value>
void store_header_scales(const row_codes<Architecture>& codes, std::size_t rows, std::size_t count,
                         std::size_t lane, code_panel<Architecture, Value>& to) noexcept {
  using tag = simd::block_architecture<Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t tile_rows = transposed_rows<Architecture>;
  constexpr std::size_t codes_at = block_layout<Codec>::codes_at;
  alignas(64) std::array<std::int32_t, code_panel_blocks * tile_rows> headers;
  for (std::size_t b = 0; b < count; ++b) {
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < tile_rows; ++n) {
      std::memcpy(&headers[b * tile_rows + n],
                  codes.codes[n] + b * block_layout<Codec>::stride_bytes - codes_at,
                  sizeof(headers[0]));
    }
  }
  if (rows < tile_rows) {
    for (std::size_t i = 0; i < count * tile_rows; ++i) {
      if (i % tile_rows >= rows) headers[i] = 0;
    }
  }
  for (std::size_t b = 0; b < count; ++b) {
    store_scales_from_headers<tag, Codec>(
        simd::vector<std::int32_t, tag>::load_unaligned(headers.data() + b * tile_rows),
        code_bias<Codec, Value>(), to.scales.data() + b * width + lane,
        to.offsets.data() + b * width + lane);
  }
}

/// Writes scales and offsets of transposed_rows rows of a slice into the lanes of a panel from `lane`
/// on, and sets `codes` to where their codes are: in the weight or in `memory`. Where the slice has
/// fewer rows, its last row's codes stand for those of the others, with scales and offsets of zero.
/// Where it has none, the row at its start does.
template <class Architecture, Codec Codec, Activation Value>
void load_panel_rows(const weight_slice& slice, panel_memory<Architecture>& memory,
                     row_codes<Architecture>& codes, std::size_t lane,
                     code_panel<Architecture, Value>& to) noexcept {
  using row_type = weight_row<Codec, Value, code_panel_blocks>;
  static_assert(row_type::scales_a_block * code_panel_blocks <= pass_capacity_blocks);
  constexpr const encoding_description& description = describe(Codec::encoding);
  constexpr bool has_headers = BlockCodec<Codec> && !BitCodec<Codec>;
  // A partial last block is behind the room that gather_codes copies to.
  constexpr std::size_t row_memory_at = BlockCodec<Codec> ? 0 : code_panel_blocks * simd::block_codes;
  static_assert(row_memory_at + row_type::memory_bytes <= panel_row_bytes);
  const block_range& blocks = slice.blocks;
  const std::size_t last = std::max<std::size_t>(slice.rows.count, 1) - 1;
  block_scales scales;
  for (std::size_t n = 0; n < transposed_rows<Architecture>; ++n) {
    const std::uint64_t row_number = slice.rows.first + std::min(n, last);
    row_type row(slice.weight, row_number, memory[n].data() + row_memory_at);
    if constexpr (!has_headers) {
      row.template load_scales<Architecture>(slice.weight, blocks, code_bias<Codec, Value>(), scales);
    }
    codes.codes[n] = gather_codes(row, blocks, memory[n].data());
    prefetch_next_columns<Architecture>(
        description, slice.weight, row_number,
        {blocks.first * simd::block_codes, blocks.count * simd::block_codes});
    if constexpr (!has_headers) {
      store_lane_scales<Architecture, Value>(scales, n < slice.rows.count,
                                             blocks.count * row_type::scales_a_block, lane + n, to);
    }
  }
  if constexpr (has_headers) {
    store_header_scales<Architecture, Codec>(codes, slice.rows.count, blocks.count, lane, to);
  }
}

/// load_panel_rows for interleaved rows: their blocks are copied to `memory`, where each row's lie one
/// behind the other.
template <class Architecture, InterleavedCodec Codec, Activation Value>
void load_interleaved_panel_rows(const weight_slice& slice, panel_memory<Architecture>& memory,
                                 row_codes<Architecture>& codes, std::size_t lane,
                                 code_panel<Architecture, Value>& to) noexcept {
  using row_codec = typename Codec::row_codec;
  using row_block = typename row_codec::block;
  static_assert(code_panel_blocks * sizeof(row_block) <= panel_row_bytes);
  const std::size_t last = std::max<std::size_t>(slice.rows.count, 1) - 1;
  for (std::size_t n = 0; n < transposed_rows<Architecture>; ++n) {
    const row_position row = position_of_row(slice.weight, slice.rows.first + std::min(n, last));
    gather_lane_blocks<Codec>(row.start + slice.blocks.first * sizeof(typename Codec::block), row.lane,
                              slice.blocks.count, memory[n].data());
    codes.codes[n] = memory[n].data() + block_layout<row_codec>::codes_at;
  }
  store_header_scales<Architecture, row_codec>(codes, slice.rows.count, slice.blocks.count, lane, to);
}

/// What panels of codes are filled with, of any encoding. Function pointers hide the codec, so that
/// their callers are compiled once for an architecture.
template <class Architecture, Activation Value>
struct code_panel_source {
  void (*load_rows)(const weight_slice&, panel_memory<Architecture>&, row_codes<Architecture>&,
                    std::size_t lane, code_panel<Architecture, Value>&) noexcept;
  void (*store_codes)(const row_codes<Architecture>&, std::size_t count, std::size_t lane,
                      code_panel<Architecture, Value>&) noexcept;
  std::size_t stride_bytes;  ///< from one block's codes to the next, where load_rows says they are
  bool has_offsets;          ///< whether values are more than scale * code
  float bias;                ///< where they are scale * (code - bias), that, else 0
  bool has_halves;           ///< whether the halves of a block have scales of their own
};
/// What the codes that products see are larger by than values / scale, of encodings without a min; else 0.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr float bias_alone() noexcept {
  if constexpr (BitCodec<Codec> || TensorScaleCodec<Codec>) {
    if constexpr (requires { requires Codec::has_min; }) return 0.0F;
    return code_bias<Codec, Value>();  // code_zero is in it, or off the codes already
  } else {
    return Codec::has_min ? 0.0F : code_bias<Codec, Value>() + static_cast<float>(Codec::code_zero);
  }
}

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr code_panel_source<Architecture, Value> code_panel_source_of() noexcept {
  if constexpr (InterleavedCodec<Codec>) {
    auto source = code_panel_source_of<Architecture, typename Codec::row_codec, Value>();
    source.load_rows = &load_interleaved_panel_rows<Architecture, Codec, Value>;
    return source;
  } else {
    using row_type = weight_row<Codec, Value, code_panel_blocks>;
    return {&load_panel_rows<Architecture, Codec, Value>,
            &store_codes<Architecture, load_packing_of<Codec, Value>(), Value>,
            row_type::stride_bytes,
            row_type::has_offsets(code_bias<Codec, Value>()),
            bias_alone<Codec, Value>(),
            row_type::scales_a_block == 2};
  }
}

/// Unpacks a slice of a weight into a panel. The slice has at most a row for each lane and at most
/// code_panel_blocks blocks. A lane without a row has scales and offsets of zero.
template <class Architecture, Activation Value>
void fill_code_panel(const code_panel_source<Architecture, Value>& source, const weight_slice& slice,
                     code_panel<Architecture, Value>& to) noexcept {
  const std::size_t rows = slice.rows.count;
  row_codes<Architecture> codes{{}, source.stride_bytes};
  alignas(64) panel_memory<Architecture> memory;
  for (std::size_t lane = 0; lane < simd::lanes<Architecture>; lane += transposed_rows<Architecture>) {
    // Where no row is left, the last one's codes stand for them.
    const row_range left{slice.rows.first + std::min(lane, rows - 1), rows - std::min(lane, rows)};
    source.load_rows({slice.weight, left, slice.blocks}, memory, codes, lane, to);
    source.store_codes(codes, slice.blocks.count, lane, to);
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
