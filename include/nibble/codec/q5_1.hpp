#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/offset_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 24 bytes, 6 bits per weight: x = scale * q + min, q in 0..31. ggml's Q5_1.
///
///   byte  0     2     4                     8                                           24
///         | scale | min | h[0] ... h[31] bits | l[0] + 16 l[16] ... l[15] + 16 l[31] |
///
/// q = l + 16 h.
struct q5_1 {
  static constexpr nibble::encoding encoding = nibble::encoding::q5_1;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    float16 min;
    std::array<std::uint8_t, block_elements / 8> highs;
    std::array<std::uint8_t, block_elements / 2> lows;
  };
  static_assert(sizeof(block) == 24 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t) noexcept {
    return {.layout = bit_layout::nibble_halves, .at_byte = offsetof(block, lows), .count = 4};
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t) noexcept {
    return {.layout = bit_layout::single_bits, .at_byte = offsetof(block, highs), .count = 1};
  }

  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static float min(const block& from) noexcept { return to_float32(from.min); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.lows[j % 16];
      const int low = j < 16 ? pair & 15 : pair >> 4;
      const int high = from.highs[j / 8] >> (j % 8) & 1;
      values[j] = scale(from) * static_cast<float>(low + 16 * high) + min(from);
    }
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See best_offset_grid for how scale and min are chosen; the error is never above ggml's.
  [[nodiscard]] static pack_status pack(std::span<const float> values, block& to) noexcept {
    const auto [status, grid] = best_offset_grid(values, 31);
    if (status != pack_status::packed) return status;
    to.scale = to_float16(grid.scale);
    to.min = to_float16(grid.min);
    const auto steps = grid.codes_of(offset_values(values));
    std::array<std::uint8_t, block_elements> codes{};
    for (std::size_t j = 0; j < values.size(); ++j) codes[j] = static_cast<std::uint8_t>(steps[j]);
    to.highs.fill(0);
    for (std::size_t j = 0; j < block_elements; ++j) {
      to.highs[j / 8] = static_cast<std::uint8_t>(to.highs[j / 8] | (codes[j] / 16 << (j % 8)));
    }
    for (std::size_t j = 0; j < 16; ++j) {
      to.lows[j] = static_cast<std::uint8_t>(codes[j] % 16 | (codes[j + 16] % 16 << 4));
    }
    return pack_status::packed;
  }
};
static_assert(sizeof(q5_1::block) == describe(q5_1::encoding).block_bytes);
static_assert(q5_1::block_elements == describe(q5_1::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q5_1> {
  using type = q5_1;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
