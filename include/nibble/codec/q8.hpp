#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/offset_grid.hpp>
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
/// For the stored scale and min, an element within half a step of the grid has
/// |x - x^| <= scale * (1/2 + 2^-14) + 2^-24 |x^|; the search may leave the lowest and highest values of a
/// block outside, where that lessens the squared error. See pack_offset_grid for how they are chosen.
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

  /// Stores codes 0..largest_code; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    std::copy(codes.begin(), codes.end(), to.codes.begin());
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  /// See pack_offset_grid for how scale and min are chosen; the squared error is never above that of
  /// the grid from lowest to highest value.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    return pack_offset_block<q8>(values, to, how);
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
