#include <nibble/kernel/product_output.hpp>

#include <array>
#include <cstddef>
#include <vector>

#include <support/catch.hpp>

namespace {

using nibble::kernel::product_output;

constexpr std::size_t stride = 7;
const std::vector<float> before(3 * stride, 100.0F);
constexpr std::array<float, 5> biases = {1.0F, 2.0F, 4.0F, 8.0F, 16.0F};
constexpr std::array<float, 3> values = {0.5F, 0.25F, 0.125F};

TEST_CASE("a column of products is set with its bias first and added to afterwards",
          "[product_output]") {
  for (const float* const with : {static_cast<const float*>(nullptr), biases.data()}) {
    auto y = before;
    const product_output to{y.data(), stride, with};
    to.put(3, values.data(), 3, true);
    auto expected = before;
    for (std::size_t m = 0; m < 3; ++m) {
      expected[m * stride + 3] = values[m] + (with == nullptr ? 0.0F : 8.0F);
    }
    CHECK(y == expected);
    to.put(3, values.data(), 2, false);
    for (std::size_t m = 0; m < 2; ++m) expected[m * stride + 3] += values[m];
    CHECK(y == expected);
  }
}

TEST_CASE("a row of products is set with its biases first and added to afterwards",
          "[product_output]") {
  for (const float* const with : {static_cast<const float*>(nullptr), biases.data()}) {
    auto y = before;
    const product_output to{y.data(), stride, with};
    to.put_row(1, 2, values.data(), 3, true);
    auto expected = before;
    for (std::size_t i = 0; i < 3; ++i) {
      expected[stride + 2 + i] = values[i] + (with == nullptr ? 0.0F : biases[2 + i]);
    }
    CHECK(y == expected);
    to.put_row(1, 2, values.data(), 2, false);
    for (std::size_t i = 0; i < 2; ++i) expected[stride + 2 + i] += values[i];
    CHECK(y == expected);
  }
}

}  // namespace
