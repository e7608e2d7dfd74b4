#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/pack_status.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The grid scale * q + min, q in 0..largest_code, laid over a block's values so that no value lies
/// outside it: min is the lowest value rounded down to float16, scale the least float16 with which
/// largest_code steps from there reach the highest value.
///
/// What float16 costs: min is at most one float16 step below the lowest value, and
/// scale <= (highest - min) / largest_code * (1 + 2^-10) + 2^-24.
///
/// The same bits everywhere: comparisons and f32 subtraction, division and truncation have one
/// correctly rounded result each, and no product meets a sum that a compiler could fuse it with,
/// except in f64 where the product is exact.
struct min_max_grid {
  /// `values` are 1..32 finite numbers.
  min_max_grid(std::span<const float> values, std::uint32_t largest_code) noexcept
      : largest(largest_code) {
    std::array<float, 32> padded;
    const std::span<const float> all = pad(values, padded);
    float lowest = all[0];
    float highest = all[0];
    for (std::size_t j = 0; j < padded.size(); ++j) {
      lowest = all[j] < lowest ? all[j] : lowest;
      highest = all[j] > highest ? all[j] : highest;
    }
    min = float16_at_most(lowest);
    if (!is_finite(min)) {
      status = pack_status::min_overflow;
      return;
    }
    const double from = to_float32(min);
    const double to = highest;
    const double codes = largest_code;
    scale = float16_at_least((to - from) / codes);
    if (is_finite(scale) && codes * static_cast<double>(to_float32(scale)) + from < to) {
      scale = next_up(scale);
    }
    if (!is_finite(scale)) status = pack_status::scale_overflow;
  }

  /// Codes of the values, nearest grid point each; leaves the rest of `codes` alone. Only after
  /// status says packed.
  void code(std::span<const float> values, std::span<std::uint8_t, 32> codes) const noexcept {
    const float step = to_float32(scale);
    if (status != pack_status::packed || step == 0.0F) return;
    const float origin = to_float32(min);
    std::array<float, 32> padded;
    const std::span<const float> all = pad(values, padded);
    std::array<std::uint8_t, 32> coded;
    const auto top = static_cast<std::int32_t>(largest);
    for (std::size_t j = 0; j < padded.size(); ++j) {
      const float steps = (all[j] - origin) / step;
      const auto nearest = static_cast<std::int32_t>(steps + 0.5F);
      coded[j] = static_cast<std::uint8_t>(nearest < top ? nearest : top);
    }
    std::copy_n(coded.begin(), values.size(), codes.begin());
  }

  float16 scale{};
  float16 min{};
  std::uint32_t largest;
  pack_status status = pack_status::packed;

 private:
  /// Whole blocks as they are, shorter ones repeated from their first value, so that every loop has 32
  /// turns and the lowest and highest stay what they were.
  static std::span<const float> pad(std::span<const float> values,
                                    std::array<float, 32>& padded) noexcept {
    if (values.size() == padded.size()) return values;
    padded.fill(values[0]);
    std::copy(values.begin(), values.end(), padded.begin());
    return padded;
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
