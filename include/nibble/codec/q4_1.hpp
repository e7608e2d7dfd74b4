#pragma once

#include <nibble/codec/codec.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 20 bytes, 5 bits per weight: x = scale * q + min, q in 0..15. ggml's Q4_1: q4's block,
/// values and packer.
struct q4_1 : q4 {
  static constexpr nibble::encoding encoding = nibble::encoding::q4_1;
  /// The codec that reads these blocks.
  using stored_codec = q4;
};
static_assert(sizeof(q4_1::block) == describe(q4_1::encoding).block_bytes);
static_assert(q4_1::block_elements == describe(q4_1::encoding).block_elements);
static_assert(q4_1::has_min == describe(q4_1::encoding).has_min);

template <>
struct codec_of<nibble::encoding::q4_1> {
  using type = q4_1;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
