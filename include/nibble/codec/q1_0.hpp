#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 128 elements in 18 bytes, 1.125 bits per weight: x = scale where q is 1, -scale where it is 0.
/// ggml's Q1_0, for models that were trained with weights of one bit.
///
///   byte  0     2                                            18
///         | scale | q[0] + 2 q[1] ... + 128 q[7] | ... 15 more |
struct q1_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q1_0;
  static constexpr std::size_t block_elements = 128;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 8> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  /// The first values.size() (at most 128) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float scale = to_float32(from.scale);
    for (std::size_t j = 0; j < values.size(); ++j) {
      values[j] = (from.codes[j / 8] >> (j % 8) & 1) != 0 ? scale : -scale;
    }
  }

  /// Packs 1..128 finite values; spare codes become 0. `to` is unspecified unless packed is returned.
  ///
  /// No scale errs less than the mean magnitude, weighted by importance; without any it is ggml's choice too.
  [[nodiscard]] static pack_status pack(std::span<const float> values, std::same_as<block> auto& to,
                                        const block_packing& how = {}) noexcept {
    const float factor = importance_factor(how.importance);
    std::array<float, block_elements> signs;
    double weight = 0.0;
    to.codes.fill(0);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const bool is_negative = values[j] < 0.0F;
      const float counts = factor == 0.0F ? 1.0F : how.importance[j] * factor;
      signs[j] = is_negative ? -counts : counts;
      weight += static_cast<double>(counts);
      if (!is_negative) to.codes[j / 8] = static_cast<std::uint8_t>(to.codes[j / 8] | 1U << (j % 8));
    }
    lane_sums magnitudes;
    magnitudes.add_products(values, std::span<const float>(signs).first(values.size()));
    to.scale = to_float16(static_cast<float>(magnitudes.total() / weight));
    return is_finite(to.scale) ? pack_status::packed : pack_status::scale_overflow;
  }
};
static_assert(sizeof(q1_0::block) == describe(q1_0::encoding).block_bytes);
static_assert(q1_0::block_elements == describe(q1_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q1_0> {
  using type = q1_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
