#include <nibble/codec/min_max_grid.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <codec/block_distributions.hpp>
#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace {

using nibble::min_max_grid;
using nibble::pack_status;
using nibble_test::binary16;

double value(nibble::float16 of) { return nibble_test::value_of(binary16, of.bits); }

/// The float16 one code nearer to zero or farther from it.
double neighbour(nibble::float16 of, int codes) {
  return nibble_test::value_of(binary16, static_cast<std::uint16_t>(of.bits + codes));
}

TEST_CASE("no value lies outside its grid, and the grid is the tightest that float16 has",
          "[min_max_grid]") {
  std::size_t grids = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (std::size_t count = 1; count <= 32; count += at == 0 ? 1 : 31) {
        for (const std::uint32_t largest_code : {15U, 255U}) {
          const auto values = std::span(of.values).subspan(at, count);
          const min_max_grid grid(values, largest_code);
          INFO(of.name << ", block at " << at << " of " << count << ", largest code " << largest_code);
          if (grid.status != pack_status::packed) FAIL("refused");
          const auto lowest = static_cast<double>(*std::ranges::min_element(values));
          const auto highest = static_cast<double>(*std::ranges::max_element(values));
          const double min = value(grid.min);
          const double scale = value(grid.scale);
          const double codes = largest_code;

          if (!(min <= lowest)) FAIL("min " << min << " above the lowest value " << lowest);
          const double next_min = min < 0.0 ? (grid.min.bits == 0x8001U ? 0.0 : neighbour(grid.min, -1))
                                            : neighbour(grid.min, 1);
          if (!(next_min > lowest)) FAIL("min " << min << " is more than a step below " << lowest);

          // Exact in double: multiples of 2^-24 below 2^25.
          if (!(codes * scale + min >= highest)) FAIL("the grid ends below " << highest);
          if (scale > 0.0 && codes * neighbour(grid.scale, -1) + min >= highest)
            FAIL("a lesser scale reaches");
          if (!(scale <= (highest - min) / codes * (1.0 + 0x1p-10) + 0x1p-24)) FAIL("scale " << scale);
          if (std::signbit(min) && min == 0.0) FAIL("min is minus zero");
          if (std::signbit(scale)) FAIL("scale is negative");
          ++grids;
        }
      }
    }
  }
  CHECK(grids > 1000);
}

TEST_CASE("every value gets the nearest grid point", "[min_max_grid]") {
  std::size_t codes_checked = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::uint32_t largest_code : {15U, 255U}) {
      for (std::size_t at = 0; at < of.values.size(); at += 32) {
        const auto values = std::span(of.values).subspan(at, 32);
        const min_max_grid grid(values, largest_code);
        std::array<std::uint8_t, 32> codes{};
        grid.code(values, codes);
        const double scale = value(grid.scale);
        for (std::size_t j = 0; j < 32; ++j) {
          const auto x = static_cast<double>(values[j]);
          const auto distance = [&](double code) {
            return std::fabs(scale * code + value(grid.min) - x);
          };
          const double chosen = codes[j];
          if (chosen > largest_code) FAIL(of.name << ": code " << chosen);
          // f32 division may take either side of a tie, within a few of its roundings.
          const double tie = scale * 0x1p-14;
          const bool is_nearest =
              (chosen == 0 || distance(chosen) <= distance(chosen - 1) + tie) &&
              (chosen == largest_code || distance(chosen) <= distance(chosen + 1) + tie);
          if (!is_nearest) FAIL(of.name << ": element " << at + j << " of " << largest_code);
          ++codes_checked;
        }
      }
    }
  }
  CHECK(codes_checked > 20000);
}

TEST_CASE("the range of values is found wherever its ends stand", "[min_max_grid]") {
  for (std::size_t count = 1; count <= 32; ++count) {
    auto values = nibble_test::gaussian(count, static_cast<std::uint32_t>(count));
    for (std::size_t at = 0; at < count; ++at) {
      auto marked = values;
      marked[at] = -9.0F;
      marked[(at + count / 2) % count] += 20.0F;
      const nibble::value_range range(marked);
      CHECK(range.lowest == *std::ranges::min_element(marked));
      CHECK(range.highest == *std::ranges::max_element(marked));
    }
  }
}

TEST_CASE("with a margin no value lies more than that many steps outside the grid", "[min_max_grid]") {
  std::size_t grids = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      const auto values = std::span(of.values).subspan(at, 32);
      for (const std::uint32_t largest_code : {15U, 255U}) {
        for (const auto& [below, above] :
             {std::pair{0.5F, 0.5F}, {0.5F, 0.0F}, {0.0F, 0.5F}, {0.25F, 0.125F}}) {
          const min_max_grid grid(nibble::value_range(values), largest_code, {below, above});
          INFO(of.name << ", block at " << at << ", margins " << below << " and " << above);
          if (grid.status != pack_status::packed) FAIL("refused");
          const auto lowest = static_cast<double>(*std::ranges::min_element(values));
          const auto highest = static_cast<double>(*std::ranges::max_element(values));
          const double min = value(grid.min);
          const double scale = value(grid.scale);
          const double steps = largest_code + static_cast<double>(above);
          // The lower end passes through double arithmetic; the upper one is exact.
          if (!(lowest >= min - static_cast<double>(below) * scale - 1e-12 * std::fabs(min)))
            FAIL("below");
          if (!(highest <= min + steps * scale)) FAIL("above");
          if (!(scale <= (highest - min) / steps * (1.0 + 0x1p-10) + 0x1p-24)) FAIL("scale " << scale);
          const double step = (highest - lowest) / (steps + static_cast<double>(below));
          const double wanted_min = lowest + static_cast<double>(below) * step;
          if (!(min <= wanted_min)) FAIL("min " << min << " above " << wanted_min);
          const double next_min = min < 0.0 ? (grid.min.bits == 0x8001U ? 0.0 : neighbour(grid.min, -1))
                                            : neighbour(grid.min, 1);
          if (!(next_min > wanted_min)) FAIL("min " << min << " is more than a step low");
          ++grids;
        }
      }
    }
  }
  CHECK(grids > 2000);
}

TEST_CASE("a grid's squared error is that of the codes it gives", "[min_max_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (const std::size_t count : {1U, 3U, 8U, 31U, 32U}) {
        const auto values = std::span(of.values).subspan(at, count);
        for (const float margin : {0.0F, 0.5F}) {
          const min_max_grid grid(nibble::value_range(values), 15, {margin, margin});
          if (grid.scale.bits == 0) continue;
          std::array<std::uint8_t, 32> codes{};
          grid.code(values, codes);
          double expected = 0.0;
          double roundings = 0.0;
          for (std::size_t j = 0; j < count; ++j) {
            const auto x = static_cast<double>(values[j]);
            const double difference = x - (value(grid.scale) * codes[j] + value(grid.min));
            expected += difference * difference;
            // Two roundings to f32: of the decoded value and of the difference.
            const double rounding = 0x1p-23 * (std::fabs(x) + std::fabs(difference));
            roundings += rounding * (2 * std::fabs(difference) + rounding);
          }
          const double found = grid.squared_error(values);
          if (!(std::fabs(found - expected) <= roundings + 1e-13 * expected)) {
            FAIL(of.name << ", block at " << at << " of " << count << ": " << found << " for "
                         << expected);
          }
        }
      }
    }
  }
  SUCCEED("every distribution");
}

TEST_CASE("coding writes as many codes as there are values", "[min_max_grid]") {
  const auto values = nibble_test::gaussian(32, 9);
  for (std::size_t count = 1; count <= 32; ++count) {
    const auto some = std::span(values).first(count);
    const min_max_grid grid(some, 15);
    std::array<std::uint8_t, 32> codes;
    codes.fill(0xEE);
    grid.code(some, codes);
    for (std::size_t j = 0; j < 32; ++j) CHECK((codes[j] == 0xEE) == (j >= count));
  }
}

TEST_CASE("one value for all needs no steps where float16 has it", "[min_max_grid]") {
  const std::vector<float> values(32, 0.5F);
  const min_max_grid grid(values, 15);
  CHECK(grid.status == pack_status::packed);
  CHECK(grid.scale.bits == 0x0000U);
  CHECK(grid.min.bits == 0x3800U);
}

TEST_CASE("a grid says which of its numbers float16 cannot hold", "[min_max_grid]") {
  const auto status_of = [](std::vector<float> values, std::uint32_t largest_code) {
    return min_max_grid(values, largest_code).status;
  };
  CHECK(status_of({-65504.0F, 65504.0F}, 255) == pack_status::packed);
  CHECK(status_of({-65505.0F}, 255) == pack_status::min_overflow);
  CHECK(status_of({-1e38F, 1e38F}, 255) == pack_status::min_overflow);
  CHECK(status_of({0.0F, 982560.0F}, 15) == pack_status::packed);
  CHECK(status_of({0.0F, 982560.0625F}, 15) == pack_status::scale_overflow);
  CHECK(status_of({0.0F, 982560.0625F}, 255) == pack_status::packed);
  CHECK(status_of({3.4e38F}, 255) == pack_status::scale_overflow);
}

}  // namespace
