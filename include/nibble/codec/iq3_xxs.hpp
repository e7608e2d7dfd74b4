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

/// 256 elements in 98 bytes, 3.0625 bits per weight: x = scale * (2 s[i] + 1) / 4 * v, in eight
/// sub-blocks of 32 elements with s in 0..15 for i = j / 32. Four elements at a time are an entry of
/// iq3_xxs_book, whose digits stand for 4, 12, 20, 28, 36, 44, 52 and 62; of eight signs the last makes
/// the number of minus signs even. ggml's IQ3_XXS. No packing from f32, for IQ2_XXS's reason.
///
///   byte  0     2                           66                                                98
///         | scale | 64 entries, 1 byte each | u32: four times 7 signs, 4 bits s[0] ... 7 more |
struct iq3_xxs {
  static constexpr nibble::encoding encoding = nibble::encoding::iq3_xxs;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;
  /// What the digits of iq3_xxs_book stand for.
  static constexpr std::array<std::uint8_t, 8> magnitudes = {4, 12, 20, 28, 36, 44, 52, 62};

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 4> entries;
    std::array<std::array<std::uint16_t, 2>, block_elements / 32> signs_and_scales;
  };
  static_assert(sizeof(block) == 98 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float unit = to_float32(from.scale) / 4;
    for_each_eight(values, [&](std::size_t i, std::span<float> to) {
      const auto& halves = from.signs_and_scales[i / 4];
      const std::uint32_t bits = halves[0] | static_cast<std::uint32_t>(halves[1]) << 16U;
      const std::uint32_t first = iq3_xxs_book[from.entries[2 * i]];
      const std::uint32_t second = iq3_xxs_book[from.entries[2 * i + 1]];
      unpack_signed_digits(first | second << 12U, magnitudes, even_signs(bits >> (i % 4 * 7) & 127U),
                           unit * static_cast<float>(2 * (bits >> 28U) + 1), to);
    });
  }
};
static_assert(sizeof(iq3_xxs::block) == describe(iq3_xxs::encoding).block_bytes);
static_assert(iq3_xxs::block_elements == describe(iq3_xxs::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq3_xxs> {
  using type = iq3_xxs;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
