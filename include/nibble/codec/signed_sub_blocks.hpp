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
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/round_half_away.hpp>
#include <nibble/codec/short_scale.hpp>
#include <nibble/codec/signed_grid.hpp>
#include <nibble/codec/super_block_search.hpp>
#include <nibble/codec/vector_loop.hpp>
#include <nibble/codec/weighted_values.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 256 values in sixteen sub-blocks of 16, each on a grid scale * s * q, with s in LowestNumber ..
/// -LowestNumber - 1 of the sub-block, q in LowestCode .. -LowestCode - 1 and one float16 scale of all:
/// how Q3_K and Q6_K are packed.
template <int LowestCode, int LowestNumber>
class signed_sub_blocks {
 public:
  static constexpr std::size_t elements = 256;
  static constexpr std::size_t sub_block_elements = 16;
  static constexpr std::size_t sub_block_count = elements / sub_block_elements;
  using codes_t = std::array<std::int32_t, sub_block_elements>;

  /// `values` are 1..256 finite numbers.
  ///
  /// First each sub-block gets the scale that fits it best on its own. Under the codes that it has
  /// then, its error is a square of its scale, by which scales of all and the numbers under them are
  /// chosen without a look at the values. What is chosen so is tried on the values, and chosen anew
  /// under the codes that result, as long as the error becomes less. It is never above that of the plain
  /// choice: every sub-block with its largest magnitude at LowestCode, the largest being LowestNumber.
  explicit signed_sub_blocks(std::span<const float> values, const block_packing& how = {}) noexcept
      : signed_sub_blocks(values, std::span<const float>(), 0.0F, how.search, nullptr) {
    const float factor = importance_factor(how.importance);
    if (status_ != pack_status::packed || factor == 0.0F) return;
    // What equal weights choose is not given up for what errs more.
    *this = signed_sub_blocks(values, how.importance, factor, how.search, &chosen_);
  }

  [[nodiscard]] pack_status status() const noexcept { return status_; }
  /// What follows holds only where the status is packed.
  [[nodiscard]] float16 scale() const noexcept { return chosen_.scale; }
  [[nodiscard]] const sub_block_numbers& numbers() const noexcept { return chosen_.numbers; }
  /// The codes of sub-block i's values; all 0 where there are none.
  [[nodiscard]] codes_t codes(std::size_t i) const noexcept {
    if (i >= used_) return {};
    return grid_of(chosen_, i).codes_of(values_[i].all);
  }
  /// The codes of all values as they are stored, counted from the lowest; those of absent values are 0.
  [[nodiscard]] std::array<std::uint8_t, elements> stored_codes() const noexcept {
    std::array<std::uint8_t, elements> stored{};
    for (std::size_t i = 0; i < used_; ++i) {
      const codes_t some = codes(i);
      for (std::size_t k = 0; k < values_[i].count; ++k) {
        stored[sub_block_elements * i + k] = static_cast<std::uint8_t>(some[k] - LowestCode);
      }
    }
    return stored;
  }

 private:
  static constexpr auto lowest = static_cast<float>(LowestCode);
  static constexpr auto lowest_number = static_cast<float>(LowestNumber);
  static constexpr std::int32_t highest_code = -LowestCode - 1;
  /// A fast search of few codes does not look for better numbers one by one.
  static constexpr bool has_few_codes = LowestCode > -8;
  using sub_block_values = weighted_values<sub_block_elements>;
  using group_trials = sub_block_trials<sub_block_elements>;
  static constexpr std::size_t group_count = sub_block_count / trial_lanes;
  using trials_of = std::array<group_trials, group_count>;
  using trials_of_groups = std::array<grid_trials, group_count>;
  using scales_of_groups = std::array<lanes_of_floats, group_count>;

  /// A scale of all, and the number of each sub-block.
  struct choice {
    float16 scale{};
    sub_block_numbers numbers{};
  };
  /// As choice, in lanes.
  struct lane_choice {
    float scale = 0.0F;
    std::array<lanes_of_floats, group_count> numbers{};
    double error = 0.0;  ///< that is expected or was found
  };

  signed_sub_blocks(std::span<const float> values, std::span<const float> importance, float factor,
                    packing_search search, const choice* other) noexcept {
    std::array<float, sub_block_count> plain{};
    float largest = 0.0F;
    for (std::size_t at = 0; at < values.size(); at += sub_block_elements) {
      const std::size_t count = std::min(sub_block_elements, values.size() - at);
      const auto of = values.subspan(at, count);
      values_[used_] = factor == 0.0F ? sub_block_values(of)
                                      : sub_block_values(of, importance.subspan(at, count), factor);
      plain[used_] = farthest_from_zero(of) / lowest;
      if (std::fabs(plain[used_]) > std::fabs(largest)) largest = plain[used_];
      ++used_;
    }
    chosen_.scale = to_float16(largest / lowest_number);
    if (!is_finite(chosen_.scale)) {
      status_ = pack_status::scale_overflow;
      return;
    }
    for (std::size_t i = 0; i < used_; ++i) {
      chosen_.numbers[i] = nearest_number(plain[i], to_float32(chosen_.scale));
    }
    least_error<choice> kept(chosen_, squared_error(chosen_));
    const auto offer = [&](const choice& found) { kept.offer(found, squared_error(found)); };
    if (other != nullptr) offer(*other);
    // Nothing of values below half a step of float16's is left under any scale.
    if (kept.error() != 0.0 && std::fabs(largest) >= 0x1p-30F) {
      offer(search_choice(packing_search::fast));
      if (search == packing_search::best) offer(search_choice(packing_search::best));
    }
    chosen_ = kept.best();
  }

  [[nodiscard]] static affine_grid grid_of(const choice& chosen, std::size_t i) noexcept {
    return {to_float32(chosen.scale) * static_cast<float>(chosen.numbers[i]), 0.0F, LowestCode,
            highest_code};
  }

  [[nodiscard]] double squared_error(const choice& chosen) const noexcept {
    double error = 0.0;
    for (std::size_t i = 0; i < used_; ++i) error += grid_of(chosen, i).squared_error(values_[i]);
    return error;
  }

  /// The whole number of units nearest to a scale.
  [[nodiscard]] static std::int8_t nearest_number(float scale, float unit) noexcept {
    if (unit == 0.0F) return 0;
    const float number = round_half_away(scale / unit);
    return static_cast<std::int8_t>(std::min(std::max(number, lowest_number), -lowest_number - 1.0F));
  }

  /// The scale that fits each sub-block of a group best if it could be any.
  [[nodiscard]] static grid_trials best_fits(const group_trials& trials,
                                             std::span<const sub_block_values> values,
                                             packing_search search) noexcept {
    constexpr auto highest = static_cast<float>(highest_code);
    lanes_of_floats largest{};
    for (std::size_t lane = 0; lane < values.size(); ++lane) {
      largest[lane] = farthest_from_zero(values[lane].all);
    }
    const auto search_from = [&](const auto& places, int turns) {
      const auto start = [&](std::size_t i, grid_trials& to) {
        const float place = places.place[i / trial_lanes][i % trial_lanes];
        for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
          to.scale[lane] = short_scale(largest[lane] / place);
        }
      };
      return trials.template search<no_min, LowestCode, highest_code>(places.batches * trial_lanes,
                                                                      start, turns);
    };
    // Of few codes what lies far outside is lost.
    if (search == packing_search::fast) {
      static constexpr end_places<2> places = has_few_codes
                                                  ? end_places<2>(lowest, highest, 0.75F, 1.25F)
                                                  : end_places<2>(lowest, highest, 1.5F, 2.0F);
      return search_from(places, 1);
    }
    static constexpr end_places<6> places = has_few_codes ? end_places<6>(lowest, highest, 1.0F, 1.5F)
                                                          : end_places<6>(lowest, highest, 2.0F, 3.0F);
    return search_from(places, 4);
  }

  /// Of each sub-block of a group the number under a scale of all that is nearest to the scale which
  /// fits it, and the error that it has for the codes of the trials.
  NIBBLE_VECTOR_LOOP static void nearest_numbers(const grid_trials& of, const lanes_of_floats& fitted,
                                                 float scale, lanes_of_floats& numbers,
                                                 lanes_of_floats& error) noexcept {
    const float unit = scale == 0.0F ? HUGE_VALF : scale;
    const lanes_of_floats limit = in_all_lanes(-2.0F * lowest_number - 1.0F);
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      // By truncation, from 0 up; limited as floats, since a quotient may be beyond any integer.
      const float number = fitted[lane] / unit + (0.5F - lowest_number);
      const float positive = number > 0.0F ? number : 0.0F;
      const float limited = positive < limit[lane] ? positive : limit[lane];
      numbers[lane] = static_cast<float>(static_cast<std::int32_t>(limited)) + lowest_number;
    }
    for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
      // sum w (d - s q)^2, s being the change of the scale; the product of three is rounded in between,
      // so that every one which meets a sum is exact.
      const float s = scale * numbers[lane] - of.scale[lane];
      const auto ss = static_cast<float>(exact_product(s, s));
      error[lane] = static_cast<float>(double{of.dd[lane]} - 2.0 * exact_product(s, of.dq[lane]) +
                                       exact_product(ss, of.qq[lane]));
    }
  }

  /// The scale that fits each sub-block best for the codes of the trials.
  [[nodiscard]] static scales_of_groups fitted_scales(const trials_of_groups& trials) noexcept {
    scales_of_groups scales;
    for (std::size_t group = 0; group < group_count; ++group) {
      grid_trials fitted;
      no_min::fit(trials[group], trials[group].qq, as_it_is{}, fitted);
      scales[group] = fitted.scale;
    }
    return scales;
  }

  /// The numbers under a scale of all with the least error for the codes of the trials, which the
  /// fitted scales go with.
  [[nodiscard]] static lane_choice choose_numbers(const trials_of_groups& trials,
                                                  const scales_of_groups& fitted,
                                                  float scale) noexcept {
    lane_choice chosen{.scale = scale};
    for (std::size_t group = 0; group < group_count; ++group) {
      lanes_of_floats error;
      nearest_numbers(trials[group], fitted[group], scale, chosen.numbers[group], error);
      for (const float each : error) chosen.error += double{each};
    }
    return chosen;
  }

  /// Gives a choice the scale of all that fits its numbers and the codes of the trials best.
  static void fit_scale(const trials_of_groups& trials, lane_choice& chosen) noexcept {
    double products = 0.0;
    double squares = 0.0;
    for (std::size_t group = 0; group < group_count; ++group) {
      const grid_trials& of = trials[group];
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
        const auto xq =
            static_cast<float>(double{of.dq[lane]} + exact_product(of.scale[lane], of.qq[lane]));
        const float number = chosen.numbers[group][lane];
        products += exact_product(number, xq);
        squares += exact_product(number * number, of.qq[lane]);
      }
    }
    const float scale = nearest_float16(static_cast<float>(products / squares));
    if (squares > 0.0 && is_finite(scale)) chosen.scale = scale;
  }

  /// Tries a choice on the values, and says what its error is.
  static void try_choice(const trials_of& groups, lane_choice& chosen,
                         trials_of_groups& trials) noexcept {
    chosen.error = 0.0;
    for (std::size_t group = 0; group < group_count; ++group) {
      for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
        trials[group].scale[lane] = chosen.scale * chosen.numbers[group][lane];
        trials[group].min[lane] = 0.0F;
      }
      groups[group].template attempt<LowestCode, highest_code>(trials[group]);
      for (const float each : trials[group].dd) chosen.error += double{each};
    }
  }

  [[nodiscard]] choice search_choice(packing_search search) const noexcept {
    const bool is_fast = search == packing_search::fast;
    const auto of_group = [&](std::size_t group) {
      const std::size_t first = std::min(group * trial_lanes, used_);
      return std::span(values_).subspan(first, std::min(trial_lanes, used_ - first));
    };
    const auto groups = [&]<std::size_t... Group>(std::index_sequence<Group...>) {
      return trials_of{group_trials(of_group(Group))...};
    }
    (std::make_index_sequence<group_count>());
    trials_of_groups own;
    float largest = 0.0F;
    for (std::size_t group = 0; group < group_count; ++group) {
      own[group] = best_fits(groups[group], of_group(group), search);
      for (const float scale : own[group].scale) {
        if (std::fabs(scale) > std::fabs(largest)) largest = scale;
      }
    }
    const auto attempt = [&](lane_choice& next, trials_of_groups& trials) {
      try_choice(groups, next, trials);
    };
    const auto renew = [](const trials_of_groups& trials, lane_choice next) {
      fit_scale(trials, next);
      return choose_numbers(trials, fitted_scales(trials), next.scale);
    };
    const scales_of_groups own_fitted = fitted_scales(own);
    // Units by which the largest scale has one of the last numbers.
    best_two<lane_choice> best;
    const auto consider = [&](float number) {
      const float unit = nearest_float16(largest / number);
      if (!is_finite(unit)) return;
      const lane_choice next = choose_numbers(own, own_fitted, unit);
      if (is_fast) return best.offer(next);
      lane_choice fitted = next;
      fit_scale(own, fitted);
      fitted = choose_numbers(own, own_fitted, fitted.scale);
      best.offer(fitted.error < next.error ? fitted : next);
    };
    const float least_number = -lowest_number * (is_fast ? 0.75F : 0.5F);
    const float step = -lowest_number * (is_fast && has_few_codes ? 0.03125F : 0.015625F);
    for (float number = -lowest_number; number > least_number; number -= step) consider(-number);
    constexpr int fast_turns = has_few_codes ? 3 : 1;
    // The second best is rarely better in the end.
    const std::size_t kept_count = std::min<std::size_t>(best.kept().size(), is_fast ? 1 : 2);
    lane_choice kept = refine_candidates<trials_of_groups>(best.kept().first(kept_count),
                                                           is_fast ? fast_turns : 8, attempt, renew);
    if (!is_fast || !has_few_codes) {
      improve_candidate<trials_of_groups>(
          kept, is_fast ? 1 : 4,
          [&](const lane_choice& centre, const auto& use) {
            for_each_neighbor(centre, is_fast ? 1.0F : 3.0F, use);
          },
          attempt,
          [](const lane_choice& from, std::size_t group, std::size_t lane, lane_choice& to) {
            to.numbers[group][lane] = from.numbers[group][lane];
          },
          [](const trials_of_groups& trials, lane_choice& next) { fit_scale(trials, next); });
    }
    choice chosen{.scale = to_float16(kept.scale)};
    for (std::size_t i = 0; i < used_; ++i) {
      chosen.numbers[i] = static_cast<std::int8_t>(kept.numbers[i / trial_lanes][i % trial_lanes]);
    }
    return chosen;
  }

  /// Calls use(other) for choices whose numbers are those around the ones of `centre`, up to `most` away.
  static constexpr auto for_each_neighbor = [](const lane_choice& centre, float most, const auto& use) {
    for (const float more : {-1.0F, 1.0F, -2.0F, 2.0F, -3.0F, 3.0F}) {
      if (std::fabs(more) > most) return;
      lane_choice other = centre;
      for (auto& group : other.numbers) {
        for (float& number : group) {
          number = std::min(std::max(number + more, lowest_number), -lowest_number - 1.0F);
        }
      }
      use(other);
    }
  };

  pack_status status_ = pack_status::packed;
  choice chosen_;
  std::size_t used_ = 0;
  std::array<sub_block_values, sub_block_count> values_;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
