#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/code_packing.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Bytes of one row's codes that lie together in a block of interleaved rows: a lane of 32 bits.
inline constexpr std::size_t interleaved_word_bytes = 4;

/// What codecs share whose blocks are RowCodec's of 8 rows side by side: scales, mins, then codes, a word
/// of each row at a time. Rows that the tensor does not have hold zeros.
template <class RowCodec>
struct interleaved_rows {
  using row_codec = RowCodec;                   ///< the codec of one row's blocks
  static constexpr std::size_t block_rows = 8;  ///< that lie side by side
  static constexpr std::uint32_t largest_code = RowCodec::largest_code;
  static constexpr code_packing packing = RowCodec::packing;
  static constexpr std::int32_t code_zero = RowCodec::code_zero;
  static constexpr bool has_min = RowCodec::has_min;

  struct block {
    std::array<float16, block_rows> scales;
    std::array<float16, block_rows> mins;
    std::array<std::uint8_t, block_rows * sizeof(RowCodec::block::codes)> codes;
  };

  /// The block of row `row` < 8.
  [[nodiscard]] static typename RowCodec::block load_row(const block& from, std::size_t row) noexcept {
    typename RowCodec::block to{.scale = from.scales[row], .min = from.mins[row], .codes = {}};
    for (std::size_t i = 0; i < to.codes.size(); ++i) to.codes[i] = from.codes[place_of_byte(i, row)];
    return to;
  }
  /// Puts `from` in the place of row `row` < 8.
  static void store_row(block& to, std::size_t row, const typename RowCodec::block& from) noexcept {
    to.scales[row] = from.scale;
    to.mins[row] = from.min;
    for (std::size_t i = 0; i < from.codes.size(); ++i) to.codes[place_of_byte(i, row)] = from.codes[i];
  }

 private:
  /// Where byte `i` of a row's codes is among those of all rows.
  [[nodiscard]] static constexpr std::size_t place_of_byte(std::size_t i, std::size_t row) noexcept {
    const std::size_t word = i / interleaved_word_bytes;
    return (word * block_rows + row) * interleaved_word_bytes + i % interleaved_word_bytes;
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
