#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
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
  /// The lowest code.
  static constexpr std::int32_t lowest_code = -8;
  /// The highest code.
  static constexpr std::int32_t highest_code = 7;
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
      values[j] = scale(from) * static_cast<float>(load_nibble_half(from.codes, j) - 8);
    }
  }

  /// Stores codes 0..15; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    store_nibble_halves(codes, to.codes);
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// See pack_signed_grid for how the scale, of either sign, is chosen; the squared error is never above
  /// that of ggml's choice, the largest magnitude 8 steps below zero.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    constexpr std::array places = {-8.0F, -7.0F};
    const auto [status, scale, codes] =
        pack_signed_grid<lowest_code, highest_code>(values, code_zero, places, how);
    if (status != pack_status::packed) return status;
    to.scale = scale;
    store_codes(codes, to);
    return pack_status::packed;
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
