#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/codec.hpp>
#include <nibble/codec/mxfp4.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 64 elements in 36 bytes, 4.5 bits per weight, in four sub-blocks of 16 elements:
/// x = scale[i] / 2 * code_values[q], q in 0..15, for sub-block i = j / 16. NVFP4 (E2M1 under an E4M3)
/// as ggml lays it out, with halves of a sub-block split; the factor that a checkpoint has for the
/// whole tensor is no part of it. code_values are twice E2M1's, and its -0 reads as 0. A scale is an
/// E4M3 without its sign: 0x7F, NaN there, reads as 0 as in ggml, and under the sign bit, which no
/// writer sets, the same code is 480.
///
///   byte  0             4                                          12
///         | scale[0..3] | q[0] + 16 q[8] ... q[7] + 16 q[15] | ... three times more
struct nvfp4 {
  static constexpr nibble::encoding encoding = nibble::encoding::nvfp4;
  static constexpr std::size_t block_elements = 64;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr std::array<std::int8_t, 16> code_values = mxfp4::code_values;

  struct block {
    std::array<std::uint8_t, block_elements / sub_block_elements> scales;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 36 && alignof(block) == 1);

  /// Half of what a stored scale is.
  [[nodiscard]] static constexpr float half_scale(std::uint8_t stored) noexcept {
    if (stored == 0x7F) return 0.0F;
    const std::uint32_t exponent = stored >> 3U & 15U;
    const std::uint32_t mantissa = stored & 7U;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10F;
    return std::bit_cast<float>((exponent + 119U) << 23U | mantissa << 20U);
  }

  /// The first values.size() (at most 64) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.codes[j / 16 * 8 + j % 8];
      const std::size_t code = j % 16 < 8 ? pair & 15U : pair >> 4U;
      values[j] = half_scale(from.scales[j / 16]) * static_cast<float>(code_values[code]);
    }
  }
};
static_assert(sizeof(nvfp4::block) == describe(nvfp4::encoding).block_bytes);
static_assert(nvfp4::block_elements == describe(nvfp4::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::nvfp4> {
  using type = nvfp4;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
