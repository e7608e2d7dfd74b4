#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_books.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 66 bytes, 2.0625 bits per weight: x = scale * (2 s[i] + 1) / 8 * v, in eight
/// sub-blocks of 32 elements with s in 0..15 for i = j / 32. Eight elements at a time are an entry of
/// iq2_xxs_book, whose digits stand for 8, 25 and 43, with signs of which the last makes the number of
/// minus signs even. ggml's IQ2_XXS. No packing from f32: searching the book is of use only with
/// weights of importance.
///
///   byte  0     2                                                                  10
///         | scale | four entries, 1 byte each | u32: four times 7 signs, 4 bits s[0] | ... seven more
struct iq2_xxs {
  static constexpr nibble::encoding encoding = nibble::encoding::iq2_xxs;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;
  /// What the digits of the books of IQ2 stand for; no entry has a 3.
  static constexpr std::array<std::uint8_t, 4> magnitudes = {8, 25, 43, 0};

  /// 32 elements.
  struct sub_block {
    std::array<std::uint8_t, 4> entries;           ///< one of the book for every 8 elements
    std::array<std::uint16_t, 2> signs_and_scale;  ///< 7 bits of signs for each of them, 4 of scale
  };
  struct block {
    float16 scale;
    std::array<sub_block, block_elements / 32> sub_blocks;
  };
  static_assert(sizeof(block) == 66 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale) / 8;
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const sub_block& part = from.sub_blocks[i / 4];
      const std::uint32_t bits =
          part.signs_and_scale[0] | static_cast<std::uint32_t>(part.signs_and_scale[1]) << 16U;
      const float scale = unit * static_cast<float>(2 * (bits >> 28U) + 1);
      unpack_signed_digits(iq2_xxs_book[part.entries[i % 4]], magnitudes,
                           even_signs(bits >> (i % 4 * 7) & 127U), scale, to);
    });
  }
};
static_assert(sizeof(iq2_xxs::block) == describe(iq2_xxs::encoding).block_bytes);
static_assert(iq2_xxs::block_elements == describe(iq2_xxs::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq2_xxs> {
  using type = iq2_xxs;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
