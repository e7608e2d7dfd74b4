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

/// 256 elements in 56 bytes, 1.75 bits per weight: x = scale * (2 s[i] + 1) * (d - 1 + delta[k]), in
/// sixteen sub-blocks of 16 elements with s in 0..7 for i = j / 16, and a delta of 1/8 or -1/8 for each
/// eight elements, k = j / 8, which are entry l + 256 h of iq1_book, whose digits are d. The bits of the
/// scale, an f16, lie in fours beside s. ggml's IQ1_M. No packing from f32, for IQ2_XXS's reason.
///
///   byte  0          32                                                                     48
///         | l[0..31] | h[0] + 8 where delta[0] < 0, the same of h[1] and delta[1] * 16 ... 15 more |
///         48                                                                    56
///         | u16: s[0] + 8 s[1] + 64 s[2] + 512 s[3], lowest 4 bits of scale ... 3 more |
struct iq1_m {
  static constexpr nibble::encoding encoding = nibble::encoding::iq1_m;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 8> entry_lows;
    std::array<std::uint8_t, block_elements / 16> entry_highs;
    std::array<std::uint16_t, block_elements / 64> sub_blocks;
  };
  static_assert(sizeof(block) == 56 && alignof(block) == 2);

  [[nodiscard]] static float16 stored_scale(const block& from) noexcept {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < from.sub_blocks.size(); ++i) {
      bits |= static_cast<std::uint32_t>(from.sub_blocks[i] >> 12U) << (4 * i);
    }
    return {static_cast<std::uint16_t>(bits)};
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(stored_scale(from));
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const std::uint32_t high = from.entry_highs[i / 2] >> (i % 2 * 4) & 15U;
      const int number = from.sub_blocks[i / 8] >> (i % 8 / 2 * 3) & 7;
      unpack_ternary_digits(iq1_book[from.entry_lows[i] + 256 * (high & 7U)],
                            (high & 8U) != 0 ? -0.125F : 0.125F,
                            unit * static_cast<float>(2 * number + 1), to);
    });
  }
};
static_assert(sizeof(iq1_m::block) == describe(iq1_m::encoding).block_bytes);
static_assert(iq1_m::block_elements == describe(iq1_m::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq1_m> {
  using type = iq1_m;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
