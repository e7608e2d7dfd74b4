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

/// 256 elements in 110 bytes, 3.4375 bits per weight: x = scale * (2 s[i] + 1) * v, in eight
/// sub-blocks of 32 elements with s in 0..15 for i = j / 32. Four elements at a time are entry
/// l + 256 h of iq3_s_book, whose digits d stand for 2 d + 1, with a sign each. ggml's IQ3_S. No
/// packing from f32, for IQ2_XXS's reason.
///
///   byte  0     2            66                               74                  106
///         | scale | l[0..63] | h[0] + 2 h[1] ... + 128 h[7] ... 7 more | 32 times 8 signs |
///         106                       110
///         | s[0] + 16 s[1] ... 3 more |
struct iq3_s {
  static constexpr nibble::encoding encoding = nibble::encoding::iq3_s;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;
  /// What the digits of iq3_s_book stand for.
  static constexpr std::array<std::uint8_t, 8> magnitudes = {1, 3, 5, 7, 9, 11, 13, 15};

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 4> entry_lows;
    std::array<std::uint8_t, block_elements / 32> entry_highs;
    std::array<std::uint8_t, block_elements / 8> signs;
    std::array<std::uint8_t, block_elements / 64> sub_blocks;
  };
  static_assert(sizeof(block) == 110 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale);
    const auto entry = [&](std::size_t i) -> std::uint32_t {
      const std::size_t high = from.entry_highs[i / 8] >> (i % 8) & 1U;
      return iq3_s_book[from.entry_lows[i] + 256 * high];
    };
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const int number = from.sub_blocks[i / 8] >> (i % 8 / 4 * 4) & 15;
      unpack_signed_digits(entry(2 * i) | entry(2 * i + 1) << 12U, magnitudes, from.signs[i],
                           unit * static_cast<float>(2 * number + 1), to);
    });
  }
};
static_assert(sizeof(iq3_s::block) == describe(iq3_s::encoding).block_bytes);
static_assert(iq3_s::block_elements == describe(iq3_s::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq3_s> {
  using type = iq3_s;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
