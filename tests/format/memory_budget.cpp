#include <nibble/format/memory_budget.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include <support/catch.hpp>
#include <support/errors.hpp>

using nibble::error_code;
using nibble::memory_budget;

TEST_CASE("a string counts what it has outside itself, and the zero behind it", "[memory_budget]") {
  std::size_t inside = 0;
  for (std::size_t size = 0; size < 100; ++size) {
    const std::string text(size, 'x');
    const std::less<const void*> is_before;
    const bool is_inside = !is_before(text.data(), &text) && is_before(text.data(), &text + 1);
    inside += is_inside ? 1U : 0U;
    CAPTURE(size);
    CHECK(memory_budget::string_bytes(size) == (is_inside ? 0U : size + 1));
  }
  CHECK(inside > 1);
  CHECK(inside < 100);
  CHECK(memory_budget::string_bytes(~std::size_t{0} - 1) == ~std::size_t{0});
}

TEST_CASE("a budget is taken from until it is used up, and an excess changes nothing",
          "[memory_budget]") {
  memory_budget budget(100);
  budget.take(15'000'000, "first");
  budget.take(0, "nothing");
  budget.take(99, 4, "second");
  const auto refused = nibble_test::error_of([&] { budget.take(5, "third"); });
  REQUIRE(refused.has_value());
  CHECK(refused->code() == error_code::directory_too_large);
  CHECK(refused->detail().field == "third");
  CHECK(refused->detail().found == "5 bytes of memory behind 15000396");
  CHECK(refused->detail().expected.starts_with("at most 15000400 for a file of this size"));
  budget.take(4, "what is left");
  budget.take(0, "nothing");
  CHECK(nibble_test::code_of([&] { budget.take(1, "more"); }) == error_code::directory_too_large);
}

TEST_CASE("a string that is filled again is covered at twice its room, once", "[memory_budget]") {
  memory_budget budget(0);
  budget.take(memory_budget::base_bytes - 10'000, "what else there is");
  nibble::reused_string reused;
  reused.text.reserve(1'000);
  reused.cover(budget, "text");
  reused.cover(budget, "text");
  reused.text.clear();
  reused.cover(budget, "text");
  reused.text.reserve(4'000);
  reused.cover(budget, "text");
  const std::uint64_t covered = 2 * std::uint64_t{reused.text.capacity()};
  REQUIRE(covered < 10'000);
  budget.take(10'000 - covered, "what is left");
  CHECK(nibble_test::code_of([&] { budget.take(1, "more"); }) == error_code::directory_too_large);
  reused.text.reserve(8'000);
  CHECK(nibble_test::code_of([&] { reused.cover(budget, "text"); }) == error_code::directory_too_large);
}
