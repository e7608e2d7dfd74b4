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

using nibble::affine_grid;
using nibble::weighted_values;

/// The plain grid from lowest to highest value, under float16.
affine_grid plain_grid(std::span<const float> values, std::int32_t largest_code) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {nibble::nearest_float16((*high - *low) / static_cast<float>(largest_code)),
          nibble::nearest_float16(*low), 0, largest_code};
}

TEST_CASE("the best offset grid errs no more than the plain one", "[offset_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::int32_t largest_code : {15, 31}) {
      for (const std::size_t count : {1U, 9U, 32U}) {
        const auto values = std::span(of.values).first(count);
        const auto best = nibble::pack_offset_grid(values, static_cast<std::uint32_t>(largest_code));
        REQUIRE(best.status == nibble::pack_status::packed);
        const weighted_values<32> own(values);
        const double plain = plain_grid(values, largest_code).squared_error(own);
        CHECK(best.grid.squared_error(own) <= plain);
        CHECK(best.grid.scale == nibble::nearest_float16(best.grid.scale));
        CHECK(best.grid.min == nibble::nearest_float16(best.grid.min));
        const auto codes = best.grid.codes_of(own.all);
        for (std::size_t j = 0; j < 32; ++j) CHECK(best.codes[j] == (j < count ? codes[j] : 0));
      }
    }
  }
}

}  // namespace
