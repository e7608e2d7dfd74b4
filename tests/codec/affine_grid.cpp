#include <nibble/codec/affine_grid.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/float16.hpp>

#include <codec/block_distributions.hpp>
#include <support/catch.hpp>

namespace {

using nibble::affine_grid;
using nibble::weighted_values;

/// Grids of either sign, with and without min, some that reach over the values and some that do not.
std::vector<affine_grid> grids_around(std::span<const float> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const float farthest = std::fabs(*low) > std::fabs(*high) ? *low : *high;
  std::vector<affine_grid> grids;
  for (const float place : {-8.0F, 7.0F, -6.5F, 3.0F}) {
    grids.push_back({nibble::nearest_float16(farthest / place), 0.0F, -8, 7});
  }
  for (const std::int32_t top : {3, 15, 31, 255}) {
    for (const float share : {1.0F, 0.75F, 1.25F}) {
      grids.push_back({nibble::nearest_float16((*high - *low) / static_cast<float>(top) * share),
                       nibble::nearest_float16(*low), 0, top});
    }
  }
  return grids;
}

TEST_CASE("every value gets the nearest code of a grid, and an error counts as its weight says",
          "[affine_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {1U, 3U, 31U, 32U}) {
      const auto values = std::span(of.values).first(count);
      std::vector<float> importance(count);
      for (std::size_t j = 0; j < count; ++j) importance[j] = static_cast<float>(j % 5) * 0.75F;
      const bool has_weights = count > 1;
      const weighted_values<32> own =
          has_weights ? weighted_values<32>(values, importance, 0.5F) : weighted_values<32>(values);
      for (const affine_grid& grid : grids_around(values)) {
        const auto codes = grid.codes_of(own.all);
        double total = 0.0;
        double roundings = 0.0;
        for (std::size_t j = 0; j < count; ++j) {
          const auto value = static_cast<double>(values[j]);
          const auto error_of = [&](int code) {
            const double point = static_cast<double>(grid.scale) * code + static_cast<double>(grid.min);
            return std::fabs(value - static_cast<double>(static_cast<float>(point)));
          };
          double least = error_of(0);
          for (int code = grid.lowest; code <= grid.highest; ++code) {
            least = std::min(least, error_of(code));
          }
          // A quotient of f32 may fall on the other side of a tie.
          const double slack =
              0x1p-15 * std::fabs(static_cast<double>(grid.scale)) + 0x1p-22 * std::fabs(value);
          if (!(error_of(codes[j]) <= least + slack)) {
            FAIL(fmt::format("{}: {} has code {} under {} {}", of.name, values[j], codes[j], grid.scale,
                             grid.min));
          }
          if (codes[j] < grid.lowest || codes[j] > grid.highest) FAIL("code outside");
          CHECK(grid.code_of(values[j]) == codes[j]);
          const double weight = has_weights ? static_cast<double>(importance[j]) * 0.5 : 1.0;
          total += weight * error_of(codes[j]) * error_of(codes[j]);
          roundings += 0x1p-44 * value * value;
        }
        CHECK(std::fabs(grid.squared_error(own) - total) <= total * 0x1p-20 + roundings);
      }
    }
  }
}

TEST_CASE("quotients beyond any integer get the codes at the ends, and a scale of 0 none",
          "[affine_grid]") {
  const affine_grid grid{0x1p-24F, 0.0F, -8, 7};
  CHECK(grid.code_of(3e38F) == 7);
  CHECK(grid.code_of(-3e38F) == -8);
  CHECK(grid.code_of(0.0F) == 0);
  const affine_grid flat{0.0F, 1.5F, 0, 15};
  CHECK(flat.code_of(3e38F) == 0);
  CHECK(flat.value_of(0) == 1.5F);
  CHECK(affine_grid{-2.0F, 0.0F, -8, 7}.code_of(5.0F) == -2);
  CHECK(affine_grid{-2.0F, 0.0F, -8, 7}.value_of(-2) == 4.0F);
}

}  // namespace
