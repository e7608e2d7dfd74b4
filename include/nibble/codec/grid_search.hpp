#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/grid_trials.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/vector_loop.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The product of two f32, exact: fusing it with a sum changes no bit.
[[nodiscard]] inline double exact_product(float a, float b) noexcept { return double{a} * double{b}; }

/// nearest_float16 without branches, so that loops over it become vectors. For numbers that are not NaN.
struct to_nearest_float16 {
  /// The float16 nearest to a value, as f32.
  [[nodiscard]] float operator()(float value) const noexcept {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = bits & 0x80000000U;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
    const std::uint32_t normal = (magnitude + 0xFFFU + (magnitude >> 13U & 1U)) & 0xFFFFE000U;
    // A multiple of 2^-24, as what is next to 3/4 is.
    const std::uint32_t tiny =
        std::bit_cast<std::uint32_t>((std::bit_cast<float>(magnitude) + 0.75F) - 0.75F);
    // Masks, not choices: of those the compiler makes branches.
    const std::uint32_t is_tiny = 0U - static_cast<std::uint32_t>(magnitude < 0x38800000U);
    const std::uint32_t is_beyond = 0U - static_cast<std::uint32_t>(magnitude >= 0x477FF000U);
    const std::uint32_t finite = (tiny & is_tiny) | (normal & ~is_tiny);
    return std::bit_cast<float>(sign | (0x7F800000U & is_beyond) | (finite & ~is_beyond));
  }
};

/// For what is not stored.
struct as_it_is {
  /// The value.
  [[nodiscard]] float operator()(float value) const noexcept { return value; }
};

/// short_scale, as what rounds.
struct to_short_scale {
  /// The short scale nearest to a value.
  [[nodiscard]] float operator()(float value) const noexcept { return short_scale(value); }
};

/// Least squares for the codes of trials, where scale and min may change.
///
/// Sums are f32, so that their products are exact in f64. Each loop is over eight lanes and without
/// branches: what depends on a comparison is stored before.
struct free_min {
  /// What would be left of the squared errors, times the sum of weights.
  NIBBLE_VECTOR_LOOP static void remaining(const grid_trials& of, const lanes_of_floats& weight,
                                           lanes_of_floats& to) noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double changes =
          exact_product(weight[lane], of.dd[lane]) - exact_product(of.d[lane], of.d[lane]);
      const double spread =
          exact_product(weight[lane], of.qq[lane]) - exact_product(of.q[lane], of.q[lane]);
      const double slope =
          exact_product(weight[lane], of.dq[lane]) - exact_product(of.q[lane], of.d[lane]);
      to[lane] = static_cast<float>(changes - slope * slope / (spread > 0.0 ? spread : HUGE_VAL));
    }
  }
  /// The fitted scales and mins, both made such as can be stored by `round`, the scale first.
  template <class Round>
  NIBBLE_VECTOR_LOOP static void fit(const grid_trials& of, const lanes_of_floats& weight,
                                     const Round& round, grid_trials& to) noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double spread =
          exact_product(weight[lane], of.qq[lane]) - exact_product(of.q[lane], of.q[lane]);
      const double slope =
          exact_product(weight[lane], of.dq[lane]) - exact_product(of.q[lane], of.d[lane]);
      const double change = slope / (spread > 0.0 ? spread : HUGE_VAL);
      const float scale = round(static_cast<float>(double{of.scale[lane]} + change));
      const double rest = double{of.d[lane]} - exact_product(scale - of.scale[lane], of.q[lane]);
      to.scale[lane] = scale;
      to.min[lane] = round(static_cast<float>(double{of.min[lane]} + rest / double{weight[lane]}));
    }
  }
};

/// As free_min, where min is to be at most 0.
struct min_at_most_zero {
  /// As free_min has it.
  static void remaining(const grid_trials& of, const lanes_of_floats& weight,
                        lanes_of_floats& to) noexcept {
    free_min::remaining(of, weight, to);
    lanes_of_floats mins;
    fitted_mins(of, weight, mins);
    float highest = mins[0];
    for (const float min : mins) highest = min > highest ? min : highest;
    // Of values around zero none is.
    if (highest > 0.0F) remaining_at_zero(of, weight, mins, to);
  }
  template <class Round>
  /// As free_min has it.
  NIBBLE_VECTOR_LOOP static void fit(const grid_trials& of, const lanes_of_floats& weight,
                                     const Round& round, grid_trials& to) noexcept {
    free_min::fit(of, weight, round, to);
    lanes_of_floats at_zero;
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double slope = double{of.dq[lane]} + exact_product(of.min[lane], of.q[lane]);
      const double squares = double{of.qq[lane]};
      const double change = slope / (squares > 0.0 ? squares : HUGE_VAL);
      at_zero[lane] = round(static_cast<float>(double{of.scale[lane]} + change));
    }
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      to.scale[lane] = to.min[lane] > 0.0F ? at_zero[lane] : to.scale[lane];
      to.min[lane] = to.min[lane] > 0.0F ? 0.0F : to.min[lane];
    }
  }

 private:
  /// What is of the same sign as the fitted mins.
  NIBBLE_VECTOR_LOOP static void fitted_mins(const grid_trials& of, const lanes_of_floats& weight,
                                             lanes_of_floats& to) noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double spread =
          exact_product(weight[lane], of.qq[lane]) - exact_product(of.q[lane], of.q[lane]);
      const double slope =
          exact_product(weight[lane], of.dq[lane]) - exact_product(of.q[lane], of.d[lane]);
      const auto change = static_cast<float>(slope / (spread > 0.0 ? spread : HUGE_VAL));
      to[lane] = static_cast<float>(double{of.d[lane]} + exact_product(of.min[lane], weight[lane]) -
                                    exact_product(change, of.q[lane]));
    }
  }
  /// Where the fitted min is above 0, what is left with a min of 0.
  NIBBLE_VECTOR_LOOP static void remaining_at_zero(const grid_trials& of, const lanes_of_floats& weight,
                                                   const lanes_of_floats& mins,
                                                   lanes_of_floats& to) noexcept {
    lanes_of_floats at_zero;
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      // sum w (d + min - s q)^2 = dd + 2 min d + min^2 W - (dq + min q)^2 / qq
      const float min = of.min[lane];
      const auto squared = static_cast<float>(exact_product(min, min));
      const double changes = double{of.dd[lane]} + 2.0 * exact_product(min, of.d[lane]) +
                             exact_product(squared, weight[lane]);
      const auto slope = static_cast<float>(double{of.dq[lane]} + exact_product(min, of.q[lane]));
      const double squares = double{of.qq[lane]};
      const auto left = static_cast<float>(changes - exact_product(slope, slope) /
                                                         (squares > 0.0 ? squares : HUGE_VAL));
      at_zero[lane] = static_cast<float>(exact_product(left, weight[lane]));
    }
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      to[lane] = mins[lane] > 0.0F ? at_zero[lane] : to[lane];
    }
  }
};

/// As free_min, where min stays 0.
struct no_min {
  /// As free_min has it.
  NIBBLE_VECTOR_LOOP static void remaining(const grid_trials& of, const lanes_of_floats& /*weight*/,
                                           lanes_of_floats& to) noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double squares = double{of.qq[lane]};
      to[lane] = static_cast<float>(double{of.dd[lane]} - exact_product(of.dq[lane], of.dq[lane]) /
                                                              (squares > 0.0 ? squares : HUGE_VAL));
    }
  }
  template <class Round>
  /// As free_min has it.
  NIBBLE_VECTOR_LOOP static void fit(const grid_trials& of, const lanes_of_floats& /*weight*/,
                                     const Round& round, grid_trials& to) noexcept {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double squares = double{of.qq[lane]};
      const double change = double{of.dq[lane]} / (squares > 0.0 ? squares : HUGE_VAL);
      to.scale[lane] = round(static_cast<float>(double{of.scale[lane]} + change));
      to.min[lane] = 0.0F;
    }
  }
};

/// Puts into `to` those lanes of `other` where less[lane] < than[lane], and less there into than.
NIBBLE_VECTOR_LOOP inline void keep_lesser(const grid_trials& other, const lanes_of_floats& less,
                                           grid_trials& to, lanes_of_floats& than) noexcept {
  const auto keep = [&](const lanes_of_floats& from, lanes_of_floats& into) {
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      into[lane] = less[lane] < than[lane] ? from[lane] : into[lane];
    }
  };
  keep(other.scale, to.scale);
  keep(other.min, to.min);
  keep(other.d, to.d);
  keep(other.dq, to.dq);
  keep(other.dd, to.dd);
  keep(other.q, to.q);
  keep(other.qq, to.qq);
  for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
    than[lane] = less[lane] < than[lane] ? less[lane] : than[lane];
  }
}

/// Of `batches` grids that start(batch, trials) gives each of eight lanes, the trial whose codes leave
/// least. attempt(trials) tries; weight[lane] is the sum of a lane's weights, or 1 where it is 0.
/// look(batch, trials) is shown what came of each batch.
template <class Fit, class Start, class Attempt, class Look>
[[nodiscard]] grid_trials most_promising(std::size_t batches, const Start& start,
                                         const lanes_of_floats& weight, const Attempt& attempt,
                                         const Look& look) noexcept {
  lanes_of_floats least;
  least.fill(HUGE_VALF);
  lanes_of_floats remaining;
  grid_trials promising{};
  for (std::size_t batch = 0; batch < batches; ++batch) {
    grid_trials trials;
    start(batch, trials);
    attempt(trials);
    look(batch, trials);
    Fit::remaining(trials, weight, remaining);
    keep_lesser(trials, remaining, promising, least);
  }
  return promising;
}

/// Trials fitted and tried again `turns` times, at least once, with scale and min such as can be stored
/// by `round`: of each lane the one of least error among the fitted ones; its error is infinite where all
/// were. attempt and weight as most_promising has them; attempt_errors(trials) tries those that nothing is
/// fitted to here. Where that sums errors alone, of what came of the result only dd is specified.
template <class Fit, class Attempt, class AttemptErrors, class Round>
[[nodiscard]] grid_trials refine_trials(const grid_trials& from, int turns,
                                        const lanes_of_floats& weight, const Attempt& attempt,
                                        const AttemptErrors& attempt_errors,
                                        const Round& round) noexcept {
  // Nothing is fitted to the last of them.
  const auto attempt_for = [&](int turn, grid_trials& trials) {
    if (turn < turns) {
      attempt(trials);
    } else {
      attempt_errors(trials);
    }
  };
  grid_trials kept;
  Fit::fit(from, weight, round, kept);
  attempt_for(1, kept);
  // What is not a number is not kept.
  for (float& error : kept.dd) error = error < HUGE_VALF ? error : HUGE_VALF;
  grid_trials last = kept;
  for (int turn = 2; turn <= turns; ++turn) {
    grid_trials next;
    Fit::fit(last, weight, round, next);
    attempt_for(turn, next);
    lanes_of_floats errors = kept.dd;
    keep_lesser(next, next.dd, kept, errors);
    last = next;
  }
  return kept;
}

/// Of some grids the one under which the values err least, the first of several.
template <std::size_t Count>
[[nodiscard]] affine_grid least_of(std::span<const affine_grid> grids,
                                   const weighted_values<Count>& values) noexcept {
  least_error<affine_grid> kept;
  for (const affine_grid& each : grids) kept.offer(each, each.squared_error(values));
  return kept.best();
}

/// The values of one block, borrowed, for eight grids tried on all of them at once.
template <std::size_t Count>
class block_trials {
 public:
  /// At least one value must count.
  explicit block_trials(const weighted_values<Count>& values) noexcept : values_(values) {
    if (values.all_alike) return;
    for (std::size_t j = 0; j < Count; ++j) weights_[j] = cut_to_bits<8>(values.weights[j]);
    lanes_of_floats sums{};
    for (std::size_t j = 0; j < Count; j += trial_lanes) {
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) sums[lane] += weights_[j + lane];
    }
    weight_ = 0.0F;
    for (const float sum : sums) weight_ += sum;
  }

  /// The grid of least error by trials among what is fitted to the most promising of `batches` times
  /// eight starts, `turns` times; see most_promising and refine_trials. Of plain grids the one of least
  /// error where the search found none that errs less by affine_grid::squared_error. One or two of them
  /// take the first places of the first batch.
  template <class Fit, std::int32_t Lowest, std::int32_t Highest, class Start, class Round>
  [[nodiscard]] affine_grid search(std::span<const affine_grid> plain, std::size_t batches,
                                   const Start& start, int turns, const Round& round) const noexcept {
    const lanes_of_floats weight = in_all_lanes(weight_);
    float of_plain = HUGE_VALF;
    const auto try_all = [this](grid_trials& trials) { attempt<Lowest, Highest>(trials); };
    const auto try_errors = [this](grid_trials& trials) {
      attempt<Lowest, Highest, trial_sums::errors>(trials);
    };
    const auto start_batch = [&](std::size_t batch, grid_trials& trials) {
      start(batch, trials);
      if (batch != 0) return;
      for (std::size_t i = 0; i < plain.size(); ++i) {
        trials.scale[i] = plain[i].scale;
        trials.min[i] = plain[i].min;
      }
    };
    const auto look = [&](std::size_t batch, const grid_trials& trials) {
      if (batch != 0) return;
      for (std::size_t i = 0; i < plain.size(); ++i) {
        of_plain = std::min(of_plain, trials.dd[i]);
      }
    };
    grid_trials promising;
    if (batches == 1) {
      start_batch(0, promising);
      try_all(promising);
      look(0, promising);
    } else {
      promising = most_promising<Fit>(batches, start_batch, weight, try_all, look);
    }
    const grid_trials found = refine_trials<Fit>(promising, turns, weight, try_all, try_errors, round);
    std::size_t best = 0;
    for (std::size_t lane = 1; lane < trial_lanes; ++lane) {
      if (found.dd[lane] < found.dd[best]) best = lane;
    }
    const affine_grid grid{found.scale[best], found.min[best], Lowest, Highest};
    // Trials count to about 2^-11.
    if (found.dd[best] < of_plain * 0.99F) return grid;
    const affine_grid other = least_of(plain, values_);
    return grid.squared_error(values_) < other.squared_error(values_) ? grid : other;
  }

 private:
  template <std::int32_t Lowest, std::int32_t Highest, trial_sums Sums = trial_sums::all>
  void attempt(grid_trials& trials) const noexcept {
    const auto value = [this](std::size_t j, std::size_t) { return values_.all[j]; };
    if (values_.all_alike) {
      try_grids<Lowest, Highest, Count, Sums>(trials, value, equal_weights{});
    } else {
      try_grids<Lowest, Highest, Count, Sums>(
          trials, value, [this](std::size_t j, std::size_t) { return weights_[j]; });
    }
  }

  const weighted_values<Count>& values_;
  std::array<float, Count> weights_;
  float weight_ = static_cast<float>(Count);
};

/// The values of eight sub-blocks, for a grid each tried on all of them at once.
template <std::size_t Count>
class sub_block_trials {
 public:
  /// Up to eight sub-blocks; nothing counts in lanes without one.
  explicit sub_block_trials(std::span<const weighted_values<Count>> sub_blocks) noexcept
      : all_alike_(sub_blocks.size() == trial_lanes) {
    for (const auto& each : sub_blocks) all_alike_ = all_alike_ && each.all_alike;
    for (std::size_t lane = 0; lane < sub_blocks.size(); ++lane) {
      for (std::size_t j = 0; j < Count; ++j) values_[j][lane] = sub_blocks[lane].all[j];
    }
    if (all_alike_) {
      weight_.fill(static_cast<float>(Count));
      return;
    }
    if (sub_blocks.size() < trial_lanes) {
      for (std::size_t j = 0; j < Count; ++j) {
        for (std::size_t lane = sub_blocks.size(); lane < trial_lanes; ++lane) {
          values_[j][lane] = 0.0F;
        }
      }
    }
    weights_ = {};
    for (std::size_t lane = 0; lane < sub_blocks.size(); ++lane) {
      for (std::size_t j = 0; j < Count; ++j) {
        weights_[j][lane] = cut_to_bits<8>(sub_blocks[lane].weights[j]);
      }
    }
    weight_.fill(0.0F);
    for (std::size_t j = 0; j < Count; ++j) {
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) weight_[lane] += weights_[j][lane];
    }
    for (float& each : weight_) each = each > 0.0F ? each : 1.0F;
  }

  /// Sum of the weights of each; 1 where nothing counts.
  [[nodiscard]] const lanes_of_floats& weight() const noexcept { return weight_; }

  /// Counts, for each trial, what its codes make of the values.
  template <std::int32_t Lowest, std::int32_t Highest>
  void attempt(grid_trials& trials) const noexcept {
    const auto value = [this](std::size_t j, std::size_t lane) { return values_[j][lane]; };
    if (all_alike_) {
      try_grids<Lowest, Highest, Count>(trials, value, equal_weights{});
    } else {
      try_grids<Lowest, Highest, Count>(
          trials, value, [this](std::size_t j, std::size_t lane) { return weights_[j][lane]; });
    }
  }

  /// The grid of least error of each; see most_promising and refine_trials.
  template <class Fit, std::int32_t Lowest, std::int32_t Highest, class Start>
  [[nodiscard]] grid_trials search(std::size_t starts, const Start& start, int turns) const noexcept {
    const auto try_all = [this](grid_trials& trials) { attempt<Lowest, Highest>(trials); };
    const grid_trials promising =
        most_promising<Fit>(starts, start, weight_, try_all, [](std::size_t, const grid_trials&) {});
    return refine_trials<Fit>(promising, turns, weight_, try_all, try_all, to_short_scale{});
  }

 private:
  std::array<lanes_of_floats, Count> values_;
  std::array<lanes_of_floats, Count> weights_;
  lanes_of_floats weight_;
  bool all_alike_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
