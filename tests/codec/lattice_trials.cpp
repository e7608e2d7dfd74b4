#include <nibble/codec/lattice_trials.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>

#include <support/catch.hpp>

namespace {

std::array<float, 32> scattered_values(std::uint32_t seed, double offset) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(offset, 0.02);
  std::array<float, 32> values;
  for (float& value : values) value = static_cast<float>(normal(generator));
  return values;
}

/// Squared distances, in steps, from the points of a grid without ends.
double lattice_error(const std::array<float, 32>& values, double scale, double min) {
  double error = 0.0;
  for (const float value : values) {
    const double steps = (static_cast<double>(value) - min) / scale;
    error += std::pow(steps - std::nearbyint(steps), 2.0);
  }
  return error;
}

/// The least error of grids of all scales that are tried, each moved by all thirty-seconds of a step.
double least_lattice_error(const std::array<float, 32>& values, const nibble::value_range& range,
                           int first, int scales) {
  constexpr int parts = 32;
  const double width = static_cast<double>(range.highest) - static_cast<double>(range.lowest);
  double least = HUGE_VAL;
  for (int i = first; i < first + scales; ++i) {
    const double scale = width / (255.0 - i / 2.0);
    for (int part = 0; part < parts; ++part) {
      const double min = static_cast<double>(range.lowest) - scale * part / parts;
      least = std::min(least, lattice_error(values, scale, min));
    }
  }
  return least;
}

/// The least error of the grids that are found promising, divided by least_lattice_error of their scales.
double error_of_promising(std::size_t batches, std::uint32_t seed, double offset,
                          std::size_t before = 0) {
  const auto values = scattered_values(seed, offset);
  const nibble::value_range range(values);
  const auto grids = nibble::lattice_trials(values, range).promising(batches, before);
  double least = HUGE_VAL;
  for (std::size_t lane = 0; lane < nibble::trial_lanes; ++lane) {
    const double scale = static_cast<double>(grids.scale[lane]);
    const double min = static_cast<double>(grids.min[lane]);
    CHECK((static_cast<double>(range.lowest) - min) / scale > -0.51);
    CHECK((static_cast<double>(range.highest) - min) / scale < 255.51);
    CHECK(grids.scale[lane] == nibble::short_scale(grids.scale[lane]));
    if (lane >= 2) least = std::min(least, lattice_error(values, scale, min));
  }
  return least / least_lattice_error(values, range, static_cast<int>(16 * before),
                                     static_cast<int>(16 * batches));
}

TEST_CASE("lattice trials find scales and parts of a step that err little", "[lattice_trials]") {
  constexpr std::uint32_t seeds = 200;
  double sum = 0.0;
  for (std::uint32_t seed = 0; seed < seeds; ++seed) {
    for (const double error : {error_of_promising(2, seed, 0.0), error_of_promising(3, seed, 0.0),
                               error_of_promising(1, seed, 0.3), error_of_promising(2, seed, 0.0, 6)}) {
      // Waves are only like squared distances.
      CHECK(error < 1.2);
      sum += error;
    }
  }
  CHECK(sum / (4.0 * seeds) < 1.03);
}

TEST_CASE("lattice trials find the grid on which values lie", "[lattice_trials]") {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 generator(seed);
    const auto below = [&](unsigned count) { return static_cast<double>(generator() % count); };
    const double range_in_steps = 255.0 - below(32) / 2.0;
    const double moved = below(4) / 4.0;
    std::array<float, 32> values;
    for (float& value : values) {
      value = static_cast<float>(0.01 * (1.0 + below(239) - moved));
    }
    values[3] = 0.0F;
    values[17] = static_cast<float>(0.01 * range_in_steps);
    const auto grids = nibble::lattice_trials(values, nibble::value_range(values)).promising(2);
    double least = HUGE_VAL;
    for (std::size_t lane = 2; lane < nibble::trial_lanes; ++lane) {
      least = std::min(least, lattice_error(values, static_cast<double>(grids.scale[lane]),
                                            static_cast<double>(grids.min[lane])));
    }
    // But for the ends, which lie up to half a step from it.
    CHECK(least < 0.55);
  }
}

}  // namespace
