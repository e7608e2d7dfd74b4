#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/round_half_away.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 18 bytes, 4.5 bits per weight: x = scale * (q - 8), q in 0..15. Blocks run over the
/// flattened tensor and straddle rows.
///
///   byte  0     2                                           18
///         | scale | q[0] + 16 q[1] ... q[30] + 16 q[31] |
///
/// A stored scale that is NaN, infinite or below 2^-14 in magnitude counts as 0, and 0 * (q - 8) keeps
/// its sign. For the stored scale, an element between -8.5 and 7.5 steps from zero has
/// |x - x^| <= |scale| * (1/2 + 2^-19) under the best rule, which may leave the largest values of a
/// block outside, where that lessens the squared error; and |x - x^| <= |scale| * (1/2 + 2^-8) under
/// the reference rule, whose codes are counted in the scale before it is rounded, where the scale is
/// 2^-14 or more.
struct apr_q4 {
  static constexpr nibble::encoding encoding = nibble::encoding::apr_q4;
  static constexpr std::size_t block_elements = 32;
  static constexpr code_packing packing = code_packing::nibble_neighbors;
  static constexpr std::int32_t code_zero = 8;
  /// The lowest code.
  static constexpr std::int32_t lowest_code = -8;
  /// The highest code.
  static constexpr std::int32_t highest_code = 7;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr bool scale_counts_if_normal = true;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  /// The scale that a stored one counts as.
  [[nodiscard]] static float16 stored_scale(const block& from) noexcept {
    const bool is_normal = (from.scale.bits & 0x7C00U) != 0 && is_finite(from.scale);
    return is_normal ? from.scale : float16{0};
  }
  [[nodiscard]] static float scale(const block& from) noexcept {
    return to_float32(stored_scale(from));
  }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.codes[j / 2];
      const int code = j % 2 == 0 ? pair & 15 : pair >> 4;
      values[j] = scale(from) * static_cast<float>(code - 8);
    }
  }

  /// Stores codes 0..15; those of absent elements are to be 0.
  static void store_codes(std::span<const std::uint8_t, block_elements> codes, block& to) noexcept {
    for (std::size_t j = 0; j < to.codes.size(); ++j) {
      to.codes[j] = static_cast<std::uint8_t>(codes[2 * j] | (codes[2 * j + 1] << 4));
    }
  }

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// reference: scale = max|x| / 7 (1 where all are zero), codes from the unrounded scale, halves away
  /// from zero, whatever `how` says. best: see pack_signed_grid for how the scale, of either sign, is
  /// chosen; the squared error is never above the reference's.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        packing_rule rule, const block_packing& how = {}) noexcept {
    codes_t codes{};
    const float largest = farthest_from_zero(values);
    if (largest == 0.0F) {
      to.scale = to_float16(1.0F);
      std::fill_n(codes.begin(), values.size(), std::uint8_t{code_zero});
      store_codes(codes, to);
      return pack_status::packed;
    }
    const float reference_scale = std::fabs(largest) / 7.0F;
    to.scale = to_float16(reference_scale);
    if (!is_finite(to.scale)) return pack_status::scale_overflow;
    if (rule == packing_rule::reference) {
      for (std::size_t j = 0; j < values.size(); ++j) {
        // A scale that underflowed to 0 leaves zeros where they are and saturates the rest.
        const float steps = values[j] == 0.0F ? 0.0F : round_half_away(values[j] / reference_scale);
        codes[j] = static_cast<std::uint8_t>(std::clamp(steps, -8.0F, 7.0F) + 8.0F);
      }
      store_codes(codes, to);
      return pack_status::packed;
    }
    const std::array places = {-8.0F, largest < 0.0F ? -7.0F : 7.0F};
    const auto [status, scale, best] = pack_signed_grid<lowest_code, highest_code>(
        values, code_zero, places, how, to_nearest_normal_float16{});
    if (status != pack_status::packed) return status;
    to.scale = scale;
    store_codes(best, to);
    return pack_status::packed;
  }

 private:
  using codes_t = std::array<std::uint8_t, block_elements>;

  /// As a scale below the smallest normal would count as 0, that one in its place.
  struct to_nearest_normal_float16 {
    [[nodiscard]] float operator()(float scale) const noexcept {
      const float rounded = to_nearest_float16{}(scale);
      const bool is_normal = std::fabs(rounded) >= float16_smallest_normal;
      return is_normal ? rounded : std::copysign(float16_smallest_normal, scale);
    }
  };
};
static_assert(sizeof(apr_q4::block) == describe(apr_q4::encoding).block_bytes);
static_assert(apr_q4::block_elements == describe(apr_q4::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::apr_q4> {
  using type = apr_q4;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
