#include <nibble/codec/lane_sums.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::lane_sums;

/// The order that the bytes of packed files hang on: element j in lane j % 8, lanes joined 4, 2 and 1
/// apart.
double sum_in_documented_order(std::span<const float> values) {
  std::array<double, 8> lanes{};
  for (std::size_t j = 0; j < values.size(); ++j) {
    lanes[j % 8] += static_cast<double>(values[j]) * static_cast<double>(values[j]);
  }
  for (std::size_t distance = 4; distance != 0; distance /= 2) {
    for (std::size_t lane = 0; lane < distance; ++lane) lanes[lane] += lanes[lane + distance];
  }
  return lanes[0];
}

TEST_CASE("squares are added in one order, to the last bit", "[lane_sums]") {
  std::size_t where_order_matters = 0;
  for (std::size_t count = 0; count <= 200; ++count) {
    const auto values = nibble_test::mixed_magnitudes(count, static_cast<std::uint32_t>(count));
    lane_sums sums;
    sums.add_squares(values);
    const double expected = sum_in_documented_order(values);
    if (sums.total() != expected)
      FAIL(count << " values: " << sums.total() << " instead of " << expected);
    double in_sequence = 0.0;
    for (const float value : values)
      in_sequence += static_cast<double>(value) * static_cast<double>(value);
    where_order_matters += in_sequence != expected ? 1U : 0U;
    if (!(std::fabs(in_sequence - expected) <= 200 * 0x1p-53 * expected)) FAIL(count << " values");
  }
  // Else this could not fail.
  CHECK(where_order_matters > 50);
}

TEST_CASE("it makes no difference where a sum is cut into calls of whole eights", "[lane_sums]") {
  const auto values = nibble_test::mixed_magnitudes(203, 7);
  for (std::size_t cut = 0; cut <= 200; cut += 8) {
    lane_sums sums;
    sums.add_squares(std::span(values).first(cut));
    sums.add_squares(std::span(values).subspan(cut));
    CHECK(sums.total() == sum_in_documented_order(values));
  }
}

TEST_CASE("the square of the largest and the least f32 are exact", "[lane_sums]") {
  lane_sums largest;
  largest.add_squares(std::vector<float>{3.4028234663852886e38F});
  CHECK(largest.total() == 3.4028234663852886e38 * 3.4028234663852886e38);
  lane_sums least;
  least.add_squares(std::vector<float>{0x1p-149F});
  CHECK(least.total() == 0x1p-298);
  CHECK(lane_sums().total() == 0.0);
}

TEST_CASE("products with whole numbers are added in the same order", "[lane_sums]") {
  for (std::size_t count = 0; count <= 70; ++count) {
    const auto values = nibble_test::mixed_magnitudes(count, static_cast<std::uint32_t>(count) + 1);
    std::vector<std::int32_t> factors(count + 3, 1 << 20);
    std::array<double, 8> lanes{};
    for (std::size_t j = 0; j < count; ++j) {
      factors[j] = static_cast<std::int32_t>(j * 2654435761U % 8191U) - 4095;
      lanes[j % 8] += static_cast<double>(values[j]) * factors[j];
    }
    for (std::size_t distance = 4; distance != 0; distance /= 2) {
      for (std::size_t lane = 0; lane < distance; ++lane) lanes[lane] += lanes[lane + distance];
    }
    lane_sums sums;
    sums.add_products(values, factors);
    CHECK(sums.total() == lanes[0]);
  }
}

}  // namespace
