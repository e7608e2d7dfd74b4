#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/five_bit_codes.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 22 bytes, 5.5 bits per weight: x = scale * (q - 16), q in 0..31. ggml's Q5_0.
///
///   byte  0     2                      6                                           22
///         | scale | h[0] ... h[31] bits | l[0] + 16 l[16] ... l[15] + 16 l[31] |
///
/// q = l + 16 h.
struct q5_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q5_0;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::int32_t code_zero = 16;
  /// The lowest code.
  static constexpr std::int32_t lowest_code = -16;
  /// The highest code.
  static constexpr std::int32_t highest_code = 15;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    five_bit_codes codes;
  };
  static_assert(sizeof(block) == 22 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t) noexcept {
    return five_bit_codes::low_bits(offsetof(block, codes));
  }
  [[nodiscard]] static constexpr code_bits high_bits(std::size_t) noexcept {
    return five_bit_codes::high_bits(offsetof(block, codes));
  }

  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = scale(from) * static_cast<float>(from.codes[j] - 16);
    }
  }

  /// Stores codes 0..31; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    to.codes.store(codes);
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// See pack_signed_grid for how the scale, of either sign, is chosen; the squared error is never above
  /// that of ggml's choice, the largest magnitude 16 steps below zero.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    constexpr std::array places = {-16.0F, -15.0F};
    const auto [status, scale, codes] =
        pack_signed_grid<lowest_code, highest_code>(values, code_zero, places, how);
    if (status != pack_status::packed) return status;
    to.scale = scale;
    store_codes(codes, to);
    return pack_status::packed;
  }
};
static_assert(sizeof(q5_0::block) == describe(q5_0::encoding).block_bytes);
static_assert(q5_0::block_elements == describe(q5_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q5_0> {
  using type = q5_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
