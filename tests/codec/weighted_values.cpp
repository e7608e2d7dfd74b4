#include <nibble/codec/weighted_values.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <random>
#include <vector>

#include <support/catch.hpp>

namespace {

using nibble::importance_factor;
using nibble::power_of_two_over;

}  // namespace

TEST_CASE("the factor of importance is a power of two that brings the largest to 1 or more",
          "[weighted_values]") {
  std::mt19937 generator(1);
  for (int turn = 0; turn < 500; ++turn) {
    const float number = std::ldexp(1.0F + static_cast<float>(generator() % 1000U) / 1000.0F,
                                    static_cast<int>(generator() % 250U) - 125);
    const float factor = power_of_two_over(number);
    CAPTURE(number, factor);
    int exponent = 0;
    CHECK(std::frexp(factor, &exponent) == 0.5F);
    CHECK(number * factor >= 1.0F);
    CHECK(number * factor < 2.0F);
  }
  CHECK(std::isfinite(power_of_two_over(std::numeric_limits<float>::denorm_min())));
  CHECK(power_of_two_over(std::numeric_limits<float>::max()) > 0.0F);
  CHECK(importance_factor({}) == 0.0F);
  CHECK(importance_factor(std::array{0.0F, 0.0F}) == 0.0F);
  CHECK(importance_factor(std::array{0.0F, 3.0F, 0.25F}) == 0.5F);
}

TEST_CASE("spare places count nothing, and what counts least counts a little", "[weighted_values]") {
  const std::vector<float> values{5.0F, -2.0F, 7.0F};
  const nibble::weighted_values<16> equal(values);
  CHECK(equal.count == 3);
  for (std::size_t j = 0; j < 16; ++j) {
    CHECK(equal.all[j] == (j < 3 ? values[j] : 5.0F));
    CHECK(equal.weights[j] == (j < 3 ? 1.0F : 0.0F));
  }
  const nibble::weighted_values<16> weighted(values, std::array{0.0F, 4.0F, 1e-30F}, 0.25F);
  CHECK(weighted.weights[0] == 0x1p-40F);
  CHECK(weighted.weights[1] == 1.0F);
  CHECK(weighted.weights[2] == 0x1p-40F);
  CHECK(weighted.weights[3] == 0.0F);
  CHECK(!equal.all_alike);
  CHECK(!weighted.all_alike);
  const std::vector<float> whole(16, 2.0F);
  CHECK(nibble::weighted_values<16>(whole).all_alike);
  CHECK(nibble::weighted_values<16>(whole, whole, 0.5F).all_alike);
  // All the same, but not what another sub-block's values count.
  CHECK(!nibble::weighted_values<16>(whole, whole, 0.25F).all_alike);
  std::vector<float> unequal = whole;
  unequal[15] = 1.0F;
  const nibble::weighted_values<16> mixed(whole, unequal, 1.0F);
  CHECK(!mixed.all_alike);
  CHECK(mixed.weights[14] == 2.0F);
  CHECK(mixed.weights[15] == 1.0F);
}
