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

TEST_CASE("the best signed grid errs no more than the plain ones", "[signed_grid]") {
  static constexpr nibble::end_places<2> places(-8.0F, 7.0F, 1.0F, 2.0F);
  const auto best_of = [](const values_t& values, std::span<const affine_grid> plain) {
    return nibble::best_signed_grid<-8, 7>(values, plain, places, 2, nibble::to_nearest_float16{});
  };
  for (const auto& of : nibble_test::block_distributions()) {
    const values_t values(std::span(of.values).first(32));
    const float farthest = nibble::farthest_from_zero(values.all);
    const std::array plain = {affine_grid{nibble::nearest_float16(farthest / -8.0F), 0.0F, -8, 7},
                              affine_grid{nibble::nearest_float16(farthest / 7.0F), 0.0F, -8, 7}};
    const affine_grid best = best_of(values, plain);
    for (const affine_grid& other : plain) {
      CHECK(best.squared_error(values) <= other.squared_error(values));
    }
    CHECK(best.scale == nibble::nearest_float16(best.scale));
  }
  const std::array<float, 32> zeros{};
  const affine_grid none{0.0F, 0.0F, -8, 7};
  CHECK(best_of(values_t(std::span<const float>(zeros)), std::span(&none, 1)).scale == 0.0F);
}

TEST_CASE("values are packed under a float16 scale, absent ones as 0", "[signed_grid]") {
  static constexpr std::array places = {-8.0F, 7.0F};
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {1U, 9U, 32U}) {
      CAPTURE(of.name, count);
      const auto values = std::span<const float>(of.values).first(count);
      const auto packed = nibble::pack_signed_grid<-8, 7>(values, 8, places);
      REQUIRE(packed.status == nibble::pack_status::packed);
      const affine_grid grid{nibble::to_float32(packed.scale), 0.0F, -8, 7};
      for (std::size_t j = 0; j < 32; ++j) {
        CHECK(packed.codes[j] == (j < count ? grid.code_of(values[j]) + 8 : 0));
      }
    }
  }
  const std::array far = {1.0F, 65521.0F * -8.0F};
  CHECK(nibble::pack_signed_grid<-8, 7>(far, 8, places).status == nibble::pack_status::scale_overflow);
}

}  // namespace
