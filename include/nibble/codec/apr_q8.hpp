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
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/round_half_away.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// One f32 scale for the whole tensor, then a byte an element, 8 bits per weight: x = scale * q,
/// q in -127..127. An empty tensor has no bytes at all.
///
///   byte  0       4                      4 + N
///         | scale | q[0] q[1] ... q[N-1] |
///
/// For the stored scale, an element within 127 steps of zero has |x - x^| <= scale / 2 to f32 rounding;
/// the best rule may leave a tensor's largest values outside, where that lessens the squared error.
struct apr_q8 {
  static constexpr nibble::encoding encoding = nibble::encoding::apr_q8;
  static constexpr code_packing packing = code_packing::signed_bytes;

  /// The tensor's scale, which lies before the codes.
  struct header {
    float scale;  ///< of every code of the tensor
  };
  static_assert(sizeof(header) == 4);

  /// Element values from their codes.
  static void unpack(float scale, std::span<const std::int8_t> codes,
                     std::span<float> values) noexcept {
    for (std::size_t j = 0; j < codes.size(); ++j) {
      values[j] = scale * static_cast<float>(codes[j]);
    }
  }

  /// max|x| of finite values; 0 for none.
  [[nodiscard]] static float largest_magnitude(std::span<const float> values) noexcept {
    std::array<float, 16> lanes{};
    std::size_t j = 0;
    for (; j + lanes.size() <= values.size(); j += lanes.size()) {
      for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const float magnitude = std::fabs(values[j + lane]);
        lanes[lane] = magnitude > lanes[lane] ? magnitude : lanes[lane];
      }
    }
    for (; j < values.size(); ++j) lanes[0] = std::max(lanes[0], std::fabs(values[j]));
    return *std::max_element(lanes.begin(), lanes.end());
  }

  /// The reference implementation's scale: max|x| / 127, 1 where all values are zero. Underflows to 0
  /// below 127 * 2^-150.
  [[nodiscard]] static float reference_scale(float largest) noexcept {
    return largest == 0.0F ? 1.0F : largest / 127.0F;
  }

  /// Scales that the best rule chooses among: the reference's first, then ever tighter ones, down to
  /// 5/16 of it.
  static constexpr std::size_t candidate_count = 12;
  /// Scales to choose among.
  using candidates = std::array<float, candidate_count>;
  /// The candidates for a tensor whose largest magnitude is `largest`, which is finite.
  [[nodiscard]] static candidates candidate_scales(float largest) noexcept {
    candidates scales;
    for (std::size_t i = 0; i < candidate_count; ++i) {
      const float sixteenths = static_cast<float>(16 - i) / 16.0F;
      scales[i] = std::max(reference_scale(largest) * sixteenths, 0x1p-149F);
      // 127 steps of a scale that was rounded up can lie beyond the largest f32.
      if (!is_finite(scales[i] * 127.0F)) scales[i] = std::nextafter(scales[i], 0.0F);
    }
    return scales;
  }

  /// Squared errors, one for each candidate.
  using squared_errors = std::array<double, candidate_count>;
  /// Adds to errors[i] the squared error of `values` under scales[i], each square times the value's
  /// importance and `factor`; importance is of as many as there are values, or empty: then as it is.
  static void add_squared_errors(std::span<const float> values, const candidates& scales,
                                 squared_errors& errors, std::span<const float> importance = {},
                                 float factor = 1.0F) noexcept {
    for (std::size_t i = 0; i < candidate_count; ++i) {
      lane_sums sums;
      std::array<float, 64> differences;
      std::array<float, 64> weighted;
      auto weights = importance;
      for (auto rest = values; !rest.empty();) {
        const std::size_t count = std::min(rest.size(), differences.size());
        for (std::size_t j = 0; j < count; ++j) {
          // Exact in f64, so fusing changes no bit.
          const double decoded = static_cast<double>(scales[i]) * nearest_code(rest[j], scales[i]);
          differences[j] = static_cast<float>(static_cast<double>(rest[j]) - decoded);
        }
        const auto present = std::span<const float>(differences).first(count);
        if (weights.empty()) {
          sums.add_squares(present);
        } else {
          for (std::size_t j = 0; j < count; ++j) weighted[j] = differences[j] * (weights[j] * factor);
          sums.add_products(present, std::span<const float>(weighted).first(count));
          weights = weights.subspan(count);
        }
        rest = rest.subspan(count);
      }
      errors[i] += sums.total();
    }
  }

  /// Codes of finite values under `scale`: nearest, halves away from zero as the reference rounds them.
  /// `scale` may be 0 under the reference rule alone, where any value that is not 0 codes as +-127.
  static void code(std::span<const float> values, float scale, packing_rule rule,
                   std::span<std::int8_t> codes) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      if (rule == packing_rule::best) {
        codes[j] = static_cast<std::int8_t>(nearest_code(values[j], scale));
      } else if (values[j] == 0.0F) {
        codes[j] = 0;
      } else if (scale == 0.0F) {
        codes[j] = values[j] < 0.0F ? std::int8_t{-127} : std::int8_t{127};
      } else {
        const float steps = round_half_away(values[j] / scale);
        codes[j] = static_cast<std::int8_t>(std::clamp(steps, -127.0F, 127.0F));
      }
    }
  }

 private:
  /// By truncation. Every candidate scale puts the tensor's largest value at most 127 * 16/5 steps from
  /// zero, so the integer holds the quotient.
  [[nodiscard]] static std::int32_t nearest_code(float value, float scale) noexcept {
    const auto code = static_cast<std::int32_t>(value / scale + 127.5F);
    return std::min(std::max(code, 0), 254) - 127;
  }
};
static_assert(sizeof(apr_q8::header) == describe(apr_q8::encoding).header_bytes);
static_assert(sizeof(std::int8_t) == describe(apr_q8::encoding).block_bytes);

template <>
struct codec_of<nibble::encoding::apr_q8> {
  using type = apr_q8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
