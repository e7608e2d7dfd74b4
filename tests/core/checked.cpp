#include <nibble/core/checked.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include <fmt/format.h>

#include <support/catch.hpp>

namespace {

__extension__ using wide = unsigned __int128;
constexpr std::uint64_t highest = std::numeric_limits<std::uint64_t>::max();

/// The figure that 128 bits give, where 64 hold it.
std::optional<std::uint64_t> narrowed(wide exact) {
  if (exact > wide{highest}) return std::nullopt;
  return static_cast<std::uint64_t>(exact);
}

/// Powers of two and their neighbours, both ends, and numbers of every length.
std::vector<std::uint64_t> operands() {
  std::vector<std::uint64_t> values = {0,           highest,     highest - 1,
                                       highest / 2, highest / 3, 6148914691236517206U};
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    for (const std::uint64_t value : {power - 1, power, power + 1, ~power}) values.push_back(value);
  }
  std::mt19937_64 generator(4);
  for (unsigned i = 0; i < 128; ++i) values.push_back(generator() >> (i % 64));
  return values;
}

TEST_CASE("checked sums and products agree with 128-bit arithmetic", "[checked]") {
  const auto values = operands();
  std::size_t overflows = 0;
  for (const std::uint64_t a : values) {
    for (const std::uint64_t b : values) {
      const auto sum = narrowed(wide{a} + wide{b});
      const auto product = narrowed(wide{a} * wide{b});
      if (nibble::checked_add(a, b) != sum) FAIL(fmt::format("{} + {}", a, b));
      if (nibble::checked_multiply(a, b) != product) FAIL(fmt::format("{} * {}", a, b));
      overflows += (sum ? 0U : 1U) + (product ? 0U : 1U);
    }
  }
  CHECK(overflows > 1000);
}

TEST_CASE("rounding up to a unit agrees with 128-bit arithmetic", "[checked]") {
  const auto values = operands();
  std::size_t overflows = 0;
  for (const std::uint64_t a : values) {
    for (const std::uint64_t unit : values) {
      if (unit == 0) continue;
      const wide quotient = (wide{a} + wide{unit} - 1) / wide{unit};
      if (nibble::divide_round_up(a, unit) != static_cast<std::uint64_t>(quotient)) {
        FAIL(fmt::format("{} in units of {}", a, unit));
      }
      const auto rounded = narrowed(quotient * wide{unit});
      if (nibble::checked_round_up(a, unit) != rounded) FAIL(fmt::format("{} to {}", a, unit));
      overflows += rounded ? 0U : 1U;
    }
  }
  CHECK(overflows > 1000);
}

TEST_CASE("checked arithmetic is usable in constant expressions", "[checked]") {
  static_assert(nibble::checked_add(highest, 0) == highest);
  static_assert(!nibble::checked_add(highest, 1));
  static_assert(!nibble::checked_multiply(std::uint64_t{1} << 32U, std::uint64_t{1} << 32U));
  static_assert(nibble::checked_round_up(65, 64) == 128U);
  static_assert(!nibble::checked_round_up(highest, 64));
  static_assert(nibble::divide_round_up(highest, 1) == highest);
  SUCCEED("the assertions were compiled");
}

}  // namespace
