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

/// The power of two that brings a positive number to 1 or up to 2, or as near to it as f32 has one.
[[nodiscard]] inline float power_of_two_over(float number) noexcept {
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(number) >> 23U;
  return std::bit_cast<float>(std::max(254U - exponent, 1U) << 23U);
}

/// power_of_two_over the largest of finite numbers, none negative; 0 where there are none or all are
/// zero. Only the ratios of weights matter, and so products of them stay in range.
[[nodiscard]] inline float importance_factor(std::span<const float> importance) noexcept {
  float largest = 0.0F;
  for (const float each : importance) largest = each > largest ? each : largest;
  return largest == 0.0F ? 0.0F : power_of_two_over(largest);
}

/// Up to Count finite values of a block or of a sub-block, and what each counts in a squared error.
/// Spare places hold the first value and count nothing.
template <std::size_t Count>
struct weighted_values {
  static_assert(Count % 8 == 0);

  /// No values; what the arrays hold is unspecified.
  weighted_values() = default;
  /// At least one value; each counts 1.
  explicit weighted_values(std::span<const float> from) noexcept : count(from.size()) {
    all_alike = count == Count;
    if (all_alike) {
      std::copy_n(from.begin(), Count, all.begin());
      weights.fill(1.0F);
      return;
    }
    all.fill(from[0]);
    std::copy(from.begin(), from.end(), all.begin());
    weights.fill(0.0F);
    std::fill_n(weights.begin(), count, 1.0F);
  }
  /// Each value counts its importance times `factor`, and 2^-40 at least: those on which nothing depends
  /// keep near what they are.
  weighted_values(std::span<const float> from, std::span<const float> importance, float factor) noexcept
      : weighted_values(from) {
    for (std::size_t j = 0; j < count; ++j) {
      const float weight = importance[j] * factor;
      weights[j] = weight > 0x1p-40F ? weight : 0x1p-40F;
    }
    all_alike = all_alike && std::all_of(weights.begin(), weights.end(),
                                         [](float weight) { return weight == 1.0F; });
  }

  /// The values, and the first one again in spare places.
  std::array<float, Count> all;
  /// What each counts.
  std::array<float, Count> weights;
  /// Values that are there.
  std::size_t count = 0;
  /// Whether no place is spare and each counts 1.
  bool all_alike = false;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
