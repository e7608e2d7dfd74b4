#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 18 bytes, 4.5 bits per weight: x = scale * (q - 8), q in 0..15. ggml's Q4_0.
///
///   byte  0     2                                           18
///         | scale | q[0] + 16 q[16] ... q[15] + 16 q[31] |
struct q4_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q4_0;
  static constexpr std::size_t block_elements = 32;
  static constexpr code_packing packing = code_packing::nibble_halves;
  static constexpr std::int32_t code_zero = 8;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.codes[j % 16];
      const int code = j < 16 ? pair & 15 : pair >> 4;
      values[j] = scale(from) * static_cast<float>(code - 8);
    }
  }
};
static_assert(sizeof(q4_0::block) == describe(q4_0::encoding).block_bytes);
static_assert(q4_0::block_elements == describe(q4_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q4_0> {
  using type = q4_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
