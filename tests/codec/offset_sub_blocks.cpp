#include <nibble/codec/offset_sub_blocks.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/core/float16.hpp>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

template <int LargestCode>
using offset_sub_blocks = nibble::offset_sub_blocks<32, 63, LargestCode>;

/// What the sub-blocks make of a value.
template <class Packed>
double decoded(const Packed& packed, std::size_t j) {
  return static_cast<double>(nibble::to_float32(packed.chosen().scale)) *
             packed.chosen().scales[j / 32] * packed.codes()[j] -
         static_cast<double>(nibble::to_float32(packed.chosen().min)) * packed.chosen().mins[j / 32];
}

TEST_CASE("sub-blocks of very different size keep to their own grids", "[offset_sub_blocks]") {
  auto values = nibble_test::gaussian(256, 5, 1.0F);
  for (std::size_t j = 0; j < values.size(); ++j)
    values[j] *= std::ldexp(1.0F, -static_cast<int>(j / 64));
  const offset_sub_blocks<15> packed(values);
  REQUIRE(packed.status() == nibble::pack_status::packed);
  for (std::size_t i = 0; i < 8; ++i) {
    double error = 0.0;
    double power = 0.0;
    for (std::size_t j = 32 * i; j < 32 * i + 32; ++j) {
      error += std::pow(static_cast<double>(values[j]) - decoded(packed, j), 2);
      power += std::pow(static_cast<double>(values[j]), 2);
    }
    CAPTURE(i);
    CHECK(std::sqrt(error / power) < 0.1);
  }
}

/// What 256 values err under any units for the numbers and codes that the sub-blocks have.
template <class Packed>
double squared_error(std::span<const float> values, const Packed& packed, double scale, double min) {
  const auto& scales = packed.chosen().scales;
  const auto& mins = packed.chosen().mins;
  const auto codes = packed.codes();
  double error = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double point = scale * scales[j / 32] * codes[j] - min * mins[j / 32];
    error += std::pow(static_cast<double>(values[j]) - point, 2);
  }
  return error;
}

/// The least that they can err, under units that need not be float16: the least squares of both at
/// once.
template <class Packed>
double least_squared_error(std::span<const float> values, const Packed& packed) {
  const auto& scales = packed.chosen().scales;
  const auto& mins = packed.chosen().mins;
  const auto codes = packed.codes();
  double aa = 0.0;
  double ab = 0.0;
  double bb = 0.0;
  double ax = 0.0;
  double bx = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double a = scales[j / 32] * codes[j];
    const double b = -mins[j / 32];
    const auto x = static_cast<double>(values[j]);
    aa += a * a;
    ab += a * b;
    bb += b * b;
    ax += a * x;
    bx += b * x;
  }
  const double determinant = aa * bb - ab * ab;
  if (determinant == 0.0) return squared_error(values, packed, ax / aa, 0.0);
  return squared_error(values, packed, (ax * bb - bx * ab) / determinant,
                       (bx * aa - ax * ab) / determinant);
}

TEST_CASE("units leave next to nothing to gain for the codes that were chosen", "[offset_sub_blocks]") {
  // Off centre, where scale and min depend on each other most. A scale or a min that is fitted with a
  // wrong sign leaves a fifth more to twice as much.
  const auto gain_of = []<int LargestCode>(float centre) {
    auto all = nibble_test::gaussian(256 * 200, 3);
    for (float& value : all) value += centre;
    double error = 0.0;
    double least = 0.0;
    for (std::size_t at = 0; at < all.size(); at += 256) {
      const auto values = std::span<const float>(all).subspan(at, 256);
      const offset_sub_blocks<LargestCode> packed(values);
      error +=
          squared_error(values, packed, static_cast<double>(nibble::to_float32(packed.chosen().scale)),
                        static_cast<double>(nibble::to_float32(packed.chosen().min)));
      least += least_squared_error(values, packed);
    }
    return error / least;
  };
  CHECK(gain_of.operator()<15>(0.05F) < 1.01);
  CHECK(gain_of.operator()<31>(0.05F) < 1.01);
  CHECK(gain_of.operator()<15>(-0.05F) < 1.01);
  CHECK(gain_of.operator()<31>(-0.05F) < 1.01);
}

TEST_CASE("absent values have codes of 0, and absent sub-blocks numbers of 0", "[offset_sub_blocks]") {
  const auto values = nibble_test::gaussian(256, 6);
  for (std::size_t count = 1; count <= 256; count += 17) {
    const std::span<const float> present(values.data(), count);
    const offset_sub_blocks<31> packed(present);
    REQUIRE(packed.status() == nibble::pack_status::packed);
    for (std::size_t j = count; j < 256; ++j) CHECK(packed.codes()[j] == 0);
    for (std::size_t i = (count + 31) / 32; i < 8; ++i)
      CHECK((packed.chosen().scales[i] == 0 && packed.chosen().mins[i] == 0));
  }
}

TEST_CASE("numbers and codes lie within their bits, units are no negative numbers",
          "[offset_sub_blocks]") {
  for (const auto& values :
       {nibble_test::heavy_tailed(256, 1), nibble_test::mixed_magnitudes(256, 2),
        std::vector<float>(256, -3.0F), std::vector<float>(256, 3.0F), std::vector<float>(256, 0.0F),
        std::vector<float>(256, 1e-30F), std::vector<float>(256, -1e-7F)}) {
    const auto require_within = [&]<int LargestCode>() {
      const offset_sub_blocks<LargestCode> packed(values);
      REQUIRE(packed.status() == nibble::pack_status::packed);
      CHECK(packed.chosen().scale.bits < 0x7C00U);
      CHECK(packed.chosen().min.bits < 0x7C00U);
      for (std::size_t i = 0; i < 8; ++i) {
        CHECK((packed.chosen().scales[i] >= 0 && packed.chosen().scales[i] <= 63 &&
               packed.chosen().mins[i] >= 0 && packed.chosen().mins[i] <= 63));
      }
      for (const auto code : packed.codes()) CHECK(code <= LargestCode);
    };
    require_within.operator()<15>();
    require_within.operator()<31>();
  }
}

}  // namespace
