#include <nibble/codec/signed_grid.hpp>

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
using values_t = nibble::weighted_values<32>;

TEST_CASE("the best signed grid errs no more than any place on its ladder", "[signed_grid]") {
  static constexpr std::array places = {-8.0F, -7.5F, 7.0F};
  for (const auto& of : nibble_test::block_distributions()) {
    const values_t values(std::span(of.values).first(32));
    const auto best = nibble::best_signed_grid(values, -8, 7, places, nibble::nearest_float16);
    for (const float place : places) {
      const affine_grid other{nibble::nearest_float16(nibble::farthest_from_zero(values.all) / place),
                              0.0F, -8, 7};
      CHECK(best.squared_error(values) <= other.squared_error(values));
    }
  }
  const std::array<float, 32> zeros{};
  CHECK(nibble::best_signed_grid(values_t(std::span<const float>(zeros)), -8, 7, places,
                                 nibble::nearest_float16)
            .scale == 0.0F);
}

TEST_CASE("values are packed under a float16 scale, absent ones as 0", "[signed_grid]") {
  static constexpr std::array places = {-8.0F, 7.0F};
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {1U, 9U, 32U}) {
      CAPTURE(of.name, count);
      const auto values = std::span<const float>(of.values).first(count);
      const auto packed = nibble::pack_signed_grid(values, -8, 7, 8, places);
      REQUIRE(packed.status == nibble::pack_status::packed);
      const affine_grid grid{nibble::to_float32(packed.scale), 0.0F, -8, 7};
      for (std::size_t j = 0; j < 32; ++j) {
        CHECK(packed.codes[j] == (j < count ? grid.code_of(values[j]) + 8 : 0));
      }
    }
  }
  const std::array far = {1.0F, 65521.0F * -8.0F};
  CHECK(nibble::pack_signed_grid(far, -8, 7, 8, places).status == nibble::pack_status::scale_overflow);
}

}  // namespace
