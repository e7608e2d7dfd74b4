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

/// 256 elements in 82 bytes, 2.5625 bits per weight: x = scale * (2 s[i] + 1) / 8 * v, in sixteen
/// sub-blocks of 16 elements with s in 0..15 for i = j / 16. Eight elements at a time are entry
/// l + 256 h of iq2_s_book, whose digits stand for 8, 25 and 43, with a sign each. ggml's IQ2_S. No
/// packing from f32, for IQ2_XXS's reason.
///
///   byte  0     2            34                 66                                          74
///         | scale | l[0..31] | 32 times 8 signs | h[0] + 4 h[1] + 16 h[2] + 64 h[3] ... 7 more |
///         74                        82
///         | s[0] + 16 s[1] ... 7 more |
struct iq2_s {
  static constexpr nibble::encoding encoding = nibble::encoding::iq2_s;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 8> entry_lows;
    std::array<std::uint8_t, block_elements / 8> signs;
    std::array<std::uint8_t, block_elements / 32> entry_highs;
    std::array<std::uint8_t, block_elements / 32> sub_blocks;
  };
  static_assert(sizeof(block) == 82 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale) / 8;
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const std::size_t high = from.entry_highs[i / 4] >> (i % 4 * 2) & 3U;
      const int number = from.sub_blocks[i / 4] >> (i % 4 / 2 * 4) & 15;
      unpack_signed_digits(iq2_s_book[from.entry_lows[i] + 256 * high], iq2_xxs::magnitudes,
                           from.signs[i], unit * static_cast<float>(2 * number + 1), to);
    });
  }
};
static_assert(sizeof(iq2_s::block) == describe(iq2_s::encoding).block_bytes);
static_assert(iq2_s::block_elements == describe(iq2_s::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq2_s> {
  using type = iq2_s;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
