#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 17 bytes, 4.25 bits per weight: x = 2^(exponent - 128) * code_values[q], q in 0..15.
/// The OCP Microscaling format MXFP4 (E2M1 under a power of two), with halves split as ggml splits
/// them. code_values are twice E2M1's, and its -0 reads as 0; exponent 255, NaN in that specification,
/// is 2^127 here as in ggml. Under exponents from 253 on the largest codes are beyond f32 and infinite.
///
///   byte  0        1                                           17
///         | exponent | q[0] + 16 q[16] ... q[15] + 16 q[31] |
struct mxfp4 {
  static constexpr nibble::encoding encoding = nibble::encoding::mxfp4;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr bool scale_is_wide = true;
  static constexpr std::array<std::int8_t, 16> code_values = {0, 1,  2,  3,  4,  6,  8,  12,
                                                              0, -1, -2, -3, -4, -6, -8, -12};

  struct block {
    std::uint8_t exponent;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 17 && alignof(block) == 1);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t) noexcept {
    return {.layout = bit_layout::nibble_halves, .at_byte = offsetof(block, codes), .count = 4};
  }

  [[nodiscard]] static float scale(const block& from) noexcept {
    if (from.exponent < 2) return from.exponent == 0 ? 0x1p-128F : 0x1p-127F;  // below f32's normals
    return std::bit_cast<float>((from.exponent - 1U) << 23U);
  }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::size_t code = load_nibble_half(from.codes, j);
      values[j] = scale(from) * static_cast<float>(code_values[code]);
    }
  }
};
static_assert(sizeof(mxfp4::block) == describe(mxfp4::encoding).block_bytes);
static_assert(mxfp4::block_elements == describe(mxfp4::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::mxfp4> {
  using type = mxfp4;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
