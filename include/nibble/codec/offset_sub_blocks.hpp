#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <nibble/codec/affine_grid.hpp>
#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/grid_search.hpp>
#include <nibble/codec/grid_trials.hpp>
#include <nibble/codec/least_error.hpp>
#include <nibble/codec/min_max_grid.hpp>
#include <nibble/codec/offset_grid.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/super_block_search.hpp>
#include <nibble/codec/vector_loop.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 values in sub-blocks, each on a grid scale * s * q - min * m, q in 0..LargestCode, with s and m in
/// 0..LargestNumber of the sub-block and float16 scale and min of all: how Q2_K, Q4_K and Q5_K are
/// packed.
template <std::size_t SubBlockElements, int LargestNumber, int LargestCode>
class offset_sub_blocks {
 public:
  static constexpr std::size_t elements = 256;
  static constexpr std::size_t sub_block_elements = SubBlockElements;
  static constexpr std::size_t sub_block_count = elements / sub_block_elements;
  using codes_t = std::array<std::uint8_t, elements>;

  /// Scale and min of all, and the numbers of each sub-block.
  struct choice {
    float16 scale{};
    float16 min{};
    sub_block_numbers scales{};
    sub_block_numbers mins{};
  };

  /// `values` are 1..256 finite numbers.
  ///
  /// First each sub-block gets the scale and min that fit it best on its own. Under the codes that it
  /// has then, its error is a square of scale and min, by which scales and mins of all and the numbers
  /// under them are chosen without a look at the values. What is chosen so is tried on the values, and
  /// chosen anew under the codes that result, as long as the error becomes less. It is never above that
  /// of the plain choice: every sub-block from lowest to highest value, the largest being
  /// LargestNumber.
  explicit offset_sub_blocks(std::span<const float> values, const block_packing& how = {}) noexcept
      : offset_sub_blocks(values, std::span<const float>(), 0.0F, how.search, nullptr) {
    const float factor = importance_factor(how.importance);
    if (status_ != pack_status::packed || factor == 0.0F) return;
    // What equal weights choose is not given up for what errs more.
    *this = offset_sub_blocks(values, how.importance, factor, how.search, &chosen_);
  }

  [[nodiscard]] pack_status status() const noexcept { return status_; }
  /// What follows holds only where the status is packed.
  [[nodiscard]] const choice& chosen() const noexcept { return chosen_; }
  /// The codes of all values; those of absent ones are 0.
  [[nodiscard]] codes_t codes() const noexcept {
    codes_t all{};
    for (std::size_t i = 0; i < used_; ++i) {
      const auto codes = grid_of(chosen_, i).codes_of(values_[i].all);
      for (std::size_t j = 0; j < values_[i].count; ++j) {
        all[sub_block_elements * i + j] = static_cast<std::uint8_t>(codes[j]);
      }
    }
    return all;
  }

 private:
  /// A search of few codes starts from fewer grids and keeps fewer candidates.
  static constexpr bool has_few_codes = LargestCode == 3;
  static constexpr auto most = static_cast<float>(LargestNumber);
  using sub_block_values = weighted_values<sub_block_elements>;

  offset_sub_blocks(std::span<const float> values, std::span<const float> importance, float factor,
                    packing_search search, const choice* other) noexcept {
    std::array<affine_grid, sub_block_count> full_range;
    float largest_scale = 0.0F;
    float largest_min = 0.0F;
    for (std::size_t at = 0; at < values.size(); at += sub_block_elements) {
      const std::size_t count = std::min<std::size_t>(sub_block_elements, values.size() - at);
      const auto of = values.subspan(at, count);
      values_[used_] = factor == 0.0F ? sub_block_values(of)
                                      : sub_block_values(of, importance.subspan(at, count), factor);
      full_range[used_] = full_range_grid(values_[used_]);
      largest_scale = std::max(largest_scale, full_range[used_].scale);
      largest_min = std::max(largest_min, -full_range[used_].min);
      ++used_;
    }
    const float16 first_scale = unit_of(largest_scale / most);
    const float16 first_min = unit_of(largest_min / most);
    if (!is_finite(first_scale)) status_ = pack_status::scale_overflow;
    if (!is_finite(first_min)) status_ = pack_status::min_overflow;
    if (status_ != pack_status::packed) return;
    chosen_ = nearest_choice(full_range, first_scale, first_min);
    least_error<choice> kept(chosen_, squared_error(chosen_));
    const auto offer = [&](const choice& found) { kept.offer(found, squared_error(found)); };
    if (other != nullptr) offer(*other);
    // Nothing of values below half a step of float16's is left under any scale.
    const bool is_tiny = largest_scale < 0x1p-30F && largest_min < 0x1p-30F;
    if (kept.error() != 0.0 && !is_tiny) {
      offer(search_choice(full_range, packing_search::fast));
      if (search == packing_search::best) offer(search_choice(full_range, packing_search::best));
    }
    chosen_ = kept.best();
  }

  static constexpr std::size_t group_count = sub_block_count / trial_lanes;
  using trials_of_groups = std::array<grid_trials, group_count>;
  using numbers_of_groups = std::array<lanes_of_floats, group_count>;

  /// As choice, in lanes.
  struct lane_choice {
    float scale = 0.0F;
    float min = 0.0F;
    numbers_of_groups scales{};
    numbers_of_groups mins{};
    double error = 0.0;  ///< that is expected or was found
  };

  /// The float16 nearest to a number that is not negative; above 0 where that is.
  [[nodiscard]] static float16 unit_of(float wanted) noexcept {
    const float16 unit = to_float16(wanted);
    return unit.bits == 0 && wanted > 0.0F ? float16{1} : unit;
  }

  /// Of the float16 that divide `wanted` into LargestNumber units or up to a quarter less, the one that
  /// comes closest to it: mins far from zero err by what their rounding to float16 does.
  [[nodiscard]] static float16 closest_unit(float wanted) noexcept {
    float16 closest = unit_of(wanted / most);
    double least = HUGE_VAL;
    for (int count = LargestNumber; count >= LargestNumber * 3 / 4 + 1; --count) {
      const float16 unit = unit_of(wanted / static_cast<float>(count));
      if (!is_finite(unit)) continue;
      const double reached = static_cast<double>(to_float32(unit)) * count;
      const double miss = std::fabs(reached - static_cast<double>(wanted));
      if (miss < least) {
        least = miss;
        closest = unit;
      }
    }
    return closest;
  }

  [[nodiscard]] static affine_grid grid_of(const choice& chosen, std::size_t i) noexcept {
    return {to_float32(chosen.scale) * static_cast<float>(chosen.scales[i]),
            -to_float32(chosen.min) * static_cast<float>(chosen.mins[i]), 0, LargestCode};
  }

  [[nodiscard]] double squared_error(const choice& chosen) const noexcept {
    double error = 0.0;
    for (std::size_t i = 0; i < used_; ++i) error += grid_of(chosen, i).squared_error(values_[i]);
    return error;
  }

  /// From the lowest value, or 0, to the highest.
  [[nodiscard]] static affine_grid full_range_grid(const sub_block_values& values) noexcept {
    const value_range range(values.all);
    const float lowest = range.lowest < 0.0F ? range.lowest : 0.0F;
    const float step = (range.highest - lowest) / static_cast<float>(LargestCode);
    return {range.highest > lowest ? step : 0.0F, lowest, 0, LargestCode};
  }

  /// The whole number of units nearest to what is not negative, at most LargestNumber.
  [[nodiscard]] static std::int8_t nearest_number(float value, float unit) noexcept {
    if (unit == 0.0F) return 0;
    const float number = value / unit + 0.5F;
    return static_cast<std::int8_t>(number > 0.0F ? (number < most ? number : most) : 0.0F);
  }

  /// The numbers nearest to each sub-block's own grid.
  [[nodiscard]] choice nearest_choice(std::span<const affine_grid> grids, float16 scale,
                                      float16 min) const noexcept {
    choice chosen{.scale = scale, .min = min};
    for (std::size_t i = 0; i < used_; ++i) {
      chosen.scales[i] = nearest_number(grids[i].scale, to_float32(scale));
      chosen.mins[i] = nearest_number(-grids[i].min, to_float32(min));
    }
    return chosen;
  }

  using group_trials = sub_block_trials<sub_block_elements>;
  using trials_of = std::array<group_trials, group_count>;

  /// The scale and min that fit each sub-block of a group best if both could be any; min is at most 0.
  [[nodiscard]] static grid_trials best_fits(const group_trials& trials,
                                             std::span<const affine_grid> full_range,
                                             packing_search search) noexcept {
    lanes_of_floats lowest{};
    lanes_of_floats width{};
    for (std::size_t lane = 0; lane < full_range.size(); ++lane) {
      lowest[lane] = full_range[lane].min;
      width[lane] = full_range[lane].scale * static_cast<float>(LargestCode);
    }
    const auto search_from = [&](const auto& shares, int turns) {
      const auto start = [&](std::size_t i, grid_trials& to) {
        const float below = shares.below[i / trial_lanes][i % trial_lanes];
        const float step = shares.step[i / trial_lanes][i % trial_lanes];
        for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
          const float scale = short_scale(width[lane] * step);
          // The product is exact.
          const float min = lowest[lane] + below * scale;
          to.scale[lane] = scale;
          to.min[lane] = min < 0.0F ? min : 0.0F;
        }
      };
      return trials.template search<min_at_most_zero, 0, LargestCode>(shares.count, start, turns);
    };
    constexpr auto code = static_cast<std::uint32_t>(LargestCode);
    if (search == packing_search::fast) {
      if constexpr (has_few_codes) {
        static constexpr range_shares<9> shares(code, regular_ends<3>(-0.25F, 0.375F));
        return search_from(shares, 1);
      } else {
        static constexpr auto& shares = codec_detail::fast_range_shares<code>;
        return search_from(shares, 2);
      }
    }
    static constexpr auto shares = range_shares<64>(
        code, has_few_codes ? regular_ends<8>(-0.5F, 0.1875F) : regular_ends<8>(-1.0F, 0.3125F));
    return search_from(shares, 4);
  }

  /// What a sub-block's squared error is under another scale and min and the same codes:
  /// sum w (d - s q - m)^2, s and m being the changes. Products of three are rounded in between, so that
  /// every one which meets a sum is exact.
  [[nodiscard]] static double expected_error(const grid_trials& of, std::size_t lane, float weight,
                                             float scale, float min) noexcept {
    const float s = scale - of.scale[lane];
    const float m = min - of.min[lane];
    const auto ss = static_cast<float>(exact_product(s, s));
    const auto sm = static_cast<float>(exact_product(s, m));
    const auto mm = static_cast<float>(exact_product(m, m));
    return double{of.dd[lane]} - 2.0 * exact_product(s, of.dq[lane]) -
           2.0 * exact_product(m, of.d[lane]) + exact_product(ss, of.qq[lane]) +
           2.0 * exact_product(sm, of.q[lane]) + exact_product(mm, weight);
  }

  /// Of numbers that are not negative the nearest whole ones, at most LargestNumber.
  NIBBLE_VECTOR_LOOP static void round_numbers(lanes_of_floats& numbers) noexcept {
    const lanes_of_floats limit = in_all_lanes(most);
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const float number = numbers[lane] + 0.5F;
      const float positive = number > 0.0F ? number : 0.0F;
      const float limited = positive < limit[lane] ? positive : limit[lane];
      numbers[lane] = static_cast<float>(static_cast<std::int32_t>(limited));
    }
  }

  /// Of each sub-block of a group the scale number `more` above the nearest one, the best min number
  /// beside it, and the error that both have for the codes of the trials; those that err less than
  /// `least` are kept.
  NIBBLE_VECTOR_LOOP static void offer_numbers(const grid_trials& of, const lanes_of_floats& weights,
                                               const lanes_of_floats& nearest, float more, float scale,
                                               float min, lanes_of_floats& scales,
                                               lanes_of_floats& mins, lanes_of_floats& least) noexcept {
    const lanes_of_floats limit = in_all_lanes(most);
    const float min_unit = min > 0.0F ? min : HUGE_VALF;
    lanes_of_floats s;
    lanes_of_floats m;
    lanes_of_floats error;
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const float number = nearest[lane] + more;
      const float positive = number > 0.0F ? number : 0.0F;
      s[lane] = positive < limit[lane] ? positive : limit[lane];
    }
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      const double rest =
          double{of.d[lane]} - exact_product(scale * s[lane] - of.scale[lane], of.q[lane]);
      m[lane] = -static_cast<float>(double{of.min[lane]} + rest / double{weights[lane]}) / min_unit;
    }
    round_numbers(m);
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      error[lane] = static_cast<float>(
          expected_error(of, lane, weights[lane], scale * s[lane], -(min * m[lane])));
    }
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      scales[lane] = error[lane] < least[lane] ? s[lane] : scales[lane];
      mins[lane] = error[lane] < least[lane] ? m[lane] : mins[lane];
      least[lane] = error[lane] < least[lane] ? error[lane] : least[lane];
    }
  }

  /// The numbers under a scale and a min of all with the least error for the codes of the trials.
  [[nodiscard]] static lane_choice choose_numbers(const trials_of& groups,
                                                  const trials_of_groups& trials, float scale,
                                                  float min) noexcept {
    lane_choice chosen{.scale = scale, .min = min};
    const float scale_unit = scale > 0.0F ? scale : HUGE_VALF;
    for (std::size_t group = 0; group < group_count; ++group) {
      const grid_trials& of = trials[group];
      lanes_of_floats nearest;
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
        nearest[lane] = of.scale[lane] / scale_unit;
      }
      round_numbers(nearest);
      lanes_of_floats least = in_all_lanes(HUGE_VALF);
      for (const float more : {0.0F, -1.0F, 1.0F}) {
        offer_numbers(of, groups[group].weight(), nearest, more, scale, min, chosen.scales[group],
                      chosen.mins[group], least);
      }
      for (const float each : least) chosen.error += double{each};
    }
    return chosen;
  }

  /// Gives a choice the scale and min of all that fit its numbers and the codes of the trials best.
  static void fit_units(const trials_of& groups, const trials_of_groups& trials,
                        lane_choice& chosen) noexcept {
    // Least squares of x = scale * a - min * b, with whole numbers a = s q and b = m.
    double aa = 0.0;
    double ab = 0.0;
    double bb = 0.0;
    double ax = 0.0;
    double bx = 0.0;
    for (std::size_t group = 0; group < group_count; ++group) {
      const grid_trials& of = trials[group];
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
        // sum w x and sum w x q, from what the values are more than the grid of the trial.
        const float weight = groups[group].weight()[lane];
        const auto x =
            static_cast<float>(double{of.d[lane]} + exact_product(of.scale[lane], of.q[lane]) +
                               exact_product(of.min[lane], weight));
        const auto xq =
            static_cast<float>(double{of.dq[lane]} + exact_product(of.scale[lane], of.qq[lane]) +
                               exact_product(of.min[lane], of.q[lane]));
        const float s = chosen.scales[group][lane];
        const float m = chosen.mins[group][lane];
        aa += exact_product(s * s, of.qq[lane]);
        ab += exact_product(s * m, of.q[lane]);
        bb += exact_product(m * m, weight);
        ax += exact_product(s, xq);
        bx += exact_product(m, x);
      }
    }
    // With the min as it is, then with the scale that came of it.
    const auto unit_from = [](double rest, double squared, float otherwise) {
      const float unit = nearest_float16(static_cast<float>(rest / squared));
      return squared > 0.0 && unit >= 0.0F && is_finite(unit) ? unit : otherwise;
    };
    const auto cross = static_cast<float>(ab);
    chosen.scale = unit_from(ax + exact_product(chosen.min, cross), aa, chosen.scale);
    chosen.min = unit_from(exact_product(chosen.scale, cross) - bx, bb, chosen.min);
  }

  /// Tries a choice on the values, and says what its error is.
  static void try_choice(const trials_of& groups, lane_choice& chosen,
                         trials_of_groups& trials) noexcept {
    chosen.error = 0.0;
    for (std::size_t group = 0; group < group_count; ++group) {
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
        trials[group].scale[lane] = chosen.scale * chosen.scales[group][lane];
        trials[group].min[lane] = -(chosen.min * chosen.mins[group][lane]);
      }
      groups[group].template attempt<0, LargestCode>(trials[group]);
      for (const float each : trials[group].dd) chosen.error += double{each};
    }
  }

  [[nodiscard]] choice search_choice(std::span<const affine_grid> full_range,
                                     packing_search search) const noexcept {
    const bool is_fast = search == packing_search::fast;
    const auto of_group = [&](std::size_t group, auto all) {
      const std::size_t first = std::min(group * trial_lanes, used_);
      return all.subspan(first, std::min(trial_lanes, used_ - first));
    };
    const auto groups = [&]<std::size_t... Group>(std::index_sequence<Group...>) {
      return trials_of{group_trials(of_group(Group, std::span(values_)))...};
    }
    (std::make_index_sequence<group_count>());
    trials_of_groups own;
    float largest_scale = 0.0F;
    float largest_min = 0.0F;
    for (std::size_t group = 0; group < group_count; ++group) {
      own[group] = best_fits(groups[group], of_group(group, full_range), search);
      for (std::size_t lane = 0; lane < of_group(group, full_range).size(); ++lane) {
        largest_scale = std::max(largest_scale, own[group].scale[lane]);
        largest_min = std::max(largest_min, -own[group].min[lane]);
      }
    }
    const auto attempt = [&](lane_choice& next, trials_of_groups& trials) {
      try_choice(groups, next, trials);
    };
    const auto renew = [&](const trials_of_groups& trials, lane_choice next) {
      fit_units(groups, trials, next);
      return choose_numbers(groups, trials, next.scale, next.min);
    };
    // Units by which the largest scale has one of the last numbers.
    best_two<lane_choice> best;
    const auto consider = [&](float16 scale_unit, float16 min_unit) {
      if (!is_finite(scale_unit) || !is_finite(min_unit)) return;
      const lane_choice next =
          choose_numbers(groups, own, to_float32(scale_unit), to_float32(min_unit));
      if (is_fast && has_few_codes) return best.offer(next);
      const lane_choice fitted = renew(own, next);
      best.offer(fitted.error < next.error ? fitted : next);
    };
    const float16 min = unit_of(largest_min / most);
    const int last_numbers = is_fast ? (has_few_codes ? 3 : 4) : LargestNumber / 4;
    for (int less = 0; less < last_numbers; ++less) {
      consider(unit_of(largest_scale / (most - static_cast<float>(less))), min);
    }
    consider(unit_of(largest_scale / most), closest_unit(largest_min));
    // The second best is rarely better in the end.
    const std::size_t kept_count = std::min<std::size_t>(best.kept().size(), is_fast ? 1 : 2);
    lane_choice kept = refine_candidates<trials_of_groups>(best.kept().first(kept_count),
                                                           is_fast ? 3 : 8, attempt, renew);
    if (!is_fast || !has_few_codes) {
      // Of 16 codes a number that is one off shows more than of 32.
      constexpr int fast_turns = LargestCode < 31 ? 2 : 1;
      improve_candidate<trials_of_groups>(
          kept, is_fast ? fast_turns : 4,
          [&](const lane_choice& centre, const auto& use) { for_each_neighbor(centre, is_fast, use); },
          attempt,
          [](const lane_choice& from, std::size_t group, std::size_t lane, lane_choice& to) {
            to.scales[group][lane] = from.scales[group][lane];
            to.mins[group][lane] = from.mins[group][lane];
          },
          [&](const trials_of_groups& trials, lane_choice& next) { fit_units(groups, trials, next); });
    }
    choice chosen{.scale = to_float16(kept.scale), .min = to_float16(kept.min)};
    for (std::size_t i = 0; i < used_; ++i) {
      chosen.scales[i] = static_cast<std::int8_t>(kept.scales[i / trial_lanes][i % trial_lanes]);
      chosen.mins[i] = static_cast<std::int8_t>(kept.mins[i / trial_lanes][i % trial_lanes]);
    }
    return chosen;
  }

  /// Calls use(other) for choices whose numbers are those of `centre` and the ones next to them: of scales and
  /// mins, or of one of them.
  static constexpr auto for_each_neighbor = [](const lane_choice& centre, bool only_one,
                                               const auto& use) {
    const auto moved = [](float number, float more) {
      const float next = number + more;
      return next < 0.0F ? 0.0F : next > most ? most : next;
    };
    for (const float more_s : {0.0F, -1.0F, 1.0F}) {
      for (const float more_m : {0.0F, -1.0F, 1.0F}) {
        if (only_one && (more_s == 0.0F) == (more_m == 0.0F)) continue;
        lane_choice other = centre;
        for (std::size_t group = 0; group < group_count; ++group) {
          for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
            other.scales[group][lane] = moved(other.scales[group][lane], more_s);
            other.mins[group][lane] = moved(other.mins[group][lane], more_m);
          }
        }
        use(other);
      }
    }
  };

  pack_status status_ = pack_status::packed;
  choice chosen_;
  std::size_t used_ = 0;
  std::array<sub_block_values, sub_block_count> values_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
