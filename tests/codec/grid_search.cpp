#include <nibble/codec/grid_search.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>

#include <nibble/core/float16.hpp>

#include <support/catch.hpp>

namespace {

struct line {
  double scale;
  double min;
};

/// Random values and codes, as sums of trials of scale 0 and min 0: then what codes change is the value.
struct tried_codes {
  std::array<double, 24> values{};
  std::array<double, 24> codes{};
  std::array<double, 24> weights{};

  explicit tried_codes(std::uint32_t seed) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    for (std::size_t j = 0; j < values.size(); ++j) {
      codes[j] = static_cast<double>(generator() % 16U);
      weights[j] = 0.25 + static_cast<double>(generator() % 8U);
      values[j] = 0.3 * codes[j] + normal(generator) - 1.0;
    }
  }
  template <class Term>
  [[nodiscard]] double sum(const Term& term) const {
    double total = 0.0;
    for (std::size_t j = 0; j < values.size(); ++j) {
      total += weights[j] * term(values[j], codes[j]);
    }
    return total;
  }
  [[nodiscard]] double error(const line& of) const {
    return sum([&](double x, double q) { return std::pow(x - of.scale * q - of.min, 2.0); });
  }
  [[nodiscard]] nibble::grid_trials trials() const {
    nibble::grid_trials all;
    all.d = nibble::in_all_lanes(static_cast<float>(sum([](double x, double) { return x; })));
    all.dq = nibble::in_all_lanes(static_cast<float>(sum([](double x, double q) { return x * q; })));
    all.dd = nibble::in_all_lanes(static_cast<float>(sum([](double x, double) { return x * x; })));
    all.q = nibble::in_all_lanes(static_cast<float>(sum([](double, double q) { return q; })));
    all.qq = nibble::in_all_lanes(static_cast<float>(sum([](double, double q) { return q * q; })));
    return all;
  }
  [[nodiscard]] nibble::lanes_of_floats weight() const {
    return nibble::in_all_lanes(static_cast<float>(sum([](double, double) { return 1.0; })));
  }
};

template <class Fit>
line fitted_line(const tried_codes& of) {
  nibble::grid_trials fitted;
  Fit::fit(of.trials(), of.weight(), nibble::as_it_is{}, fitted);
  return {static_cast<double>(fitted.scale[3]), static_cast<double>(fitted.min[3])};
}

/// No step from the fitted line makes the error less.
void require_least(const tried_codes& of, const line& fitted, bool moves_min, double highest_min) {
  const double least = of.error(fitted);
  for (const double step : {-1e-2, 1e-2}) {
    CHECK(of.error({fitted.scale + step, fitted.min}) > least);
    if (!moves_min) continue;
    if (fitted.min + step <= highest_min) CHECK(of.error({fitted.scale, fitted.min + step}) > least);
  }
}

}  // namespace

TEST_CASE("rounding to float16 without branches is rounding to float16", "[grid_search]") {
  std::mt19937 generator(5);
  const nibble::to_nearest_float16 round;
  const auto check = [&](float value) {
    if (std::isnan(value)) return;
    const float expected = nibble::to_float32(nibble::to_float16(value));
    if (std::bit_cast<std::uint32_t>(round(value)) == std::bit_cast<std::uint32_t>(expected)) return;
    CAPTURE(value, round(value), expected);
    CHECK(round(value) == expected);
  };
  for (std::uint32_t half = 0; half < 0x7C00U;
       ++half) {  // the middle between neighbours, and beside it
    const float low = nibble::to_float32(nibble::float16{static_cast<std::uint16_t>(half)});
    const float high = nibble::to_float32(nibble::float16{static_cast<std::uint16_t>(half + 1U)});
    const float middle = std::isinf(high) ? 65520.0F : low + (high - low) / 2.0F;
    for (const float value :
         {low, middle, std::nextafter(middle, 0.0F), std::nextafter(middle, 1e6F)}) {
      check(value);
      check(-value);
    }
  }
  for (int turn = 0; turn < 200000; ++turn) {
    check(std::bit_cast<float>(static_cast<std::uint32_t>(generator())));
  }
}

TEST_CASE("fits leave the least squares, and say beforehand what they leave", "[grid_search]") {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    const tried_codes of(seed);
    const line free = fitted_line<nibble::free_min>(of);
    require_least(of, free, true, HUGE_VAL);
    require_least(of, fitted_line<nibble::no_min>(of), false, 0.0);
    CHECK(fitted_line<nibble::no_min>(of).min == 0.0);
    const line limited = fitted_line<nibble::min_at_most_zero>(of);
    CHECK(limited.min <= 0.0);
    require_least(of, limited, true, 0.0);
    nibble::lanes_of_floats left;
    nibble::free_min::remaining(of.trials(), of.weight(), left);
    const double weight = static_cast<double>(of.weight()[0]);
    CHECK(std::fabs(static_cast<double>(left[0]) - weight * of.error(free)) <
          1e-3 * weight * of.error(free));
  }
}

TEST_CASE("each lane keeps the lesser of two trials", "[grid_search]") {
  nibble::grid_trials kept{};
  nibble::grid_trials other{};
  nibble::lanes_of_floats errors = nibble::in_all_lanes(2.0F);
  nibble::lanes_of_floats less = nibble::in_all_lanes(3.0F);
  less[1] = 1.0F;
  less[2] = 2.0F;
  kept.scale = nibble::in_all_lanes(10.0F);
  other.scale = nibble::in_all_lanes(20.0F);
  other.qq = nibble::in_all_lanes(4.0F);
  nibble::keep_lesser(other, less, kept, errors);
  for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
    CHECK(kept.scale[lane] == (lane == 1 ? 20.0F : 10.0F));
    CHECK(kept.qq[lane] == (lane == 1 ? 4.0F : 0.0F));
    CHECK(errors[lane] == (lane == 1 ? 1.0F : 2.0F));
  }
}
