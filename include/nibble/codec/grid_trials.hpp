#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <nibble/codec/vector_loop.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// How many grids are tried at once.
inline constexpr std::size_t trial_lanes = 8;
/// A number for each trial.
using lanes_of_floats = std::array<float, trial_lanes>;

/// Eight grids scale * q + min of the same codes, and what came of trying each: d is what coding
/// changes, q the codes and w the weights. Of grids that were not tried, what came of it is unspecified.
struct grid_trials {
  /// From one code to the next.
  lanes_of_floats scale{};
  /// What code 0 stands for.
  lanes_of_floats min{};
  lanes_of_floats d;   ///< sum w d
  lanes_of_floats dq;  ///< sum w d q
  lanes_of_floats dd;  ///< sum w d^2, to about 2^-12
  lanes_of_floats q;   ///< sum w q
  lanes_of_floats qq;  ///< sum w q^2
};

/// The same in every lane. A constant that is compared with must lie in lanes too: the compiler would
/// make branches of it, and no vectors then.
[[nodiscard]] inline lanes_of_floats in_all_lanes(float value) noexcept {
  lanes_of_floats lanes;
  lanes.fill(value);
  return lanes;
}

/// `value` with so many significant bits, cut towards zero.
template <unsigned Bits>
[[nodiscard]] inline float cut_to_bits(float value) noexcept {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(value) & (0xFFFFFFFFU << (24U - Bits)));
}

/// The weight of every value where all count alike.
struct equal_weights {
  /// One.
  [[nodiscard]] constexpr float operator()(std::size_t, std::size_t) const noexcept { return 1.0F; }
};

/// What a trial sums: all of a grid_trials, or of what came of it only dd, for trials that nothing is fitted
/// to.
enum class trial_sums : std::uint8_t { all, errors };

/// Tries eight grids at once with codes Lowest..Highest on Count values. value(j, lane) is the j-th for
/// a lane, weight(j, lane) what it counts, of at most 8 significant bits; scales have at most 16. A
/// trial counts with few bits, and says with the error also how to change scale and min so that it
/// becomes least for the same codes; what is best by trials is then held against others by
/// affine_grid::squared_error.
///
/// The same bits everywhere: what is multiplied is cut to so few bits that every product which meets a
/// sum is exact in f32, and sums are those of one value after the other.
template <std::int32_t Lowest, std::int32_t Highest, std::size_t Count,
          trial_sums Sums = trial_sums::all, class Value, class Weight>
NIBBLE_VECTOR_LOOP void try_grids(grid_trials& trials, const Value& value,
                                  const Weight& weight) noexcept {
  constexpr auto first = static_cast<float>(Lowest);
  constexpr std::size_t unrolled = 4;
  const auto code_from = [](std::int32_t steps) {
    if constexpr (Lowest == 0) return static_cast<float>(steps);
    return static_cast<float>(steps) + first;
  };
  static_assert(Count % unrolled == 0);
  lanes_of_floats origin;
  lanes_of_floats inverse;
  for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
    const float scale = trials.scale[lane];
    // Half a step below the lowest point: codes come of truncation, and no product meets a sum.
    origin[lane] = scale * (first - 0.5F) + trials.min[lane];
    // Of a scale of 0 infinite, and the codes at the ends: they all stand for min.
    inverse[lane] = 1.0F / scale;
  }
  const lanes_of_floats most = in_all_lanes(static_cast<float>(Highest - Lowest));
  grid_trials sums{trials.scale, trials.min, {}, {}, {}, {}, {}};
  for (std::size_t at = 0; at < Count; at += unrolled) {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      float d = sums.d[lane];
      float dq = sums.dq[lane];
      float dd = sums.dd[lane];
      float q = sums.q[lane];
      float qq = sums.qq[lane];
      const auto add = [&](std::size_t j) {
        const float x = value(j, lane);
        const float w = weight(j, lane);
        const float steps = (x - origin[lane]) * inverse[lane];
        const float from_lowest = steps > 0.0F ? steps : 0.0F;
        const float limited = from_lowest < most[lane] ? from_lowest : most[lane];
        const float code = code_from(static_cast<std::int32_t>(limited));
        const float change = x - (sums.scale[lane] * code + sums.min[lane]);
        const float weighted = cut_to_bits<16>(change * w);
        const float short_change = cut_to_bits<12>(change);
        if constexpr (std::is_same_v<Weight, equal_weights>) {
          dd += short_change * short_change;
        } else {
          dd += cut_to_bits<12>(weighted) * short_change;
        }
        if constexpr (Sums == trial_sums::all) {
          const float weighted_code = w * code;
          d += weighted;
          dq += weighted * code;
          q += weighted_code;
          qq += weighted_code * code;
        }
      };
      [&]<std::size_t... J>(std::index_sequence<J...>) { (add(at + J), ...); }
      (std::make_index_sequence<unrolled>());
      sums.d[lane] = d;
      sums.dq[lane] = dq;
      sums.dd[lane] = dd;
      sums.q[lane] = q;
      sums.qq[lane] = qq;
    }
  }
  trials = sums;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
