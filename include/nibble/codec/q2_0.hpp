#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/grid_search.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 64 elements in 18 bytes, 2.25 bits per weight: x = scale * (q - 1), q in 0..3. ggml's Q2_0.
///
///   byte  0     2                                              18
///         | scale | q[0] + 4 q[1] + 16 q[2] + 64 q[3] | ... 15 more |
struct q2_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q2_0;
  static constexpr std::size_t block_elements = 64;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 4> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  /// The first values.size() (at most 64) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float scale = to_float32(from.scale);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int code = from.codes[j / 4] >> (j % 4 * 2) & 3;
      values[j] = scale * static_cast<float>(code - 1);
    }
  }

  /// Packs 1..64 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// The float16 scale, of either sign, with the least squared error among those that put the largest
  /// magnitude at one of several places of the grid, and those that fit the codes which result. ggml's
  /// own choice, one step from zero, is among them.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    static constexpr end_places<4> places(-1.0F, 2.0F, 2.0F, 0.75F);
    const weighted_values<block_elements> all(values);
    const float largest = farthest_from_zero(values);
    // Where ggml puts the largest magnitude, and where the scale of one that is too far may still fit.
    std::array<affine_grid, 2> plain{};
    std::size_t plain_count = 0;
    for (const float place : {2.0F, 1.0F}) {
      const float scale = largest == 0.0F ? 0.0F : nearest_float16(largest / place);
      if (is_finite(scale) || plain_count == 0) plain[plain_count++] = {scale, 0.0F, -1, 2};
    }
    if (!is_finite(plain[0].scale)) return pack_status::scale_overflow;
    affine_grid best = best_signed_grid<-1, 2>(
        all, std::span<const affine_grid>(plain).first(plain_count), places, 3, to_nearest_float16{});
    if (const float factor = importance_factor(how.importance); factor != 0.0F) {
      const weighted_values<block_elements> weighted(values, how.importance, factor);
      best = best_signed_grid<-1, 2>(weighted, std::span<const affine_grid>(&best, 1), places, 3,
                                     to_nearest_float16{});
    }
    const auto steps = best.codes_of(all.all);
    to.scale = to_float16(best.scale);
    to.codes.fill(0);
    for (std::size_t j = 0; j < values.size(); ++j) {
      std::uint8_t& four = to.codes[j / 4];
      four = static_cast<std::uint8_t>(four | (steps[j] + 1) << (j % 4 * 2));
    }
    return pack_status::packed;
  }
};
static_assert(sizeof(q2_0::block) == describe(q2_0::encoding).block_bytes);
static_assert(q2_0::block_elements == describe(q2_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q2_0> {
  using type = q2_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
