#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/interleaved_rows.hpp>
#include <nibble/codec/q8.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 8 rows x 32 elements in 288 bytes, 9 bits per weight: the q8 blocks of 8 rows side by side, so that a
/// vector loads the same codes of 8 rows at once. Values are q8's, bit for bit.
///
///   byte  0                          16                       32                                      288
///         | scale of row 0 ... row 7 | min of row 0 ... row 7 | word 0 of row 0 ... row 7, word 1 ... |
///
/// Word w of a row is its codes q[4 w] .. q[4 w + 3], from byte 32 + 32 w + 4 row on. Rows that the tensor
/// does not have hold zeros.
struct q8_r8 {
  static constexpr nibble::encoding encoding = nibble::encoding::q8_r8;
  /// The codec of one row's blocks.
  using row_codec = q8;
  static constexpr std::size_t block_rows = 8;  ///< that lie side by side
  static constexpr std::uint32_t largest_code = row_codec::largest_code;
  static constexpr code_packing packing = row_codec::packing;
  static constexpr std::int32_t code_zero = row_codec::code_zero;
  static constexpr bool has_min = row_codec::has_min;

  struct block {
    std::array<float16, block_rows> scales;
    std::array<float16, block_rows> mins;
    std::array<std::uint8_t, block_rows * sizeof(row_codec::block::codes)> codes;
  };
  static_assert(sizeof(block) == 288 && alignof(block) == 2);

  /// The block of row `row` < 8.
  [[nodiscard]] static row_codec::block load_row(const block& from, std::size_t row) noexcept {
    return load_interleaved_row<row_codec>(from, row);
  }
  /// Puts `from` in the place of row `row` < 8.
  static void store_row(block& to, std::size_t row, const row_codec::block& from) noexcept {
    store_interleaved_row<row_codec>(to, row, from);
  }
};
static_assert(sizeof(q8_r8::block) == describe(q8_r8::encoding).block_bytes);
static_assert(q8_r8::block_rows == describe(q8_r8::encoding).block_rows());
static_assert(q8::block_elements == describe(q8_r8::encoding).block_cols());

template <>
struct codec_of<nibble::encoding::q8_r8> {
  using type = q8_r8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
