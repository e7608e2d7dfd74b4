#include <nibble/core/float8.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <support/catch.hpp>

using nibble::encoding;
using nibble::float8_values;

namespace {

/// A code's value by the definition, in f64.
double defined_value(unsigned code, int exponent_bits, int mantissa_bits, int bias) {
  const int exponent = static_cast<int>(code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const double fraction =
      std::ldexp(static_cast<double>(code & ((1U << mantissa_bits) - 1U)), -mantissa_bits);
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1.0 + fraction, exponent - bias);
  return (code >> (exponent_bits + mantissa_bits) & 1U) != 0 ? -magnitude : magnitude;
}

bool is_same(float found, double expected) {
  if (std::isnan(expected)) return std::isnan(found);
  return std::bit_cast<std::uint32_t>(found) ==
         std::bit_cast<std::uint32_t>(static_cast<float>(expected));
}

constexpr double no_number = std::numeric_limits<double>::quiet_NaN();
constexpr double endless = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("all codes of 8-bit floats have the values that define them", "[float8]") {
  for (unsigned code = 0; code < 256; ++code) {
    CAPTURE(code);
    const bool is_negative = code >= 128;
    // OCP: the largest magnitude is NaN, and nothing is infinite.
    CHECK(is_same((*float8_values(encoding::f8_e4m3))[code],
                  (code & 127U) == 127U ? no_number : defined_value(code, 4, 3, 7)));
    const unsigned top = code & 127U;
    const double e5m2 = top > 124    ? no_number
                        : top == 124 ? (is_negative ? -endless : endless)
                                     : defined_value(code, 5, 2, 15);
    CHECK(is_same((*float8_values(encoding::f8_e5m2))[code], e5m2));
    CHECK(is_same((*float8_values(encoding::f8_e4m3fnuz))[code],
                  code == 128 ? no_number : defined_value(code, 4, 3, 8)));
    CHECK(is_same((*float8_values(encoding::f8_e5m2fnuz))[code],
                  code == 128 ? no_number : defined_value(code, 5, 2, 16)));
    CHECK(is_same((*float8_values(encoding::f8_e8m0))[code],
                  code == 255 ? no_number : std::ldexp(1.0, static_cast<int>(code) - 127)));
  }
}

TEST_CASE("the ends of 8-bit floats are those that are published", "[float8]") {
  CHECK((*float8_values(encoding::f8_e4m3))[0x7E] == 448.0F);
  CHECK((*float8_values(encoding::f8_e4m3))[0x01] == 0x1p-9F);
  CHECK((*float8_values(encoding::f8_e5m2))[0x7B] == 57344.0F);
  CHECK((*float8_values(encoding::f8_e5m2))[0x01] == 0x1p-16F);
  CHECK((*float8_values(encoding::f8_e4m3fnuz))[0x7F] == 240.0F);
  CHECK((*float8_values(encoding::f8_e5m2fnuz))[0x7F] == 57344.0F);
  CHECK((*float8_values(encoding::f8_e8m0))[0] == 0x1p-127F);
  CHECK((*float8_values(encoding::f8_e8m0))[254] == 0x1p127F);
  CHECK(float8_values(encoding::u8) == nullptr);
}

TEST_CASE("nibbles of E2M1 are the sixteen values of OCP", "[float8]") {
  constexpr float values[] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  for (std::uint32_t code = 0; code < 8; ++code) {
    CHECK(nibble::small_float_value(nibble::e2m1_layout, code) == values[code]);
    const float negative = nibble::small_float_value(nibble::e2m1_layout, code + 8);
    CHECK(negative == -values[code]);
    CHECK(std::signbit(negative));
  }
}
