#include <nibble/core/shape.hpp>

#include <array>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>

namespace {

using nibble::error_code;
using nibble::shape;
using nibble_test::code_of;
using nibble_test::error_of;

constexpr std::uint64_t power(unsigned exponent) { return std::uint64_t{1} << exponent; }
constexpr std::uint64_t most_elements = std::numeric_limits<std::uint64_t>::max();

TEST_CASE("a shape is a matrix of all dimensions but the last by the last", "[shape]") {
  const shape matrix{3, 5};
  CHECK(matrix.rank() == 2);
  CHECK(matrix[0] == 3);
  CHECK(matrix[1] == 5);
  CHECK(matrix.elements() == 15);
  CHECK(matrix.rows() == 3);
  CHECK(matrix.cols() == 5);
  CHECK(matrix.to_string() == "3x5");

  const shape stacked{2, 3, 5, 7};
  CHECK(stacked.elements() == 210);
  CHECK(stacked.rows() == 30);
  CHECK(stacked.cols() == 7);
  CHECK(stacked.to_string() == "2x3x5x7");
}

TEST_CASE("a vector is one row and a scalar one element", "[shape]") {
  const shape vector{7};
  CHECK(vector.rows() == 1);
  CHECK(vector.cols() == 7);
  CHECK(vector.to_string() == "7");

  const shape scalar;
  CHECK(scalar.rank() == 0);
  CHECK(scalar.elements() == 1);
  CHECK(scalar.rows() == 1);
  CHECK(scalar.cols() == 1);
  CHECK(scalar.dimensions().empty());
  CHECK(scalar.to_string() == "scalar");
  CHECK(shape(std::span<const std::uint64_t>()) == scalar);
}

TEST_CASE("eight dimensions are taken and nine refused", "[shape]") {
  const shape eight{1, 2, 3, 1, 2, 3, 1, 2};
  CHECK(eight.rank() == 8);
  CHECK(eight.elements() == 72);
  CHECK(eight.rows() == 36);
  CHECK(eight.cols() == 2);
  CHECK(eight.to_string() == "1x2x3x1x2x3x1x2");

  const std::vector<std::uint64_t> nine(9, 1);
  const auto thrown = error_of([&] { static_cast<void>(shape(std::span<const std::uint64_t>(nine))); });
  REQUIRE(thrown);
  CHECK(thrown->code() == error_code::bad_shape);
  CHECK(thrown->detail().found == "9 dimensions");
  // A zero among them changes nothing.
  const std::vector<std::uint64_t> zeros(1000, 0);
  CHECK(code_of([&] { static_cast<void>(shape(std::span<const std::uint64_t>(zeros))); }) ==
        error_code::bad_shape);
}

TEST_CASE("2^63 elements are taken, one dimension more is refused", "[shape]") {
  CHECK(shape{power(63)}.elements() == power(63));
  CHECK(shape{power(32), power(31)}.elements() == power(63));
  CHECK(shape{power(31), 1, power(32)}.rows() == power(31));
  const std::vector<std::vector<std::uint64_t>> too_large = {
      {power(63) + 1},
      {most_elements},
      {power(32), power(31) + 1},
      {power(62), 3},
      {2, power(63)},
      {power(32), power(32)},                        // wraps to 0
      {power(32), power(32), power(32), power(32)},  // and again
      {power(33), power(31) + 1},                    // wraps to 2^33
      {6148914691236517206U, 3},                     // wraps to 2
      {most_elements, most_elements},                // wraps to 1
      {power(9), power(9), power(9), power(9), power(9), power(9), power(9), power(1)}};
  for (const auto& dimensions : too_large) {
    const auto thrown =
        error_of([&] { static_cast<void>(shape(std::span<const std::uint64_t>(dimensions))); });
    CAPTURE(dimensions);
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::bad_shape);
  }
  const auto named = error_of([] { static_cast<void>(shape{power(32), power(32)}); });
  REQUIRE(named);
  CHECK(named->detail().found == "4294967296x4294967296");
}

TEST_CASE("a zero dimension empties the shape, however large the others and wherever it is",
          "[shape]") {
  for (const std::array<std::uint64_t, 3>& dimensions :
       {std::array<std::uint64_t, 3>{0, power(40), power(40)},
        std::array<std::uint64_t, 3>{power(40), 0, power(40)},
        std::array<std::uint64_t, 3>{most_elements, most_elements, 0}}) {
    const shape empty{std::span<const std::uint64_t>(dimensions)};
    CAPTURE(empty.to_string());
    CHECK(empty.elements() == 0);
    CHECK(empty.cols() == dimensions[2]);
    CHECK(empty.rows() <= power(63));
  }
  CHECK(shape{0, power(40), power(40)}.rows() == 0);
  CHECK(shape{5, 0}.rows() == 5);
  CHECK(shape{5, 0}.cols() == 0);
  CHECK(shape{0}.rows() == 1);
  CHECK(shape{0}.cols() == 0);
  CHECK(shape{most_elements, most_elements, 0}.rows() == power(63));
}

TEST_CASE("shapes are equal where rank and every dimension are", "[shape]") {
  CHECK(shape{2, 3} == shape{2, 3});
  CHECK_FALSE(shape{2, 3} == shape{3, 2});
  CHECK_FALSE(shape{6} == shape{2, 3});
  CHECK_FALSE(shape{6} == shape{6, 1});
  CHECK_FALSE(shape{1} == shape());
  const std::vector<std::uint64_t> dimensions = {4, 9};
  const shape from_span{std::span<const std::uint64_t>(dimensions)};
  CHECK(from_span == shape{4, 9});
  CHECK(std::vector<std::uint64_t>(from_span.dimensions().begin(), from_span.dimensions().end()) ==
        dimensions);
}

}  // namespace
