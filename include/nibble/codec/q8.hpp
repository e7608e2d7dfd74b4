#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 36 bytes, 9 bits per weight: x = scale * q + min, q in 0..255.
///
///   byte  0     2     4                    36
///         | scale | min  | q[0] ... q[31] |
///
/// Error of an element, for the stored scale and min: |x - x^| <= scale * (1/2 + 2^-14) + 2^-24 |x^|.
/// See min_max_grid for how scale and min are chosen and what their rounding to float16 costs.
struct q8 {
  static constexpr nibble::encoding encoding = nibble::encoding::q8;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::uint32_t largest_code = 255;
  static constexpr code_packing packing = code_packing::unsigned_bytes;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    float16 min;
    std::array<std::uint8_t, block_elements> codes;
  };
  static_assert(sizeof(block) == 36 && alignof(block) == 2);

  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float16 stored_min(const block& from) noexcept { return from.min; }
  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }
  [[nodiscard]] static float min(const block& from) noexcept { return to_float32(from.min); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = scale(from) * static_cast<float>(from.codes[j]) + min(from);
    }
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  [[nodiscard]] static pack_status pack(std::span<const float> values, block& to) noexcept {
    const min_max_grid grid(values, largest_code);
    to.scale = grid.scale;
    to.min = grid.min;
    to.codes.fill(0);
    grid.code(values, to.codes);
    return grid.status;
  }
};
static_assert(sizeof(q8::block) == describe(q8::encoding).block_bytes);
static_assert(q8::block_elements == describe(q8::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q8> {
  using type = q8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
