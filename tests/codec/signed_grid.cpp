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

using nibble::signed_grid;
using values_t = std::span<const float, 32>;

TEST_CASE("every value gets the nearest code of a signed grid", "[signed_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    const values_t values(of.values.data(), 32);
    const float farthest = nibble::farthest_from_zero(values);
    for (const float place : {-8.0F, 7.0F, -6.5F, 3.0F}) {
      const signed_grid grid{nibble::nearest_float16(farthest / place), -8, 7};
      const auto codes = grid.codes_of(values);
      double total = 0.0;
      for (std::size_t j = 0; j < 32; ++j) {
        const auto error_of = [&](int code) {
          return std::fabs(static_cast<double>(values[j]) - static_cast<double>(grid.scale) * code);
        };
        double least = error_of(0);
        for (int code = -8; code <= 7; ++code) least = std::min(least, error_of(code));
        // A quotient of f32 may fall on the other side of a tie.
        if (!(error_of(codes[j]) <= least + 0x1p-18 * std::fabs(static_cast<double>(grid.scale)))) {
          FAIL(fmt::format("{}: {} has code {} under {}", of.name, values[j], codes[j], grid.scale));
        }
        if (codes[j] < -8 || codes[j] > 7) FAIL("code outside");
        total += error_of(codes[j]) * error_of(codes[j]);
      }
      CHECK(std::fabs(grid.squared_error(values) - total) <= total * 0x1p-20);
    }
  }
}

TEST_CASE("quotients beyond any integer get the codes at the ends", "[signed_grid]") {
  std::array<float, 32> values{};
  values[0] = 3e38F;
  values[1] = -3e38F;
  const signed_grid grid{0x1p-24F, -8, 7};
  const auto codes = grid.codes_of(values_t(values));
  CHECK(codes[0] == 7);
  CHECK(codes[1] == -8);
  CHECK(codes[2] == 0);
}

TEST_CASE("a fitted scale errs no more than those around it under the same codes", "[signed_grid]") {
  for (const auto& of : nibble_test::block_distributions()) {
    const values_t values(of.values.data(), 32);
    const signed_grid grid{nibble::nearest_float16(nibble::farthest_from_zero(values) / -8.0F), -8, 7};
    const auto codes = grid.codes_of(values);
    const auto fitted = static_cast<double>(grid.fitted_scale(values));
    const auto error_of = [&](double scale) {
      double total = 0.0;
      for (std::size_t j = 0; j < 32; ++j) {
        const double difference = static_cast<double>(values[j]) - scale * codes[j];
        total += difference * difference;
      }
      return total;
    };
    for (const double factor : {0.99, 0.9999, 1.0001, 1.01}) {
      CAPTURE(of.name, factor);
      CHECK(error_of(fitted) <= error_of(fitted * factor) * (1.0 + 1e-9));
    }
  }
}

TEST_CASE("the best signed grid errs no more than any place on its ladder", "[signed_grid]") {
  static constexpr std::array places = {-8.0F, -7.5F, 7.0F};
  for (const auto& of : nibble_test::block_distributions()) {
    const values_t values(of.values.data(), 32);
    const auto best = nibble::best_signed_grid(values, -8, 7, places, nibble::nearest_float16);
    for (const float place : places) {
      const signed_grid other{nibble::nearest_float16(nibble::farthest_from_zero(values) / place), -8,
                              7};
      CHECK(best.squared_error(values) <= other.squared_error(values));
    }
  }
  const std::array<float, 32> zeros{};
  CHECK(nibble::best_signed_grid(values_t(zeros), -8, 7, places, nibble::nearest_float16).scale ==
        0.0F);
}

TEST_CASE("values are packed under a float16 scale, absent ones as 0", "[signed_grid]") {
  static constexpr std::array places = {-8.0F, 7.0F};
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count : {1U, 9U, 32U}) {
      CAPTURE(of.name, count);
      const auto values = std::span<const float>(of.values).first(count);
      const auto packed = nibble::pack_signed_grid(values, -8, 7, places);
      REQUIRE(packed.status == nibble::pack_status::packed);
      const signed_grid grid{nibble::to_float32(packed.scale), -8, 7};
      std::array<float, 32> padded{};
      std::ranges::copy(values, padded.begin());
      CHECK(packed.codes == grid.codes_of(values_t(padded)));
      for (std::size_t j = count; j < 32; ++j) CHECK(packed.codes[j] == 0);
    }
  }
  const std::array far = {1.0F, 65521.0F * -8.0F};
  CHECK(nibble::pack_signed_grid(far, -8, 7, places).status == nibble::pack_status::scale_overflow);
}

}  // namespace
