#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/offset_sub_blocks.hpp>
#include <nibble/codec/six_bit_pairs.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// What the codecs of ggml's Q4_K and Q5_K have in common: 256 elements in eight sub-blocks of 32,
/// x = scale * s[i] * q - min * m[i], s and m in 0..63 for sub-block i = j / 32. Their blocks open with
///
///   byte  0     2     4                 16
///         | scale | min | s, m: 8 pairs |
///
/// the members scale, min and sub_blocks (see six_bit_pairs for how s and m lie), and hold the low four
/// bits of their codes as nibbles.
struct offset_super_block {
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t sub_block_elements = 32;
  static constexpr std::int32_t code_zero = 0;
  /// Numbers of sub-blocks are 0 .. this one.
  static constexpr int largest_number = 63;
  template <std::uint32_t LargestCode>
  using packed_sub_blocks = offset_sub_blocks<sub_block_elements, largest_number, LargestCode>;

  /// The low four bits of 256 codes in 128 bytes:
  ///
  ///   byte  0                                       32
  ///         | l[0] + 16 l[32] ... l[31] + 16 l[63] | ... three times more
  struct nibbles {
    std::array<std::uint8_t, block_elements / 2> bytes;

    /// Where those of the `group`-th 32 codes lie in a block that holds them from `at_byte` on.
    [[nodiscard]] static constexpr code_bits bits(std::size_t at_byte, std::size_t group) noexcept {
      return {.layout = bit_layout::bytes,
              .at_byte = at_byte + group / 2 * 32,
              .count = 4,
              .shift = group % 2 == 0 ? 0U : 4U};
    }
    /// Those of code j.
    [[nodiscard]] int operator[](std::size_t j) const noexcept {
      const std::uint8_t pair = bytes[j / 64 * 32 + j % 32];
      return j % 64 < 32 ? pair & 15 : pair >> 4;
    }
    void store(std::span<const std::uint8_t, block_elements> codes) noexcept {
      for (std::size_t j = 0; j < block_elements; j += 64) {
        for (std::size_t k = 0; k < 32; ++k) {
          const int high = codes[j + 32 + k] % 16;
          bytes[j / 2 + k] = static_cast<std::uint8_t>(codes[j + k] % 16 | (high << 4));
        }
      }
    }
  };
  static_assert(sizeof(nibbles) == 128 && alignof(nibbles) == 1);

  /// A sub-block's scale is scale_unit * its scale number, its min min_unit * its min number; both
  /// exact.
  template <class Block>
  [[nodiscard]] static float16 stored_scale(const Block& from) noexcept {
    return from.scale;
  }
  template <class Block>
  [[nodiscard]] static float16 stored_min(const Block& from) noexcept {
    return negated(from.min);
  }
  template <class Block>
  [[nodiscard]] static float scale_unit(const Block& from) noexcept {
    return to_float32(from.scale);
  }
  template <class Block>
  [[nodiscard]] static float min_unit(const Block& from) noexcept {
    return -to_float32(from.min);
  }
  template <class Block>
  [[nodiscard]] static sub_block_numbers scale_numbers(const Block& from) noexcept {
    return from.sub_blocks.scales();
  }
  template <class Block>
  [[nodiscard]] static sub_block_numbers min_numbers(const Block& from) noexcept {
    return from.sub_blocks.mins();
  }

 protected:
  template <class Choice, class Block>
  static void store_head(const Choice& chosen, Block& to) noexcept {
    to.scale = chosen.scale;
    to.min = chosen.min;
    to.sub_blocks.store(chosen.scales, chosen.mins);
  }

  /// The first values.size() (at most 256) elements of a block whose code j is code(j).
  template <class Block, class Code>
  static void unpack_codes(const Block& from, std::span<float> values, const Code& code) noexcept {
    const sub_block_numbers scales = scale_numbers(from);
    const sub_block_numbers mins = min_numbers(from);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const float scale = scale_unit(from) * static_cast<float>(scales[j / 32]);
      const float min = min_unit(from) * static_cast<float>(mins[j / 32]);
      values[j] = scale * static_cast<float>(code(j)) + min;
    }
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
