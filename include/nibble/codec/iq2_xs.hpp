#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_books.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/iq2_xxs.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 74 bytes, 2.3125 bits per weight: x = scale * (2 s[i] + 1) / 8 * v, in sixteen
/// sub-blocks of 16 elements with s in 0..15 for i = j / 16. Eight elements at a time are an entry of
/// iq2_xs_book, whose digits stand for 8, 25 and 43, with signs of which the last makes the number of
/// minus signs even. ggml's IQ2_XS. No packing from f32, for IQ2_XXS's reason.
///
///   byte  0     2                                          66                        74
///         | scale | u16: entry + 512 * 7 signs ... 31 more | s[0] + 16 s[1] ... 7 more |
struct iq2_xs {
  static constexpr nibble::encoding encoding = nibble::encoding::iq2_xs;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint16_t, block_elements / 8> entries_and_signs;
    std::array<std::uint8_t, block_elements / 32> sub_blocks;
  };
  static_assert(sizeof(block) == 74 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale) / 8;
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const std::uint32_t bits = from.entries_and_signs[i];
      const int number = from.sub_blocks[i / 4] >> (i % 4 / 2 * 4) & 15;
      unpack_signed_digits(iq2_xs_book[bits & 511U], iq2_xxs::magnitudes, even_signs(bits >> 9U),
                           unit * static_cast<float>(2 * number + 1), to);
    });
  }
};
static_assert(sizeof(iq2_xs::block) == describe(iq2_xs::encoding).block_bytes);
static_assert(iq2_xs::block_elements == describe(iq2_xs::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq2_xs> {
  using type = iq2_xs;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
