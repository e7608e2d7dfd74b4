#pragma once

#include <nibble/codec/codec.hpp>
#include <nibble/codec/interleaved_rows.hpp>
#include <nibble/codec/q8.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>

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
struct q8_r8 : interleaved_rows<q8> {
  static constexpr nibble::encoding encoding = nibble::encoding::q8_r8;
};
static_assert(sizeof(q8_r8::block) == 288 && alignof(q8_r8::block) == 2);
static_assert(sizeof(q8_r8::block) == describe(q8_r8::encoding).block_bytes);
static_assert(q8_r8::block_rows == describe(q8_r8::encoding).block_rows());
static_assert(q8::block_elements == describe(q8_r8::encoding).block_cols());

template <>
struct codec_of<nibble::encoding::q8_r8> {
  using type = q8_r8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
