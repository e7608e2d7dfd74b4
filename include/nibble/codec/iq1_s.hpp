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

/// 256 elements in 50 bytes, 1.5625 bits per weight: x = scale * (2 s[i] + 1) * (d - 1 + delta), in
/// eight sub-blocks of 32 elements with s in 0..7 and a delta of 1/8 or -1/8 for i = j / 32. Eight
/// elements at a time are entry l + 256 h of iq1_book, whose digits are d. ggml's IQ1_S. No packing
/// from f32, for IQ2_XXS's reason.
///
///   byte  0     2            34                                                               50
///         | scale | l[0..31] | u16: h[0] + 8 h[1] + 64 h[2] + 512 h[3], s[0], sign of delta ... 7 more |
struct iq1_s {
  static constexpr nibble::encoding encoding = nibble::encoding::iq1_s;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 8> entry_lows;
    std::array<std::uint16_t, block_elements / 32> sub_blocks;
  };
  static_assert(sizeof(block) == 50 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale);
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const std::uint32_t bits = from.sub_blocks[i / 4];
      const std::size_t high = bits >> (i % 4 * 3) & 7U;
      unpack_ternary_digits(iq1_book[from.entry_lows[i] + 256 * high],
                            (bits >> 15U) != 0 ? -0.125F : 0.125F,
                            unit * static_cast<float>(2 * (bits >> 12U & 7U) + 1), to);
    });
  }
};
static_assert(sizeof(iq1_s::block) == describe(iq1_s::encoding).block_bytes);
static_assert(iq1_s::block_elements == describe(iq1_s::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq1_s> {
  using type = iq1_s;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
