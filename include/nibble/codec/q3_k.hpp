#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_sub_blocks.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 110 bytes, 3.4375 bits per weight, in sixteen sub-blocks of 16 elements:
/// x = scale * (s[i] - 32) * (q - 4), q in 0..7, s in 0..63 for sub-block i = j / 16. ggml's Q3_K.
///
///   byte  0                                          32
///         | h[0], h[32] ... h[224] bits | ... 31 more |
///         32                                                       64                 96
///         | l[0] + 4 l[32] + 16 l[64] + 64 l[96] ... 31 more | l[128] ... |
///         96                                      104                             108     110
///         | s[i] % 16 + 16 (s[i + 8] % 16), i < 8 | s[i], s[i + 4], ... / 16, i < 4 | scale |
///
/// q = l + 4 h.
struct q3_k {
  static constexpr nibble::encoding encoding = nibble::encoding::q3_k;
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr std::int32_t code_zero = 4;
  /// The lowest code.
  static constexpr std::int32_t lowest_code = -4;
  /// The highest code.
  static constexpr std::int32_t highest_code = 3;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 8> highs;
    std::array<std::uint8_t, block_elements / 4> lows;
    std::array<std::uint8_t, 12> sub_blocks;
    float16 scale;
  };
  static_assert(sizeof(block) == 110 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, lows) + group / 4 * 32,
            .count = 2,
            .shift = static_cast<std::uint32_t>(group % 4 * 2)};
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, highs),
            .count = 1,
            .shift = static_cast<std::uint32_t>(group)};
  }

  /// A sub-block's scale is scale_unit * its number, which counts from -32; exact.
  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale_unit(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static sub_block_numbers scale_numbers(const block& from) noexcept {
    sub_block_numbers numbers;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      const int low = i < 8 ? from.sub_blocks[i] & 15 : from.sub_blocks[i - 8] >> 4;
      const int high = from.sub_blocks[8 + i % 4] >> (i / 4 * 2) & 3;
      numbers[i] = static_cast<std::int8_t>(low + 16 * high - 32);
    }
    return numbers;
  }

  /// The twelve bytes that scale_numbers takes apart; simd::load_six_bit_numbers does it sooner.
  [[nodiscard]] static const std::array<std::uint8_t, 12>& six_bit_numbers(const block& from) noexcept {
    return from.sub_blocks;
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const sub_block_numbers scales = scale_numbers(from);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int low = from.lows[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      const int high = from.highs[j % 32] >> (j / 32) & 1;
      const float scale = scale_unit(from) * static_cast<float>(scales[j / 16]);
      values[j] = scale * static_cast<float>(low + 4 * high - 4);
    }
  }

  /// Stores codes 0..7; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    to.lows.fill(0);
    to.highs.fill(0);
    for (std::size_t j = 0; j < block_elements; j += 32) {
      for (std::size_t k = 0; k < 32; ++k) {
        std::uint8_t& low = to.lows[j / 128 * 32 + k];
        std::uint8_t& high = to.highs[k];
        low = static_cast<std::uint8_t>(low | codes[j + k] % 4 << (j % 128 / 32 * 2));
        high = static_cast<std::uint8_t>(high | codes[j + k] / 4 << (j / 32));
      }
    }
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See signed_sub_blocks for how scales are chosen.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const signed_sub_blocks<lowest_code, -32> packed(values, how);
    if (packed.status() != pack_status::packed) return packed.status();
    to.scale = packed.scale();
    to.sub_blocks.fill(0);
    for (std::size_t i = 0; i < packed.numbers().size(); ++i) {
      const int number = packed.numbers()[i] + 32;
      std::uint8_t& low = to.sub_blocks[i % 8];
      std::uint8_t& high = to.sub_blocks[8 + i % 4];
      low = static_cast<std::uint8_t>(low | number % 16 << (i / 8 * 4));
      high = static_cast<std::uint8_t>(high | number / 16 << (i / 4 * 2));
    }
    store_codes(packed.stored_codes(), to);
    return pack_status::packed;
  }

 private:
  /// Stores the code of element j where there is 0.
  static void store(std::size_t j, int code, block& to) noexcept {
    std::uint8_t& low = to.lows[j / 128 * 32 + j % 32];
    std::uint8_t& high = to.highs[j % 32];
    low = static_cast<std::uint8_t>(low | code % 4 << (j % 128 / 32 * 2));
    high = static_cast<std::uint8_t>(high | code / 4 << (j / 32));
  }
};
static_assert(sizeof(q3_k::block) == describe(q3_k::encoding).block_bytes);
static_assert(q3_k::block_elements == describe(q3_k::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q3_k> {
  using type = q3_k;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
