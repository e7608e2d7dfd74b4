#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
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

  /// Packs 1..32 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// reference: scale = max|x| / 7 (1 where all are zero), codes from the unrounded scale, halves away
  /// from zero. best: the float16 scale, of either sign, with the least squared error among a ladder
  /// that sets the largest value 5.5 to 9 steps from zero; the reference's scale is on the ladder, so
  /// the error is never above the reference's.
  [[nodiscard]] static pack_status pack(std::span<const float> values, block& to,
                                        packing_rule rule) noexcept {
    const float largest = farthest_from_zero(values);
    if (largest == 0.0F) {
      to.scale = to_float16(1.0F);
      codes_t zeros;
      zeros.fill(8);
      store(zeros, values.size(), to);
      return pack_status::packed;
    }
    const float reference_scale = std::fabs(largest) / 7.0F;
    to.scale = to_float16(reference_scale);
    if (!is_finite(to.scale)) return pack_status::scale_overflow;
    if (rule == packing_rule::reference) {
      codes_t codes;
      for (std::size_t j = 0; j < values.size(); ++j) {
        // A scale that underflowed to 0 leaves zeros where they are and saturates the rest.
        const float steps = values[j] == 0.0F ? 0.0F : round_half_away(values[j] / reference_scale);
        codes[j] = static_cast<std::uint8_t>(std::clamp(steps, -8.0F, 7.0F) + 8.0F);
      }
      store(codes, values.size(), to);
      return pack_status::packed;
    }
    std::array<float, block_elements> padded{};
    std::copy(values.begin(), values.end(), padded.begin());
    to.scale = best_scale(padded, largest, to.scale);
    codes_t codes;
    nearest_codes(padded, to_float32(to.scale), codes);
    store(codes, values.size(), to);
    return pack_status::packed;
  }

 private:
  using codes_t = std::array<std::uint8_t, block_elements>;

  static void store(const codes_t& codes, std::size_t count, block& to) noexcept {
    codes_t kept{};
    std::copy_n(codes.begin(), count, kept.begin());
    for (std::size_t j = 0; j < 16; ++j) {
      to.codes[j] = static_cast<std::uint8_t>(kept[2 * j] | (kept[2 * j + 1] << 4));
    }
  }

  /// The code in -8..7 nearest to value / scale, plus 8, by truncation. Every scale tried puts the
  /// block's largest value at most 9 steps from zero, so the integer holds the quotient.
  [[nodiscard]] static std::int32_t nearest_code(float value, float scale) noexcept {
    const auto code = static_cast<std::int32_t>(value / scale + 8.5F);
    return std::min(std::max(code, 0), 15);
  }

  static void nearest_codes(const std::array<float, block_elements>& values, float scale,
                            codes_t& codes) noexcept {
    for (std::size_t j = 0; j < block_elements; ++j) {
      codes[j] = static_cast<std::uint8_t>(nearest_code(values[j], scale));
    }
  }

  [[nodiscard]] static double squared_error(const std::array<float, block_elements>& values,
                                            float scale) noexcept {
    // scale * code is exact in f32, so fusing changes no bit.
    std::array<float, block_elements> differences;
    for (std::size_t j = 0; j < block_elements; ++j) {
      const auto code = static_cast<float>(nearest_code(values[j], scale) - 8);
      differences[j] = values[j] - scale * code;
    }
    lane_sums sums;
    sums.add_squares(differences);
    return sums.total();
  }

  [[nodiscard]] static float16 best_scale(const std::array<float, block_elements>& values,
                                          float largest, float16 reference) noexcept {
    constexpr std::array<float, 16> ladder = {-8.0F, -7.75F, -7.5F, -7.25F, -7.0F, -6.5F, -8.25F, -8.5F,
                                              -9.0F, 7.0F,   7.25F, 7.5F,   7.75F, 6.75F, 6.25F,  5.5F};
    const auto usable = [](float16 scale) {
      // A scale below the smallest normal would count as 0.
      if ((scale.bits & 0x7C00U) != 0) return scale;
      return float16{static_cast<std::uint16_t>((scale.bits & 0x8000U) | 0x0400U)};
    };
    const float16 first = usable(reference);
    least_error<float16> kept(first, squared_error(values, to_float32(first)));
    for (const float steps : ladder) {
      const float16 scale = usable(to_float16(largest / steps));
      if (is_finite(scale)) kept.offer(scale, squared_error(values, to_float32(scale)));
    }
    return kept.best();
  }
};
static_assert(sizeof(apr_q4::block) == describe(apr_q4::encoding).block_bytes);
static_assert(apr_q4::block_elements == describe(apr_q4::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::apr_q4> {
  using type = apr_q4;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
