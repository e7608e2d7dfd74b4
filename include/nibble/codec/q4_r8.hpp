#pragma once

#include <nibble/codec/codec.hpp>
#include <nibble/codec/interleaved_rows.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 8 rows x 32 elements in 160 bytes, 5 bits per weight: the q4 blocks of 8 rows side by side, so that a
/// vector loads the same codes of 8 rows at once. Values are q4's, bit for bit.
///
///   byte  0                          16                       32                                      160
///         | scale of row 0 ... row 7 | min of row 0 ... row 7 | word 0 of row 0 ... row 7, word 1 ... |
///
/// Words are those of 4 bytes of a row's q4 block: bytes 4 w .. 4 w + 3 of its codes are word w, from byte
/// 32 + 32 w + 4 row on. With p the q4 block's bytes of codes (q[j] + 16 q[j + 16] in p[j]):
///
///         32               36               40           60               64
///         | p[0..3], row 0 | p[0..3], row 1 | ...        | p[0..3], row 7 | p[4..7], row 0 | ...
///
/// Rows that the tensor does not have hold zeros.
struct q4_r8 : interleaved_rows<q4> {
  static constexpr nibble::encoding encoding = nibble::encoding::q4_r8;
};
static_assert(sizeof(q4_r8::block) == 160 && alignof(q4_r8::block) == 2);
static_assert(sizeof(q4_r8::block) == describe(q4_r8::encoding).block_bytes);
static_assert(q4_r8::block_rows == describe(q4_r8::encoding).block_rows());
static_assert(q4::block_elements == describe(q4_r8::encoding).block_cols());

template <>
struct codec_of<nibble::encoding::q4_r8> {
  using type = q4_r8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
