#include <nibble/codec/grid_trials.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <random>

#include <nibble/codec/short_scale.hpp>

#include <support/catch.hpp>

namespace {

constexpr std::size_t tried_values = 32;
using tried_t = std::array<float, tried_values>;

bool is_within(double found, double expected, double share, double size) {
  return std::fabs(found - expected) <= share * size;
}

}  // namespace

TEST_CASE("a number is cut to so many bits towards zero", "[grid_trials]") {
  CHECK(nibble::cut_to_bits<8>(1.0F) == 1.0F);
  CHECK(nibble::cut_to_bits<8>(1.9999999F) == 1.9921875F);
  CHECK(nibble::cut_to_bits<8>(-1.9999999F) == -1.9921875F);
  CHECK(nibble::cut_to_bits<1>(7.0F) == 4.0F);
  CHECK(nibble::in_all_lanes(2.5F) ==
        nibble::lanes_of_floats{2.5F, 2.5F, 2.5F, 2.5F, 2.5F, 2.5F, 2.5F, 2.5F});
}

TEST_CASE("trials sum up what f64 does, for codes nearest to the values", "[grid_trials]") {
  std::mt19937 generator(3);
  std::normal_distribution<float> normal;
  for (int turn = 0; turn < 300; ++turn) {
    const float size = std::ldexp(1.0F, static_cast<int>(generator() % 40U) - 30);
    tried_t values;
    tried_t weights;
    for (float& value : values) value = normal(generator) * size;
    for (float& weight : weights) {
      weight = nibble::cut_to_bits<8>(std::fabs(normal(generator)) + 0.01F);
    }
    nibble::grid_trials trials;
    for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
      trials.scale[lane] = nibble::short_scale(size * (0.1F + 0.05F * static_cast<float>(lane)));
      trials.min[lane] = -size * static_cast<float>(lane) * 0.25F;
    }
    nibble::grid_trials found = trials;
    nibble::try_grids<-4, 11, tried_values>(
        found, [&](std::size_t j, std::size_t) { return values[j]; },
        [&](std::size_t j, std::size_t) { return weights[j]; });
    CHECK(found.scale == trials.scale);
    CHECK(found.min == trials.min);
    for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
      const double scale = static_cast<double>(trials.scale[lane]);
      const double min = static_cast<double>(trials.min[lane]);
      double d = 0.0;
      double dq = 0.0;
      double dd = 0.0;
      double q = 0.0;
      double qq = 0.0;
      double all_d = 0.0;
      double all_dq = 0.0;
      for (std::size_t j = 0; j < tried_values; ++j) {
        const double x = static_cast<double>(values[j]);
        const double w = static_cast<double>(weights[j]);
        const double code = std::clamp(std::floor((x - min) / scale + 0.5), -4.0, 11.0);
        const double change = x - (scale * code + min);
        d += w * change;
        dq += w * change * code;
        dd += w * change * change;
        q += w * code;
        qq += w * code * code;
        all_d += w * std::fabs(change);
        all_dq += w * std::fabs(change * code);
      }
      // Half-way values may have either code; none of these random ones is so near.
      CHECK(is_within(static_cast<double>(found.d[lane]), d, 1e-4, all_d));
      CHECK(is_within(static_cast<double>(found.dq[lane]), dq, 1e-4, all_dq));
      CHECK(is_within(static_cast<double>(found.dd[lane]), dd, 1e-3, dd));
      CHECK(is_within(static_cast<double>(found.q[lane]), q, 1e-5, 11.0 * tried_values));
      CHECK(is_within(static_cast<double>(found.qq[lane]), qq, 1e-5, qq));
    }
  }
}

TEST_CASE("a scale of 0 gives all values the lowest code or the highest", "[grid_trials]") {
  const tried_t values{};
  nibble::grid_trials trials;
  nibble::try_grids<0, 15, tried_values>(
      trials, [&](std::size_t j, std::size_t) { return values[j]; },
      [](std::size_t, std::size_t) { return 1.0F; });
  for (const float error : trials.dd) CHECK(error == 0.0F);
}

TEST_CASE("equal weights give the bits that weights of 1 give", "[grid_trials]") {
  std::mt19937 generator(11);
  std::normal_distribution<float> normal;
  tried_t values;
  for (float& value : values) value = normal(generator);
  nibble::grid_trials equal;
  for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
    equal.scale[lane] = nibble::short_scale(0.1F + 0.07F * static_cast<float>(lane));
    equal.min[lane] = -1.5F;
  }
  nibble::grid_trials weighted = equal;
  const auto value = [&](std::size_t j, std::size_t) { return values[j]; };
  nibble::try_grids<0, 15, tried_values>(equal, value, nibble::equal_weights{});
  nibble::try_grids<0, 15, tried_values>(weighted, value,
                                         [](std::size_t, std::size_t) { return 1.0F; });
  CHECK(equal.d == weighted.d);
  CHECK(equal.dq == weighted.dq);
  CHECK(equal.dd == weighted.dd);
  CHECK(equal.q == weighted.q);
  CHECK(equal.qq == weighted.qq);
}

TEST_CASE("trials that count errors alone count them as others do", "[grid_trials]") {
  std::mt19937 generator(12);
  std::normal_distribution<float> normal;
  tried_t values;
  tried_t weights;
  for (float& value : values) value = normal(generator);
  for (float& weight : weights) weight = nibble::cut_to_bits<8>(std::abs(normal(generator)));
  nibble::grid_trials all;
  for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
    all.scale[lane] = nibble::short_scale(0.1F + 0.07F * static_cast<float>(lane));
    all.min[lane] = -1.5F;
  }
  const auto value = [&](std::size_t j, std::size_t) { return values[j]; };
  const auto check = [&](const auto& weight) {
    nibble::grid_trials counted = all;
    nibble::grid_trials errors = all;
    nibble::try_grids<0, 15, tried_values>(counted, value, weight);
    nibble::try_grids<0, 15, tried_values, nibble::trial_sums::errors>(errors, value, weight);
    CHECK(errors.dd == counted.dd);
    CHECK(errors.scale == all.scale);
    CHECK(errors.min == all.min);
  };
  check(nibble::equal_weights{});
  check([&](std::size_t j, std::size_t) { return weights[j]; });
}
