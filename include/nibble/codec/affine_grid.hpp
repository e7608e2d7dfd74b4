#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/vector_loop.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The grid scale * q + min, q in lowest..highest, over the values of a block or of a sub-block. scale
/// may be of either sign. scale * q is exact in f32: scale has few significant bits, as every stored
/// one. A grid without min has one of 0.
///
/// The same bits everywhere: no product meets a sum that a compiler could fuse it with, except where
/// the product is exact, and sums have one order.
struct affine_grid {
  /// From one code to the next.
  float scale;
  /// What code 0 stands for.
  float min;
  /// The lowest code.
  std::int32_t lowest;
  /// The highest code.
  std::int32_t highest;

  /// What a code stands for.
  [[nodiscard]] float value_of(std::int32_t code) const noexcept {
    return scale * static_cast<float>(code) + min;
  }

  /// The code nearest to a finite value; 0, or what of lowest..highest is nearest to it, where scale is
  /// 0.
  [[nodiscard]] std::int32_t code_of(float value) const noexcept {
    return codes_of(std::array{value})[0];
  }

  /// The codes nearest to finite values, as code_of gives them.
  template <std::size_t Count>
  [[nodiscard]] std::array<std::int32_t, Count> codes_of(
      const std::array<float, Count>& values) const noexcept {
    std::array<std::int32_t, Count> codes;
    if (scale == 0.0F) {
      codes.fill(lowest > 0 ? lowest : highest < 0 ? highest : 0);
      return codes;
    }
    // By truncation, from 0 up; limited as floats, since a quotient may be beyond any integer.
    const float origin = 0.5F - static_cast<float>(lowest);
    const auto most = static_cast<float>(highest - lowest);
    for (std::size_t j = 0; j < Count; ++j) {
      const float steps = (values[j] - min) / scale + origin;
      const float from_lowest = steps > 0.0F ? steps : 0.0F;
      codes[j] = static_cast<std::int32_t>(from_lowest < most ? from_lowest : most) + lowest;
    }
    return codes;
  }

  /// Sum of the squares of what coding changes, each times its weight.
  template <std::size_t Count>
  NIBBLE_VECTOR_LOOP [[nodiscard]] double squared_error(
      const weighted_values<Count>& values) const noexcept {
    const auto codes = codes_of(values.all);
    std::array<float, Count> differences;
    std::array<float, Count> weighted;
    for (std::size_t j = 0; j < Count; ++j) {
      differences[j] = values.all[j] - (scale * static_cast<float>(codes[j]) + min);
    }
    for (std::size_t j = 0; j < Count; ++j) weighted[j] = differences[j] * values.weights[j];
    lane_sums sums;
    sums.add_products(differences, weighted);
    return sums.total();
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
