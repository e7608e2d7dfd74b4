#include <nibble/codec/short_scale.hpp>

#include <cmath>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

TEST_CASE("a short scale lies less than 2^-15 of a scale nearer to zero", "[short_scale]") {
  for (const float scale : nibble_test::mixed_magnitudes(4096, 1)) {
    const float shorter = nibble::short_scale(scale);
    CAPTURE(scale);
    CHECK(std::fabs(shorter) <= std::fabs(scale));
    CHECK(std::signbit(shorter) == std::signbit(scale));
    CHECK(std::fabs(static_cast<double>(scale) - shorter) <=
          std::ldexp(std::fabs(static_cast<double>(scale)), -15));
  }
}

TEST_CASE("its products with codes of 8 bits are exact", "[short_scale]") {
  for (const float scale : nibble_test::gaussian(512, 2)) {
    const float shorter = nibble::short_scale(scale);
    for (int code = -128; code <= 255; code += 3) {
      CHECK(static_cast<double>(shorter * static_cast<float>(code)) ==
            static_cast<double>(shorter) * code);
    }
  }
}

}  // namespace
