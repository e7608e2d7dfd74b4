/// What packing_search::best finds, beside the least error that scales and mins of float16 allow, found by
/// trying them.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/q4.hpp>
#include <nibble/codec/q4_0.hpp>
#include <nibble/codec/q8.hpp>

#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

/// The float16 values from one to another, 0 left out.
std::vector<double> float16_between(double least, double most) {
  std::vector<double> all;
  for (std::uint32_t code = 0; code <= 0xFFFFU; ++code) {
    const double value = nibble_test::value_of(nibble_test::binary16, static_cast<std::uint16_t>(code));
    if (value != 0.0 && least <= value && value <= most) all.push_back(value);
  }
  return all;
}

/// Every scale of either sign.
double least_signed_error(std::span<const float> values) {
  const double farthest = std::fabs(nibble_test::farthest(values));
  double least = HUGE_VAL;
  for (const double magnitude : float16_between(0.5 * farthest / 8.0, 1.5 * farthest / 7.0)) {
    for (const double scale : {magnitude, -magnitude}) {
      double error = 0.0;
      for (const float value : values) {
        error += nibble_test::nearest_error(static_cast<double>(value), scale, 0.0, -8, 7);
      }
      least = std::min(least, error);
    }
  }
  return least;
}

struct offset_line {
  double scale;
  double min;
};

double offset_error(std::span<const float> values, const offset_line& line, int largest_code) {
  double error = 0.0;
  for (const float value : values) {
    error +=
        nibble_test::nearest_error(static_cast<double>(value), line.scale, line.min, 0, largest_code);
  }
  return error;
}

/// The line of least squares through the codes that values have on another one.
offset_line refitted(std::span<const float> values, const offset_line& from, int largest_code) {
  double n = 0.0, q_sum = 0.0, qq_sum = 0.0, x_sum = 0.0, xq_sum = 0.0;
  for (const float value : values) {
    const auto x = static_cast<double>(value);
    const double q = std::clamp<double>(std::nearbyint((x - from.min) / from.scale), 0.0, largest_code);
    n += 1.0;
    q_sum += q;
    qq_sum += q * q;
    x_sum += x;
    xq_sum += x * q;
  }
  const double determinant = n * qq_sum - q_sum * q_sum;
  if (!(determinant > 0.0)) return from;
  const double scale = (n * xq_sum - q_sum * x_sum) / determinant;
  return {scale, (x_sum - scale * q_sum) / n};
}

/// The error of a line that float16 holds, the best of those around one that it may not.
double error_around(std::span<const float> values, const offset_line& line, int largest_code) {
  double least = HUGE_VAL;
  const int nearest = nibble_test::nearest_code(nibble_test::binary16, line.scale);
  for (int code = std::max(nearest - 1, 1); code <= nearest + 1; ++code) {
    const double scale = nibble_test::value_of(nibble_test::binary16, static_cast<std::uint16_t>(code));
    if (!(scale > 0.0)) continue;
    double mean = 0.0;  // of what codes leave, the min that this scale wants
    for (const float value : values) {
      const auto x = static_cast<double>(value);
      mean += x - scale * std::clamp<double>(std::nearbyint((x - line.min) / scale), 0.0, largest_code);
    }
    mean /= static_cast<double>(values.size());
    const int near = nibble_test::nearest_code(nibble_test::binary16, mean);
    for (int at = std::max(near - 1, 0); at <= near + 1; ++at) {
      const double min = nibble_test::value_of(nibble_test::binary16, static_cast<std::uint16_t>(at));
      if (!std::isfinite(min)) continue;
      least = std::min(least, offset_error(values, {scale, min}, largest_code));
    }
  }
  return least;
}

/// A dense grid of ends of the line, up to a third of the range inside and a step outside, each refitted.
double least_offset_error(std::span<const float> values, int largest_code, int steps) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const auto lowest = static_cast<double>(*low);
  const double range = static_cast<double>(*high) - lowest;
  const double outside = range / largest_code;
  const double inside = range / 3.0;
  const auto end = [&](int i) { return (inside + outside) * i / (steps - 1) - outside; };
  double least = HUGE_VAL;
  for (int i = 0; i < steps; ++i) {
    for (int j = 0; j < steps; ++j) {
      offset_line line{(range - end(i) - end(j)) / largest_code, lowest + end(i)};
      for (int turn = 0; turn < 2; ++turn) line = refitted(values, line, largest_code);
      if (line.scale > 0.0) least = std::min(least, error_around(values, line, largest_code));
    }
  }
  return least;
}

/// Every scale from a little below that of the range to a third above it, and every min (of too many every
/// few) with which the grid reaches over the values: what counts is how its points happen to fall on them.
double least_error_of_lines(std::span<const float> values, int largest_code) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const auto lowest = static_cast<double>(*low);
  const auto highest = static_cast<double>(*high);
  const double step = (highest - lowest) / largest_code;
  double least = HUGE_VAL;
  for (const double scale : float16_between(0.985 * step, 1.333 * step)) {
    // The same points meet all values with every min in the reach of the grid; rounded, they differ.
    const std::vector<double> mins =
        float16_between(highest - largest_code * scale - 1.5 * scale, lowest + 1.5 * scale);
    const std::size_t stride = mins.size() / 2048 + 1;
    for (std::size_t i = 0; i < mins.size(); i += stride) {
      least = std::min(least, offset_error(values, {scale, mins[i]}, largest_code));
    }
  }
  return least;
}

/// Weights as they are, with tails, and with one value far from all others.
std::vector<std::vector<float>> sampled_blocks() {
  constexpr std::size_t blocks = 8;
  std::vector<std::vector<float>> sampled;
  for (int kind = 0; kind < 3; ++kind) {
    std::vector<float> values =
        kind == 1 ? nibble_test::heavy_tailed(32 * blocks, 41) : nibble_test::gaussian(32 * blocks, 42);
    for (std::size_t at = 0; at < values.size(); at += 32) {
      if (kind == 2) values[at + at / 32 * 5 % 32] = 0.4F;
      sampled.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(at),
                           values.begin() + static_cast<std::ptrdiff_t>(at + 32));
    }
  }
  return sampled;
}

/// Holds the root of the summed squares against that of what a search by hand leaves, which is to reach a
/// share of it.
template <class Codec, class Least>
void require_near_least(const char* encoding, double reach, const Least& least) {
  double found = 0.0;
  double possible = 0.0;
  for (const std::vector<float>& values : sampled_blocks()) {
    typename Codec::block block;
    REQUIRE(Codec::pack(values, block, {.search = nibble::packing_search::best}) ==
            nibble::pack_status::packed);
    const auto bytes = nibble_test::bytes_of(block);
    const nibble_test::independent_decoder decoded(encoding, bytes, 32);
    double error = 0.0;
    double norm = 0.0;
    for (std::size_t j = 0; j < values.size(); ++j) {
      const double off = static_cast<double>(values[j]) - static_cast<double>(decoded(0, j));
      error += off * off;
      norm += static_cast<double>(values[j]) * static_cast<double>(values[j]);
    }
    // Relative, so that blocks of tails count as others do.
    found += error / norm;
    possible += least(values) / norm;
  }
  CAPTURE(std::sqrt(found), std::sqrt(possible));
  CHECK(std::sqrt(found) <= 1.005 * std::sqrt(possible));
  // Were it far below, what was searched by hand would not be exhaustive.
  CHECK(std::sqrt(found) >= reach * std::sqrt(possible));
}

}  // namespace

TEST_CASE("best finds within half a per cent of what a dense search finds", "[packing_search]") {
  require_near_least<nibble::q4_0>(
      "q4_0", 0.999, [](std::span<const float> values) { return least_signed_error(values); });
  require_near_least<nibble::q4>(
      "q4", 0.999, [](std::span<const float> values) { return least_offset_error(values, 15, 48); });
  require_near_least<nibble::q8>(
      "q8", 0.999, [](std::span<const float> values) { return least_error_of_lines(values, 255); });
}
