#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 elements in 66 bytes, 2.0625 bits per weight: x = scale * (q - 1), q in 0..3. ggml's TQ2_0, for
/// models that were trained with ternary weights: what packs it writes 0..2 alone.
///
///   byte  0                                                       32               64      66
///         | q[0] + 4 q[32] + 16 q[64] + 64 q[96] ... 31 more | q[128] ... | scale |
struct tq2_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::tq2_0;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 4> codes;
    float16 scale;
  };
  static_assert(sizeof(block) == 66 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float scale = to_float32(from.scale);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int code = from.codes[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      values[j] = scale * static_cast<float>(code - 1);
    }
  }

  /// Packs 1..256 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// The float16 nearest to the scale that errs least, or ggml's own, the largest magnitude, where
  /// rounding makes that the better one.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const float factor = importance_factor(how.importance);
    const weighted_values<block_elements> equal(values);
    const auto all =
        factor == 0.0F ? equal : weighted_values<block_elements>(values, how.importance, factor);
    const affine_grid first{nearest_float16(best_ternary_scale(equal)), 0.0F, -1, 1};
    if (!is_finite(first.scale)) return pack_status::scale_overflow;
    least_error<affine_grid> kept(first, first.squared_error(all));
    for (const float scale : {std::fabs(farthest_from_zero(all.all)), best_ternary_scale(all)}) {
      const affine_grid other{nearest_float16(scale), 0.0F, -1, 1};
      if (is_finite(other.scale)) kept.offer(other, other.squared_error(all));
    }
    const auto steps = kept.best().codes_of(all.all);
    to.scale = to_float16(kept.best().scale);
    to.codes.fill(0);
    for (std::size_t j = 0; j < values.size(); ++j) {
      std::uint8_t& four = to.codes[j / 128 * 32 + j % 32];
      four = static_cast<std::uint8_t>(four | (steps[j] + 1) << (j % 128 / 32 * 2));
    }
    return pack_status::packed;
  }

 private:
  /// The scale of the grid -scale, 0, scale with the least squared error. Where the k largest magnitudes
  /// are not 0 on the grid, their mean errs least, and is k * mean^2 better than no scale at all.
  template <std::size_t Count>
  [[nodiscard]] static float best_ternary_scale(const weighted_values<Count>& values) noexcept {
    struct weighted_magnitude {
      float magnitude;
      float weight;
    };
    std::array<weighted_magnitude, Count> all;
    for (std::size_t j = 0; j < all.size(); ++j) {
      all[j] = {std::fabs(values.all[j]), values.weights[j]};
    }
    std::sort(all.begin(), all.end(), [](const weighted_magnitude& a, const weighted_magnitude& b) {
      return a.magnitude != b.magnitude ? a.magnitude > b.magnitude : a.weight > b.weight;
    });
    double sum = 0.0;
    double weight = 0.0;
    double most_gain = 0.0;
    double best = 0.0;
    for (const weighted_magnitude& each : all) {
      // Exact, so that fusing changes no bit.
      sum += static_cast<double>(each.magnitude) * static_cast<double>(each.weight);
      weight += static_cast<double>(each.weight);
      if (weight == 0.0) continue;
      const double mean = sum / weight;
      const double gain = sum * mean;
      if (gain > most_gain) {
        most_gain = gain;
        best = mean;
      }
    }
    return static_cast<float>(best);
  }
};
static_assert(sizeof(tq2_0::block) == describe(tq2_0::encoding).block_bytes);
static_assert(tq2_0::block_elements == describe(tq2_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::tq2_0> {
  using type = tq2_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
