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

using nibble::offset_sub_blocks;

/// What the sub-blocks make of a value.
double decoded(const offset_sub_blocks& packed, std::size_t j) {
  return static_cast<double>(nibble::to_float32(packed.chosen().scale)) *
             packed.chosen().scales[j / 32] * packed.codes()[j] -
         static_cast<double>(nibble::to_float32(packed.chosen().min)) * packed.chosen().mins[j / 32];
}

TEST_CASE("sub-blocks of very different size keep to their own grids", "[offset_sub_blocks]") {
  auto values = nibble_test::gaussian(256, 5, 1.0F);
  for (std::size_t j = 0; j < values.size(); ++j)
    values[j] *= std::ldexp(1.0F, -static_cast<int>(j / 64));
  const offset_sub_blocks packed(values, 15);
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

TEST_CASE("absent values have codes of 0, and absent sub-blocks numbers of 0", "[offset_sub_blocks]") {
  const auto values = nibble_test::gaussian(256, 6);
  for (std::size_t count = 1; count <= 256; count += 17) {
    const std::span<const float> present(values.data(), count);
    const offset_sub_blocks packed(present, 31);
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
    for (const int largest_code : {15, 31}) {
      const offset_sub_blocks packed(values, largest_code);
      REQUIRE(packed.status() == nibble::pack_status::packed);
      CHECK(packed.chosen().scale.bits < 0x7C00U);
      CHECK(packed.chosen().min.bits < 0x7C00U);
      for (std::size_t i = 0; i < 8; ++i) {
        CHECK((packed.chosen().scales[i] >= 0 && packed.chosen().scales[i] <= 63 &&
               packed.chosen().mins[i] >= 0 && packed.chosen().mins[i] <= 63));
      }
      for (const auto code : packed.codes()) CHECK(code <= largest_code);
    }
  }
}

}  // namespace
