#include <nibble/codec/offset_grid.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include <fmt/format.h>

#include <codec/block_distributions.hpp>
#include <support/catch.hpp>

namespace {

using nibble::offset_grid;
using nibble::offset_values;

/// The plain grid from lowest to highest value, under float16.
offset_grid plain_grid(std::span<const float> values, std::int32_t largest_code) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {nibble::nearest_float16((*high - *low) / static_cast<float>(largest_code)),
          nibble::nearest_float16(*low), largest_code};
}

TEST_CASE("every value gets the nearest code of an offset grid, absent ones none of the error",
          "[offset_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {1U, 3U, 31U, 32U}) {
      const auto values = std::span(of.values).first(count);
      const offset_grid grid = plain_grid(values, 15);
      const offset_values own(values);
      const auto codes = grid.codes_of(own);
      double total = 0.0;
      double roundings = 0.0;
      for (std::size_t j = 0; j < count; ++j) {
        const auto value = static_cast<double>(values[j]);
        const auto error_of = [&](int code) {
          const double point = static_cast<double>(grid.scale) * code + static_cast<double>(grid.min);
          return std::fabs(value - static_cast<double>(static_cast<float>(point)));
        };
        double least = error_of(0);
        for (int code = 0; code <= 15; ++code) least = std::min(least, error_of(code));
        const double slack = 0x1p-18 * static_cast<double>(grid.scale) + 0x1p-22 * std::fabs(value);
        if (!(error_of(codes[j]) <= least + slack)) {
          FAIL(fmt::format("{}: {} has code {}", of.name, values[j], codes[j]));
        }
        total += error_of(codes[j]) * error_of(codes[j]);
        roundings += 0x1p-44 * value * value;
      }
      CHECK(std::fabs(grid.squared_error(own) - total) <= total * 0x1p-20 + roundings);
    }
  }
}

TEST_CASE("a fitted grid errs no more than those around it under the same codes", "[offset_grid]") {
  const auto same = [](float value) { return value; };
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {2U, 7U, 32U}) {
      const auto values = std::span(of.values).first(count);
      const offset_grid grid = plain_grid(values, 15);
      const offset_values own(values);
      const auto codes = grid.codes_of(own);
      for (const float highest_min : {3e38F, 0.0F}) {
        const offset_grid fitted = grid.fitted(own, highest_min, same);
        if (fitted.scale == grid.scale && fitted.min == grid.min) continue;
        if (!(fitted.min <= highest_min)) FAIL("min " << fitted.min);
        const auto error_of = [&](double scale, double min) {
          double total = 0.0;
          for (std::size_t j = 0; j < count; ++j) {
            const double difference = static_cast<double>(values[j]) - (scale * codes[j] + min);
            total += difference * difference;
          }
          return total;
        };
        const auto scale = static_cast<double>(fitted.scale);
        const auto min = static_cast<double>(fitted.min);
        double size = 0.0;
        for (const float value : values) size = std::max(size, std::fabs(static_cast<double>(value)));
        // scale and min are rounded to f32.
        const double slack = static_cast<double>(count) * std::pow(size * 0x1p-20, 2);
        for (const double step : {-0.01 * scale, 0.01 * scale}) {
          CAPTURE(of.name, count, step);
          CHECK(error_of(scale, min) <= error_of(scale + step, min) * (1 + 1e-6) + slack);
          if (min + step <= static_cast<double>(highest_min)) {
            CHECK(error_of(scale, min) <= error_of(scale, min + step) * (1 + 1e-6) + slack);
          }
        }
      }
    }
  }
}

TEST_CASE("the best offset grid errs no more than the plain one", "[offset_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::int32_t largest_code : {15, 31}) {
      for (const std::size_t count : {1U, 9U, 32U}) {
        const auto values = std::span(of.values).first(count);
        const auto best = nibble::best_offset_grid(values, largest_code);
        REQUIRE(best.status == nibble::pack_status::packed);
        const offset_values own(values);
        const double plain = plain_grid(values, largest_code).squared_error(own);
        CHECK(best.grid.squared_error(own) <= plain);
        CHECK(best.grid.scale == nibble::nearest_float16(best.grid.scale));
        CHECK(best.grid.min == nibble::nearest_float16(best.grid.min));
        const auto codes = best.grid.codes_of(own);
        for (std::size_t j = 0; j < 32; ++j) CHECK(best.codes[j] == (j < count ? codes[j] : 0));
      }
    }
  }
}

}  // namespace
