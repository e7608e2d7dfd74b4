#include <nibble/codec/least_error.hpp>

#include <limits>

#include <support/catch.hpp>

namespace {

using nibble::least_error;

TEST_CASE("the candidate of the least error is kept, of equal ones the first", "[least_error]") {
  least_error<int> kept(1, 5.0);
  kept.offer(2, 5.0);
  CHECK(kept.best() == 1);
  kept.offer(3, 4.0);
  kept.offer(4, 4.5);
  CHECK(kept.best() == 3);
  CHECK(kept.error() == 4.0);
}

TEST_CASE("the first candidate is kept whatever its error, and gives way to one with less",
          "[least_error]") {
  least_error<int> kept;
  kept.offer(1, std::numeric_limits<double>::infinity());
  CHECK(kept.best() == 1);
  kept.offer(2, std::numeric_limits<double>::infinity());
  CHECK(kept.best() == 1);
  kept.offer(3, 1e300);
  CHECK(kept.best() == 3);
}

TEST_CASE("an error that is NaN takes no candidate's place", "[least_error]") {
  least_error<int> kept(1, 2.0);
  kept.offer(2, std::numeric_limits<double>::quiet_NaN());
  CHECK(kept.best() == 1);
}

}  // namespace
