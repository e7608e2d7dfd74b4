#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/lane_sums.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Up to 32 values of a block or of a sub-block; spare places hold the first value.
struct offset_values {
  explicit offset_values(std::span<const float> values) noexcept : count(values.size()) {
    all.fill(values[0]);
    std::copy(values.begin(), values.end(), all.begin());
  }

  std::array<float, 32> all;
  std::size_t count;
};

/// The grid scale * q + min, q in 0..largest_code; scale is not negative. scale * q is exact in f32:
/// scale has few significant bits, as every stored one.
///
/// The same bits everywhere, as signed_grid's are.
struct offset_grid {
  using codes_t = std::array<std::int32_t, 32>;

  float scale;
  float min;
  std::int32_t largest_code;

  /// The codes nearest to finite values; 0 where scale is 0.
  [[nodiscard]] codes_t codes_of(const offset_values& values) const noexcept {
    codes_t codes{};
    if (scale == 0.0F) return codes;
    const auto most = static_cast<float>(largest_code);
    for (std::size_t j = 0; j < codes.size(); ++j) {
      const float steps = (values.all[j] - min) / scale + 0.5F;
      const float from_zero = steps > 0.0F ? steps : 0.0F;
      codes[j] = static_cast<std::int32_t>(from_zero < most ? from_zero : most);
    }
    return codes;
  }

  /// Sum of the squares of what coding changes.
  [[nodiscard]] double squared_error(const offset_values& values) const noexcept {
    const auto codes = codes_of(values);
    std::array<float, 32> differences;
    for (std::size_t j = 0; j < differences.size(); ++j) {
      differences[j] = values.all[j] - (scale * static_cast<float>(codes[j]) + min);
    }
    lane_sums sums;
    sums.add_squares(std::span(differences).first(values.count));
    return sums.total();
  }

  /// Scale and min with the least squared error for the codes that the values have now, where min may
  /// be at most `highest_min`. `round` makes of each one that can be stored.
  template <class Round>
  [[nodiscard]] offset_grid fitted(const offset_values& values, float highest_min,
                                   const Round& round) const noexcept {
    // Of n values: scale = sum (n q - sum q) x / (n sum q^2 - (sum q)^2), whole numbers times values.
    const auto count = static_cast<std::int32_t>(values.count);
    const auto codes = codes_of(values);
    std::int32_t sum = 0;
    std::int32_t squares = 0;
    for (std::size_t j = 0; j < values.count; ++j) {
      sum += codes[j];
      squares += codes[j] * codes[j];
    }
    const std::int32_t spread = count * squares - sum * sum;
    if (spread == 0) return *this;
    const auto total = [&](const auto& factor) {
      codes_t factors;
      for (std::size_t j = 0; j < factors.size(); ++j) factors[j] = factor(codes[j]);
      lane_sums sums;
      sums.add_products(std::span(values.all).first(values.count), factors);
      return sums.total();
    };
    offset_grid fit = *this;
    const double slope = total([&](std::int32_t code) { return count * code - sum; }) / spread;
    fit.scale = round(static_cast<float>(slope));
    const double all = total([](std::int32_t) { return 1; });
    fit.min = round(static_cast<float>((all - static_cast<double>(fit.scale) * sum) / count));
    if (fit.min > highest_min) {
      fit.min = highest_min;
      const double products = total([](std::int32_t code) { return code; });
      const double rest = products - static_cast<double>(highest_min) * sum;
      fit.scale = round(static_cast<float>(rest / squares));
    }
    return fit;
  }
};

/// A grid under float16 scale and min, with the values' codes; those of absent ones are 0.
struct packed_offset_grid {
  pack_status status;
  offset_grid grid;
  std::array<std::uint8_t, 32> codes{};
};

/// The float16 scale and min with the least squared error for 1..32 finite values among: lowest and
/// highest value at the ends, both rounded to nearest, as ggml chooses them; the same without a value
/// outside; grids whose ends lie half a step inside; and what fits the codes which result.
[[nodiscard]] inline packed_offset_grid best_offset_grid(std::span<const float> values,
                                                         std::int32_t largest_code) noexcept {
  const offset_values all(values);
  const value_range range(values);
  const auto top = static_cast<std::uint32_t>(largest_code);
  const min_max_grid widest(range, top, {0.0F, 0.0F});
  const offset_grid first{to_float32(widest.scale), to_float32(widest.min), largest_code};
  if (widest.status != pack_status::packed) return {widest.status, first};
  least_error<offset_grid> kept(first, first.squared_error(all));
  const auto consider = [&](const offset_grid& other) {
    if (is_finite(other.scale) && is_finite(other.min)) kept.offer(other, other.squared_error(all));
  };
  const float step = (range.highest - range.lowest) / static_cast<float>(largest_code);
  consider({nearest_float16(step), nearest_float16(range.lowest), largest_code});
  for (const grid_margins& margins : half_step_margins) {
    const min_max_grid finer(range, top, margins);
    consider({to_float32(finer.scale), to_float32(finer.min), largest_code});
  }
  constexpr float no_limit = 65504.0F;
  for (int turn = 0; turn < 2; ++turn) consider(kept.best().fitted(all, no_limit, nearest_float16));
  packed_offset_grid packed{pack_status::packed, kept.best()};
  const auto codes = kept.best().codes_of(all);
  for (std::size_t j = 0; j < all.count; ++j) packed.codes[j] = static_cast<std::uint8_t>(codes[j]);
  return packed;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
