#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/offset_sub_blocks.hpp>
#include <nibble/codec/offset_super_block.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/six_bit_pairs.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 144 bytes, 4.5 bits per weight, in eight sub-blocks of 32 elements:
/// x = scale * s[i] * q - min * m[i], q in 0..15, s and m in 0..63 for sub-block i = j / 32. ggml's
/// Q4_K.
///
///   byte  0     2     4                 16                                              48
///         | scale | min | s, m: 8 pairs | q[0] + 16 q[32] ... q[31] + 16 q[63] | ... three times more
///
/// See six_bit_pairs for how s and m lie.
struct q4_k : offset_super_block {
  static constexpr nibble::encoding encoding = nibble::encoding::q4_k;
  static constexpr std::uint32_t largest_code = 15;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    float16 min;
    six_bit_pairs sub_blocks;
    nibbles codes;
  };
  static_assert(sizeof(block) == 144 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return nibbles::bits(offsetof(block, codes), group);
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    unpack_codes(from, values, [&](std::size_t j) { return from.codes[j]; });
  }

  /// Stores codes 0..15; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    to.codes.store(codes);
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See offset_sub_blocks for how scales and mins are chosen.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const packed_sub_blocks<largest_code> packed(values, how);
    if (packed.status() != pack_status::packed) return packed.status();
    store_head(packed.chosen(), to);
    store_codes(packed.codes(), to);
    return pack_status::packed;
  }
};
static_assert(sizeof(q4_k::block) == describe(q4_k::encoding).block_bytes);
static_assert(q4_k::block_elements == describe(q4_k::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q4_k> {
  using type = q4_k;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
