#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The power of two that brings the largest of finite numbers, none negative, to 1 or up to 2; 0 where
/// there are none or all are zero. Only the ratios of weights matter, and so products of them stay in
/// range.
[[nodiscard]] inline float importance_factor(std::span<const float> importance) noexcept {
  float largest = 0.0F;
  for (const float each : importance) largest = each > largest ? each : largest;
  if (largest == 0.0F) return 0.0F;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(largest) >> 23U;
  return std::bit_cast<float>(std::max(254U - exponent, 1U) << 23U);
}

/// Up to Count finite values of a block or of a sub-block, and what each counts in a squared error.
/// Spare places hold the first value and count nothing.
template <std::size_t Count>
struct weighted_values {
  static_assert(Count % 8 == 0);

  /// No values.
  weighted_values() = default;
  /// At least one value; each counts 1.
  explicit weighted_values(std::span<const float> from) noexcept : count(from.size()) {
    all.fill(from[0]);
    std::copy(from.begin(), from.end(), all.begin());
    std::fill_n(weights.begin(), count, 1.0F);
  }
  /// Each value counts its importance times `factor`, which is not 0. Where that is nothing for any of
  /// them, they count alike, and next to nothing: the values of a sub-block on which nothing depends
  /// keep near what they are.
  weighted_values(std::span<const float> from, std::span<const float> importance, float factor) noexcept
      : weighted_values(from) {
    float sum = 0.0F;
    for (std::size_t j = 0; j < count; ++j) {
      weights[j] = importance[j] * factor;
      sum += weights[j];
    }
    if (sum == 0.0F) std::fill_n(weights.begin(), count, 0x1p-100F);
  }

  std::array<float, Count> all{};
  std::array<float, Count> weights{};
  std::size_t count = 0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
