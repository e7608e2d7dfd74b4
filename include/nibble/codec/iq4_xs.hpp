#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/iq4_nl.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 136 bytes, 4.25 bits per weight, in eight sub-blocks of 32 elements:
/// x = scale * (s[i] - 32) * code_values[q], q in 0..15, s in 0..63 for sub-block i = j / 32. ggml's
/// IQ4_XS, with the code values of IQ4_NL. No packing from f32, for IQ4_NL's reason.
///
///   byte  0     2                            4                                              8
///         | scale | s[i] / 16, i = 0..7: 2 bits each | s[2i] % 16 + 16 (s[2i + 1] % 16), i < 4 |
///         8                                       24
///         | q[0] + 16 q[16] ... q[15] + 16 q[31] | ... seven times more
struct iq4_xs {
  static constexpr nibble::encoding encoding = nibble::encoding::iq4_xs;
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t sub_block_elements = 32;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr std::array<std::int8_t, 16> code_values = iq4_nl::code_values;

  struct block {
    float16 scale;
    std::array<std::uint8_t, 2> part_highs;
    std::array<std::uint8_t, 4> part_lows;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 136 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::nibble_halves,
            .at_byte = offsetof(block, codes) + group * 16,
            .count = 4};
  }

  /// A sub-block's scale is scale_unit * its number, which counts from -32; exact.
  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale_unit(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static sub_block_numbers scale_numbers(const block& from) noexcept {
    sub_block_numbers numbers{};
    for (std::size_t i = 0; i < block_elements / sub_block_elements; ++i) {
      const int low = from.part_lows[i / 2] >> (i % 2 * 4) & 15;
      const int high = from.part_highs[i / 4] >> (i % 4 * 2) & 3;
      numbers[i] = static_cast<std::int8_t>(low + 16 * high - 32);
    }
    return numbers;
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const sub_block_numbers scales = scale_numbers(from);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const auto part =
          std::span<const std::uint8_t>(from.codes).subspan(j / 32 * 16).template first<16>();
      const std::size_t code = load_nibble_half(part, j % 32);
      const float scale = scale_unit(from) * static_cast<float>(scales[j / 32]);
      values[j] = scale * static_cast<float>(code_values[code]);
    }
  }
};
static_assert(sizeof(iq4_xs::block) == describe(iq4_xs::encoding).block_bytes);
static_assert(iq4_xs::block_elements == describe(iq4_xs::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq4_xs> {
  using type = iq4_xs;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
