#pragma once

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
#include <nibble/kernel/unpacked_row.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// As many weight rows as a vector has lanes, taken apart together into a panel that stays in cache,
// each row in a lane of its own.

/// Blocks of a row that a panel holds: a panel and the activations that pass over it stay in the
/// first-level cache.
inline constexpr std::size_t code_panel_blocks = 32;

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

/// Codes of as many rows as a vector has lanes, each row's blocks stride_bytes apart.
template <class Architecture>
struct square_of_rows {
  std::array<const std::byte*, simd::lanes<Architecture>> codes;
  std::size_t stride_bytes;
};

/// Takes `count` blocks of codes apart into a panel, from `lane` on.
template <class Architecture, code_packing Packing, Activation Value>
void store_codes(const square_of_rows<simd::block_architecture<Architecture>>& rows, std::size_t count,
                 std::size_t lane, code_panel<Architecture, Value>& to) noexcept {
  using panel = code_panel<Architecture, Value>;
  using tag = simd::block_architecture<Architecture>;
  using block = decltype(load_codes<tag, Packing, Value>(nullptr));
  constexpr std::size_t square_rows = simd::lanes<tag>;
  constexpr std::size_t parts = std::tuple_size_v<block>;
  for (std::size_t b = 0; b < count; ++b) {
    std::array<simd::lane_tile<tag>, parts> squares;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < square_rows; ++n) {
      const block codes = load_codes<tag, Packing, Value>(rows.codes[n] + b * rows.stride_bytes);
      NIBBLE_UNROLL
      for (std::size_t part = 0; part < parts; ++part) {
        squares[part][n] = std::bit_cast<simd::vector<std::int32_t, tag>>(codes[part]);
      }
    }
    NIBBLE_UNROLL
    for (std::size_t part = 0; part < parts; ++part) {
      simd::transpose<tag>(squares[part], tag{}, tag{});
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < square_rows; ++i) {
        const std::size_t at = b * panel::block_vectors + part * square_rows + i;
        std::bit_cast<typename block::value_type>(squares[part][i])
            .store_unaligned(to.codes.data() + (at * panel::width + lane) * panel::lane_codes);
      }
    }
  }
}

/// The codes of a panel's blocks of one row, where they do not lie in the file as they are wanted, and
/// those of the row's last block.
inline constexpr std::size_t panel_row_bytes = (code_panel_blocks + 1) * simd::block_codes;

/// Asks memory for `count` elements of a run, from `first` on: it answers while those before them are
/// multiplied. Rows lie too far apart for processors to see by themselves what comes next.
inline void prefetch_columns(const encoding_description& of, const std::byte* run, std::uint64_t first,
                             std::size_t count) noexcept {
  const auto bytes_of = [&](std::uint64_t elements) {
    return static_cast<std::size_t>(elements / of.block_elements * of.block_bytes);
  };
  const std::size_t from = bytes_of(first);
  for (std::size_t ahead = 0; ahead < bytes_of(count); ahead += simd::line_bytes) {
    simd::prefetch(run, from + ahead);
  }
}

/// Memory for the codes of as many rows as are taken apart at once.
template <class Architecture>
using panel_memory = std::array<std::array<std::byte, panel_row_bytes>,
                                simd::lanes<simd::block_architecture<Architecture>>>;

/// Scales and offsets of `count` blocks of as many rows as are taken apart at once, into a panel from
/// `lane` on, and where their codes lie: in the weight or in `memory`. Of `rows` rows: the others have
/// the last one's codes, and scales and offsets of zero.
template <class Architecture, Codec Codec, Activation Value>
void load_panel_rows(const tensor_view& weight, std::uint64_t first_row, std::size_t rows,
                     std::size_t first, std::size_t count, panel_memory<Architecture>& memory,
                     square_of_rows<simd::block_architecture<Architecture>>& square, std::size_t lane,
                     code_panel<Architecture, Value>& to) noexcept {
  using tag = simd::block_architecture<Architecture>;
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  constexpr float shift = code_bias<Codec, Value>();
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t square_rows = simd::lanes<tag>;
  constexpr bool has_heads = BlockCodec<Codec> && !BitCodec<Codec>;
  block_scales scales;
  for (std::size_t n = 0; n < square_rows; ++n) {
    const std::uint64_t row = first_row + std::min(n, std::max<std::size_t>(rows, 1) - 1);
    if constexpr (BlockCodec<Codec>) {
      static_assert(row_type::memory_bytes <= panel_row_bytes);
      row_type own(weight, row, memory[n].data());
      if constexpr (!has_heads) {
        own.template load_scales<Architecture>(weight, first, count, shift, scales);
      }
      square.codes[n] = own.codes_of(first);
    } else {
      static_assert(row_type::memory_bytes == simd::block_codes);
      const row_type own(weight, row, memory[n].data() + code_panel_blocks * simd::block_codes);
      own.template load_scales<Architecture>(weight, first, count, shift, scales);
      square.codes[n] = own.codes_of(first);
      if (own.whole_blocks(first, count) != count) {
        for (std::size_t b = 0; b < count; ++b) {
          std::memcpy(memory[n].data() + b * simd::block_codes, own.codes_of(first + b),
                      simd::block_codes);
        }
        square.codes[n] = memory[n].data();
      }
    }
    constexpr const encoding_description& of = describe(Codec::encoding);
    const auto [run, start] = position_of_row(of, weight, row);
    const std::size_t elements = count * simd::block_codes;
    prefetch_columns(of, run, start + first * simd::block_codes + elements, elements);
    if constexpr (!has_heads) {
      for (std::size_t b = 0; b < count; ++b) {
        to.scales[b * width + lane + n] = n < rows ? scales.scales[b] : 0.0F;
        to.offsets[b * width + lane + n] = n < rows ? scales.offsets[b] : 0.0F;
      }
    }
  }
  if constexpr (has_heads) {
    // Block by block, with all rows' scales side by side.
    constexpr std::size_t codes_at = block_layout<Codec>::codes_at;
    alignas(64) std::array<std::int32_t, code_panel_blocks * square_rows> heads;
    for (std::size_t b = 0; b < count; ++b) {
      NIBBLE_UNROLL
      for (std::size_t n = 0; n < square_rows; ++n) {
        std::memcpy(&heads[b * square_rows + n],
                    square.codes[n] + b * row_type::stride_bytes - codes_at, sizeof(heads[0]));
      }
    }
    if (rows < square_rows) {
      for (std::size_t i = 0; i < count * square_rows; ++i) {
        if (i % square_rows >= rows) heads[i] = 0;
      }
    }
    for (std::size_t b = 0; b < count; ++b) {
      store_scales_from_headers<tag, Codec>(
          simd::vector<std::int32_t, tag>::load_unaligned(heads.data() + b * square_rows), shift,
          to.scales.data() + b * width + lane, to.offsets.data() + b * width + lane);
    }
  }
}

/// What panels are filled with, of any encoding: what is built on it is compiled once, and not for
/// each.
template <class Architecture, Activation Value>
struct code_panel_source {
  using square_type = square_of_rows<simd::block_architecture<Architecture>>;
  using panel_type = code_panel<Architecture, Value>;

  void (*load_rows)(const tensor_view&, std::uint64_t, std::size_t, std::size_t, std::size_t,
                    panel_memory<Architecture>&, square_type&, std::size_t, panel_type&) noexcept;
  void (*store_codes)(const square_type&, std::size_t, std::size_t, panel_type&) noexcept;
  std::size_t stride_bytes;  ///< from one block's codes to the next, as load_rows leaves them
  bool has_offsets;          ///< whether values are not just scale * code
};
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr code_panel_source<Architecture, Value> code_panel_source_of() noexcept {
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  // Nibbles come apart alike wherever they lie: the activations' order makes the difference.
  constexpr code_packing own = packing_of<Codec, Value>();
  constexpr code_packing packing = is_nibbles(own) ? code_packing::nibble_halves : own;
  return {&load_panel_rows<Architecture, Codec, Value>, &store_codes<Architecture, packing, Value>,
          row_type::stride_bytes, row_type::has_offsets(code_bias<Codec, Value>())};
}

/// Takes `count` blocks of `rows` weight rows apart, at most one for each lane, into a panel. A lane
/// without a row has scales and offsets of zero.
template <class Architecture, Activation Value>
void fill_code_panel(const code_panel_source<Architecture, Value>& source, const tensor_view& weight,
                     std::uint64_t first_row, std::size_t rows, std::size_t first, std::size_t count,
                     code_panel<Architecture, Value>& to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t square_rows = simd::lanes<simd::block_architecture<Architecture>>;
  square_of_rows<simd::block_architecture<Architecture>> square{{}, source.stride_bytes};
  alignas(64) panel_memory<Architecture> memory;
  for (std::size_t lane = 0; lane < width; lane += square_rows) {
    // Of a square without a row, the last one's, times nothing.
    const std::size_t from = std::min(lane, rows - 1);
    const std::size_t own_rows = rows - std::min(lane, rows);
    source.load_rows(weight, first_row + from, own_rows, first, count, memory, square, lane, to);
    source.store_codes(square, count, lane, to);
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
