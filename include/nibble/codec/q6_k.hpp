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

/// 256 elements in 210 bytes, 6.5625 bits per weight, in sixteen sub-blocks of 16 elements:
/// x = scale * s[i] * (q - 32), q in 0..63, s in -128..127 for sub-block i = j / 16. ggml's Q6_K.
///
///   byte  0                                    32                                     64
///         | l[0] + 16 l[64] ... l[31] + 16 l[95] | l[32] + 16 l[96] ... l[63] + 16 l[127] |
///         64       128                                                     160
///         | l[128] ... | h[0] + 4 h[32] + 16 h[64] + 64 h[96] ... 31 more | h[128] ... |
///         192              208     210
///         | s[0] ... s[15] | scale |
///
/// q = l + 16 h. scale * s * (q - 32) has at most 24 bits and is exact in f32.
struct q6_k {
  static constexpr nibble::encoding encoding = nibble::encoding::q6_k;
  static constexpr std::size_t block_elements = 256;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr std::int32_t code_zero = 32;
  /// The lowest code.
  static constexpr std::int32_t lowest_code = -32;
  /// The highest code.
  static constexpr std::int32_t highest_code = 31;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 2> lows;
    std::array<std::uint8_t, block_elements / 4> highs;
    sub_block_numbers sub_blocks;
    float16 scale;
  };
  static_assert(sizeof(block) == 210 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, lows) + group / 4 * 64 + group % 2 * 32,
            .count = 4,
            .shift = group % 4 < 2 ? 0U : 4U};
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t group) noexcept {
    return {.layout = bit_layout::bytes,
            .at_byte = offsetof(block, highs) + group / 4 * 32,
            .count = 2,
            .shift = static_cast<std::uint32_t>(group % 4 * 2)};
  }

  /// A sub-block's scale is scale_unit * its number; exact.
  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale_unit(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static sub_block_numbers scale_numbers(const block& from) noexcept {
    return from.sub_blocks;
  }

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.lows[j / 128 * 64 + j % 64];
      const int low = j % 128 < 64 ? pair & 15 : pair >> 4;
      const int high = from.highs[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      const float scale = scale_unit(from) * static_cast<float>(from.sub_blocks[j / 16]);
      values[j] = scale * static_cast<float>(low + 16 * high - 32);
    }
  }

  /// Stores codes 0..63; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    for (std::size_t half = 0; half < 2; ++half) {
      const auto of = codes.subspan(half * 128, 128);
      for (std::size_t k = 0; k < 64; ++k) {
        to.lows[half * 64 + k] = static_cast<std::uint8_t>(of[k] % 16 | of[64 + k] % 16 << 4);
      }
      for (std::size_t k = 0; k < 32; ++k) {
        const int four =
            of[k] / 16 | of[32 + k] / 16 << 2 | of[64 + k] / 16 << 4 | of[96 + k] / 16 << 6;
        to.highs[half * 32 + k] = static_cast<std::uint8_t>(four);
      }
    }
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See signed_sub_blocks for how scales are chosen.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const signed_sub_blocks<lowest_code, -128> packed(values, how);
    if (packed.status() != pack_status::packed) return packed.status();
    to.scale = packed.scale();
    to.sub_blocks = packed.numbers();
    store_codes(packed.stored_codes(), to);
    return pack_status::packed;
  }

 private:
  /// Stores the code of element j where there is 0.
  static void store(std::size_t j, int code, block& to) noexcept {
    std::uint8_t& low = to.lows[j / 128 * 64 + j % 64];
    std::uint8_t& high = to.highs[j / 128 * 32 + j % 32];
    low = static_cast<std::uint8_t>(low | (code % 16 << (j % 128 / 64 * 4)));
    high = static_cast<std::uint8_t>(high | (code / 16 << (j % 128 / 32 * 2)));
  }
};
static_assert(sizeof(q6_k::block) == describe(q6_k::encoding).block_bytes);
static_assert(q6_k::block_elements == describe(q6_k::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q6_k> {
  using type = q6_k;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
