#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/five_bit_codes.hpp>
#include <nibble/codec/offset_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 24 bytes, 6 bits per weight: x = scale * q + min, q in 0..31. ggml's Q5_1.
///
///   byte  0     2     4                     8                                           24
///         | scale | min | h[0] ... h[31] bits | l[0] + 16 l[16] ... l[15] + 16 l[31] |
///
/// q = l + 16 h.
struct q5_1 {
  static constexpr nibble::encoding encoding = nibble::encoding::q5_1;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::uint32_t largest_code = 31;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    float16 min;
    five_bit_codes codes;
  };
  static_assert(sizeof(block) == 24 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t) noexcept {
    return five_bit_codes::low_bits(offsetof(block, codes));
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t) noexcept {
    return five_bit_codes::high_bits(offsetof(block, codes));
  }

  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static float min(const block& from) noexcept { return to_float32(from.min); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = scale(from) * static_cast<float>(from.codes[j]) + min(from);
    }
  }

  /// Stores codes 0..largest_code; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    to.codes.store(codes);
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See pack_offset_grid for how scale and min are chosen; the squared error is never above that of
  /// the grid from lowest to highest value.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    return pack_offset_block<q5_1>(values, to, how);
  }
};
static_assert(sizeof(q5_1::block) == describe(q5_1::encoding).block_bytes);
static_assert(q5_1::block_elements == describe(q5_1::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q5_1> {
  using type = q5_1;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
