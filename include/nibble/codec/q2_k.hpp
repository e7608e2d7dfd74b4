#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/offset_sub_blocks.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 84 bytes, 2.625 bits per weight, in sixteen sub-blocks of 16 elements:
/// x = scale * s[i] * q - min * m[i], q in 0..3, s and m in 0..15 for sub-block i = j / 16. ggml's
/// Q2_K.
///
///   byte  0                                    16
///         | s[0] + 16 m[0] ... s[15] + 16 m[15] |
///         16                                                       48                 80      82
///         | q[0] + 4 q[32] + 16 q[64] + 64 q[96] ... 31 more | q[128] ... | scale | min |
struct q2_k {
  static constexpr nibble::encoding encoding = nibble::encoding::q2_k;
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr std::uint32_t largest_code = 3;
  /// Numbers of sub-blocks are 0 .. this one.
  static constexpr int largest_number = 15;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 16> sub_blocks;
    std::array<std::uint8_t, block_elements / 4> codes;
    float16 scale;
    float16 min;
  };
  static_assert(sizeof(block) == 84 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, codes) + group / 4 * 32,
            .count = 2,
            .shift = static_cast<std::uint32_t>(group % 4 * 2)};
  }

  /// A sub-block's scale is scale_unit * its scale number, its min min_unit * its min number; both
  /// exact.
  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale_unit(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static float16 stored_min(const block& from) noexcept { return negated(from.min); }
  [[nodiscard]] static float min_unit(const block& from) noexcept { return -to_float32(from.min); }
  [[nodiscard]] static sub_block_numbers scale_numbers(const block& from) noexcept {
    sub_block_numbers numbers;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<std::int8_t>(from.sub_blocks[i] & 15U);
    }
    return numbers;
  }
  [[nodiscard]] static sub_block_numbers min_numbers(const block& from) noexcept {
    sub_block_numbers numbers;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      numbers[i] = static_cast<std::int8_t>(from.sub_blocks[i] >> 4U);
    }
    return numbers;
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const sub_block_numbers scales = scale_numbers(from);
    const sub_block_numbers mins = min_numbers(from);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int code = from.codes[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      const float scale = scale_unit(from) * static_cast<float>(scales[j / 16]);
      const float min = min_unit(from) * static_cast<float>(mins[j / 16]);
      values[j] = scale * static_cast<float>(code) + min;
    }
  }

  /// Stores codes 0..3; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    for (std::size_t at = 0; at < block_elements; at += 128) {
      for (std::size_t k = 0; k < 32; ++k) {
        const int four =
            codes[at + k] | codes[at + 32 + k] << 2 | codes[at + 64 + k] << 4 | codes[at + 96 + k] << 6;
        to.codes[at / 4 + k] = static_cast<std::uint8_t>(four);
      }
    }
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See offset_sub_blocks for how scales and mins are chosen.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const offset_sub_blocks<sub_block_elements, largest_number, largest_code> packed(values, how);
    if (packed.status() != pack_status::packed) return packed.status();
    const auto& chosen = packed.chosen();
    to.scale = chosen.scale;
    to.min = chosen.min;
    for (std::size_t i = 0; i < to.sub_blocks.size(); ++i) {
      to.sub_blocks[i] = static_cast<std::uint8_t>(chosen.scales[i] | chosen.mins[i] << 4);
    }
    store_codes(packed.codes(), to);
    return pack_status::packed;
  }
};
static_assert(sizeof(q2_k::block) == describe(q2_k::encoding).block_bytes);
static_assert(q2_k::block_elements == describe(q2_k::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q2_k> {
  using type = q2_k;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
