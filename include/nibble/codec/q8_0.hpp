#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 34 bytes, 8.5 bits per weight: x = scale * q, q in -128..127. ggml's Q8_0.
///
///   byte  0     2                    34
///         | scale | q[0] ... q[31] |
struct q8_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q8_0;
  static constexpr std::size_t block_elements = 32;
  static constexpr code_packing packing = code_packing::signed_bytes;
  static constexpr std::int32_t code_zero = 0;
  static constexpr std::int32_t lowest_code = -127;  ///< that is packed: -128 is read and not written
  /// The highest code.
  static constexpr std::int32_t highest_code = 127;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::int8_t, block_elements> codes;
  };
  static_assert(sizeof(block) == 34 && alignof(block) == 2);

  [[nodiscard]] static float16 stored_scale(const block& from) noexcept { return from.scale; }
  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = scale(from) * static_cast<float>(from.codes[j]);
    }
  }

  /// Stores codes, each a signed byte as its bits; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    for (std::size_t j = 0; j < block_elements; ++j) to.codes[j] = static_cast<std::int8_t>(codes[j]);
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// See pack_signed_grid for how the scale, of either sign, is chosen; the squared error is never above
  /// that of ggml's choice, the largest magnitude 127 steps from zero.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    constexpr std::array places = {127.0F};
    const auto [status, scale, codes] =
        pack_signed_grid<lowest_code, highest_code>(values, code_zero, places, how);
    if (status != pack_status::packed) return status;
    to.scale = scale;
    store_codes(codes, to);
    return pack_status::packed;
  }
};
static_assert(sizeof(q8_0::block) == describe(q8_0::encoding).block_bytes);
static_assert(q8_0::block_elements == describe(q8_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q8_0> {
  using type = q8_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
