#include <nibble/codec/signed_sub_blocks.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/core/float16.hpp>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

using signed_sub_blocks = nibble::signed_sub_blocks<-32, -128>;

/// Sum of squared errors of sub-block i, by the formula in f64.
double error_of(const signed_sub_blocks& packed, std::span<const float> values, std::size_t i) {
  const double scale = static_cast<double>(nibble::to_float32(packed.scale())) * packed.numbers()[i];
  const auto codes = packed.codes(i);
  double error = 0.0;
  for (std::size_t k = 0; k < 16 && 16 * i + k < values.size(); ++k) {
    error += std::pow(static_cast<double>(values[16 * i + k]) - scale * codes[k], 2);
  }
  return error;
}

TEST_CASE("signed sub-blocks of very different size keep to their own grids", "[signed_sub_blocks]") {
  auto values = nibble_test::gaussian(256, 5, 1.0F);
  for (std::size_t j = 0; j < values.size(); ++j)
    values[j] *= std::ldexp(1.0F, -static_cast<int>(j / 64));
  const signed_sub_blocks packed(values);
  REQUIRE(packed.status() == nibble::pack_status::packed);
  for (std::size_t i = 0; i < 16; ++i) {
    double power = 0.0;
    for (std::size_t k = 0; k < 16; ++k) power += std::pow(static_cast<double>(values[16 * i + k]), 2);
    CAPTURE(i);
    CHECK(std::sqrt(error_of(packed, values, i) / power) < 0.05);
  }
}

TEST_CASE("the error is no more than with every sub-block on the scale of the largest",
          "[signed_sub_blocks]") {
  for (unsigned seed = 1; seed < 40; ++seed) {
    const auto values = nibble_test::heavy_tailed(256, seed);
    const signed_sub_blocks packed(values);
    REQUIRE(packed.status() == nibble::pack_status::packed);
    float largest = 0.0F;
    for (const float value : values) largest = std::max(largest, std::fabs(value));
    double error = 0.0;
    double plain = 0.0;
    for (std::size_t i = 0; i < 16; ++i) error += error_of(packed, values, i);
    // Nearest of 63 steps between the largest magnitudes, the numbers of all sub-blocks being alike.
    const double step = static_cast<double>(largest) / 31.0;
    for (const float value : values) {
      plain += std::pow(
          static_cast<double>(value) - step * std::round(static_cast<double>(value) / step), 2);
    }
    CAPTURE(seed);
    CHECK(error < plain);
  }
}

TEST_CASE("codes lie within their bits, and zeros and tiny values within theirs",
          "[signed_sub_blocks]") {
  for (const auto& values : {nibble_test::mixed_magnitudes(256, 2), std::vector<float>(256, -3.0F),
                             std::vector<float>(256, 0.0F), std::vector<float>(256, 1e-30F),
                             std::vector<float>(7, -1e-7F)}) {
    const signed_sub_blocks packed(values);
    REQUIRE(packed.status() == nibble::pack_status::packed);
    CHECK(nibble::is_finite(packed.scale()));
    for (std::size_t i = 0; i < 16; ++i) {
      for (const auto code : packed.codes(i)) CHECK((code >= -32 && code <= 31));
    }
  }
}

TEST_CASE("values beyond the scales of float16 are said to be", "[signed_sub_blocks]") {
  CHECK(signed_sub_blocks(std::vector<float>(256, 3e38F)).status() ==
        nibble::pack_status::scale_overflow);
}

}  // namespace
