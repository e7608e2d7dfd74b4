#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/mxfp4.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 64 elements in 36 bytes, 4.5 bits per weight, in four sub-blocks of 16 elements:
/// x = scale[i] / 2 * code_values[q], q in 0..15, for sub-block i = j / 16. NVFP4 (E2M1 under an E4M3)
/// as ggml lays it out, with halves of a sub-block split; the factor that a checkpoint has for the
/// whole tensor is no part of it. code_values are twice E2M1's, and its -0 reads as 0. A scale is an
/// E4M3 without its sign: 0x7F, NaN there, reads as 0 as in ggml, and under the sign bit, which no
/// writer sets, the same code is 480.
///
///   byte  0             4                                          12
///         | scale[0..3] | q[0] + 16 q[8] ... q[7] + 16 q[15] | ... three times more
struct nvfp4 {
  static constexpr nibble::encoding encoding = nibble::encoding::nvfp4;
  static constexpr std::size_t block_elements = 64;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr std::array<std::int8_t, 16> code_values = mxfp4::code_values;

  struct block {
    std::array<std::uint8_t, block_elements / sub_block_elements> scales;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 36 && alignof(block) == 1);

  /// Half of what a stored scale is.
  [[nodiscard]] static constexpr float half_scale(std::uint8_t stored) noexcept {
    if (stored == 0x7F) return 0.0F;
    const std::uint32_t exponent = stored >> 3U & 15U;
    const std::uint32_t mantissa = stored & 7U;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10F;
    return std::bit_cast<float>((exponent + 119U) << 23U | mantissa << 20U);
  }

  /// The first values.size() (at most 64) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::uint8_t pair = from.codes[j / 16 * 8 + j % 8];
      const std::size_t code = j % 16 < 8 ? pair & 15U : pair >> 4U;
      values[j] = half_scale(from.scales[j / 16]) * static_cast<float>(code_values[code]);
    }
  }

  /// What a scale is stored as, for messages.
  static constexpr const char* scale_type = "E4M3";

  /// Packs 1..64 finite values; spare codes become 0. `to` is unspecified unless packed is returned:
  /// values from 2784 on are beyond the largest scale.
  ///
  /// Of each sub-block the scale with the least squared error among those around the one that ggml
  /// chooses, which puts the largest magnitude at 6. The smallest scale is 2^-9: of weights below some
  /// 0.01 little is left, unless they were divided before by a factor that the host keeps.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    to.scales.fill(0);
    to.codes.fill(0);
    const float factor = importance_factor(how.importance);
    for (std::size_t i = 0; i * sub_block_elements < values.size(); ++i) {
      const std::size_t count = std::min(sub_block_elements, values.size() - i * sub_block_elements);
      const auto of = values.subspan(i * sub_block_elements, count);
      const auto weighted =
          factor == 0.0F
              ? sub_block_values(of)
              : sub_block_values(of, how.importance.subspan(i * sub_block_elements, count), factor);
      const auto& part = weighted.all;
      const float largest = std::fabs(farthest_from_zero(part));
      if (largest >= 2784.0F) return pack_status::scale_overflow;
      const int first = nearest_scale(largest / 6.0F);
      least_error<int> kept(first, squared_error(weighted, first));
      for (int other = std::max(first - 3, 0); other <= std::min(first + 6, largest_scale); ++other) {
        if (other != first) kept.offer(other, squared_error(weighted, other));
      }
      to.scales[i] = static_cast<std::uint8_t>(kept.best());
      const float half = half_scale(to.scales[i]);
      for (std::size_t j = 0; j < count; ++j) {
        const int code = nearest_magnitude(part[j], half);
        const int signed_code = code != 0 && part[j] < 0.0F ? code + 8 : code;
        std::uint8_t& pair = to.codes[i * 8 + j % 8];
        pair = static_cast<std::uint8_t>(pair | signed_code << (j / 8 * 4));
      }
    }
    return pack_status::packed;
  }

 private:
  using sub_block_values = weighted_values<sub_block_elements>;
  static constexpr int largest_scale = 0x7E;

  /// The stored scale nearest to one that is not negative, halves up.
  [[nodiscard]] static int nearest_scale(float scale) noexcept {
    if (scale < 0x1p-6F) return static_cast<int>(scale * 512.0F + 0.5F);  // a multiple of 2^-9
    const std::uint32_t rounded = (std::bit_cast<std::uint32_t>(scale) + 0x80000U) >> 20U;
    return std::min(static_cast<int>(rounded) - (120 << 3), largest_scale);
  }

  /// The code, without its sign, of the magnitude nearest to a value's.
  [[nodiscard]] static int nearest_magnitude(float value, float half_scale) noexcept {
    const float magnitude = std::fabs(value);
    int code = 0;
    for (const float middle : {0.5F, 1.5F, 2.5F, 3.5F, 5.0F, 7.0F, 10.0F}) {
      code += magnitude > half_scale * middle ? 1 : 0;
    }
    return code;
  }

  /// Sum of the squares of what coding changes.
  [[nodiscard]] static double squared_error(const sub_block_values& values, int scale) noexcept {
    const float half = half_scale(static_cast<std::uint8_t>(scale));
    std::array<float, sub_block_elements> differences;
    std::array<float, sub_block_elements> weighted;
    for (std::size_t j = 0; j < differences.size(); ++j) {
      const float value = values.all[j];
      const auto code = static_cast<std::size_t>(half == 0.0F ? 0 : nearest_magnitude(value, half));
      // Exact products, so that fusing them with the difference changes no bit.
      differences[j] = std::fabs(value) - half * static_cast<float>(code_values[code]);
    }
    for (std::size_t j = 0; j < differences.size(); ++j) {
      weighted[j] = differences[j] * values.weights[j];
    }
    lane_sums sums;
    sums.add_products(differences, weighted);
    return sums.total();
  }
};
static_assert(sizeof(nvfp4::block) == describe(nvfp4::encoding).block_bytes);
static_assert(nvfp4::block_elements == describe(nvfp4::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::nvfp4> {
  using type = nvfp4;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
