#include <benchmarks/support/reference_product.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <support/catch.hpp>

namespace {

/// A product whose rows are 1, 2, 3 ... in every column.
struct counted_product {
  std::uint64_t outputs = 2000;
  std::uint64_t inputs = 8;
  std::vector<float> x = nibble_benchmark::unstructured_values(5 * 8);
  std::vector<float> y = std::vector<float>(5 * 2000);

  counted_product() {
    for (std::size_t m = 0; m < 5; ++m) {
      double sum = 0.0;
      for (std::size_t k = 0; k < 8; ++k) sum += static_cast<double>(x[m * 8 + k]);
      for (std::size_t n = 0; n < 2000; ++n) {
        y[m * 2000 + n] = static_cast<float>(sum * static_cast<double>(n + 1));
      }
    }
  }
  [[nodiscard]] double error() const {
    return nibble_benchmark::product_error(outputs, inputs, x, y,
                                           [](std::uint64_t row, std::span<float> values) {
                                             for (float& value : values) {
                                               value = static_cast<float>(row + 1);
                                             }
                                           });
  }
};

}  // namespace

TEST_CASE("a right product is told from a wrong one", "[reference_product]") {
  counted_product product;
  REQUIRE(product.error() < 1e-6);
  SECTION("the last output of the last input vector") {
    product.y.back() *= 1.5F;
    REQUIRE(product.error() > 1e-3);
  }
  SECTION("a tile of 16 outputs of every input vector") {
    for (std::size_t m = 0; m < 5; ++m) {
      for (std::size_t n = 1984; n < 2000; ++n) product.y[m * 2000 + n] = 0.0F;
    }
    REQUIRE(product.error() > 1e-2);
  }
  SECTION("one place of every tile") {
    for (std::size_t i = 13; i < product.y.size(); i += 16) product.y[i] = 0.0F;
    REQUIRE(product.error() > 1e-2);
  }
  SECTION("no number") {
    product.y[0] = std::numeric_limits<float>::quiet_NaN();
    REQUIRE(std::isinf(product.error()));
  }
}
