#include <nibble/core/float16.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include <fmt/format.h>

#include <core/half_laws.hpp>
#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace {

using nibble::float16;
using nibble_test::binary16;
using nibble_test::bits_of;
using nibble_test::float_of;
using nibble_test::require_rounds_to;

constexpr std::uint32_t code_count = 0x10000U;
constexpr std::uint16_t largest_finite = 0x7BFFU;

float16 half(std::uint32_t bits) { return {static_cast<std::uint16_t>(bits)}; }
double value(float16 of) { return nibble_test::value_of(binary16, of.bits); }

TEST_CASE("every float16 code widens to the number IEEE 754 gives it", "[float16]") {
  std::uint32_t numbers = 0;
  for (std::uint32_t code = 0; code < code_count; ++code) {
    const double expected = value(half(code));
    if (std::isnan(expected)) continue;
    const float actual = nibble::to_float32(half(code));
    if (static_cast<double>(actual) != expected || std::signbit(actual) != (code >= 0x8000U)) {
      FAIL(fmt::format("code {:04x} widens to {} instead of {}", code, actual, expected));
    }
    ++numbers;
  }
  CHECK(numbers == 2 * 0x7C01U);
}

TEST_CASE("a float16 NaN widens to a quiet NaN with its sign and payload", "[float16]") {
  std::uint32_t nans = 0;
  for (std::uint32_t code = 0; code < code_count; ++code) {
    if ((code & 0x7FFFU) <= 0x7C00U) continue;
    const std::uint32_t sign = code >= 0x8000U ? 0x80000000U : 0U;
    const std::uint32_t expected = sign | 0x7FC00000U | ((code & 0x3FFU) * 0x2000U);
    if (bits_of(nibble::to_float32(half(code))) != expected) FAIL(fmt::format("code {:04x}", code));
    ++nans;
  }
  CHECK(nans == 2 * 0x3FFU);
}

TEST_CASE("float16 codes that were written by hand widen to their values", "[float16]") {
  CHECK(nibble::to_float32(half(0x3C00)) == 1.0F);
  CHECK(nibble::to_float32(half(0xC000)) == -2.0F);
  CHECK(nibble::to_float32(half(0x3555)) == 0.333251953125F);
  CHECK(nibble::to_float32(half(0x7BFF)) == 65504.0F);
  CHECK(nibble::to_float32(half(0x0400)) == 6.103515625e-05F);
  CHECK(nibble::to_float32(half(0x0001)) == 5.9604644775390625e-08F);
  CHECK(nibble::float16_smallest_normal == 6.103515625e-05F);
  static_assert(nibble::to_float32(float16{0x4900U}) == 10.0F);
  static_assert(nibble::to_float16(10.0F) == float16{0x4900U});
}

TEST_CASE("f32 rounds to the nearest float16, midpoints to the even one", "[float16]") {
  std::uint32_t checked = 0;
  for (std::uint32_t code = 0; code < largest_finite; ++code) {
    const float here = static_cast<float>(value(half(code)));
    const float next = static_cast<float>(value(half(code + 1)));
    nibble_test::require_rounds_to_nearest(here, next, code, nibble::to_float16);
    ++checked;
  }
  CHECK(checked == 0x7BFFU);
}

TEST_CASE("f32 overflows to a float16 infinity from 65520 on", "[float16]") {
  require_rounds_to(65504.0F, 0x7BFF, nibble::to_float16);
  require_rounds_to(65519.996F, 0x7BFF, nibble::to_float16);
  require_rounds_to(65520.0F, 0x7C00, nibble::to_float16);
  require_rounds_to(65536.0F, 0x7C00, nibble::to_float16);
  require_rounds_to(std::numeric_limits<float>::max(), 0x7C00, nibble::to_float16);
  require_rounds_to(std::numeric_limits<float>::infinity(), 0x7C00, nibble::to_float16);
  SUCCEED("all of them");
}

TEST_CASE("f32 at or below half the least float16 rounds to a zero of its sign", "[float16]") {
  require_rounds_to(0.0F, 0x0000, nibble::to_float16);
  require_rounds_to(std::numeric_limits<float>::denorm_min(), 0x0000, nibble::to_float16);
  require_rounds_to(std::numeric_limits<float>::min(), 0x0000, nibble::to_float16);
  require_rounds_to(0x1p-25F, 0x0000, nibble::to_float16);
  require_rounds_to(std::nextafter(0x1p-25F, 1.0F), 0x0001, nibble::to_float16);
  SUCCEED("all of them");
}

TEST_CASE("f32 of any exponent and mantissa rounds to the nearest float16", "[float16]") {
  std::mt19937 generator(1);
  std::uint32_t numbers = 0;
  const auto check = [&](std::uint32_t bits) {
    const float x = float_of(bits);
    if (std::isnan(x)) return;
    const std::uint16_t expected = nibble_test::nearest_code(binary16, static_cast<double>(x));
    if (nibble::to_float16(x).bits != expected) FAIL(fmt::format("{:a} ({:08x})", x, bits));
    ++numbers;
  };
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 10007)
    check(static_cast<std::uint32_t>(bits));
  // Around float16's own exponents, where a sweep over all of f32 seldom comes.
  for (int i = 0; i < 1000000; ++i) {
    const auto sign_bit = static_cast<std::uint32_t>(generator() & 0x80000000U);
    check(sign_bit | static_cast<std::uint32_t>(0x32800000U + generator() % 0x15800000U));
  }
  CHECK(numbers > 1400000);
}

TEST_CASE("an f32 NaN stays a quiet NaN with its sign and upper payload", "[float16]") {
  nibble_test::require_quiets_nans(binary16, 2, nibble::to_float16);
  CHECK(nibble::to_float16(float_of(0x7F800001U)).bits == 0x7E00U);
  CHECK(nibble::to_float16(float_of(0xFFC00000U)).bits == 0xFE00U);
}

TEST_CASE("finite and NaN are told from the bits of every float16 and of f32", "[float16]") {
  std::uint32_t wrong = 0;
  for (std::uint32_t code = 0; code < code_count; ++code) {
    wrong += nibble::is_finite(half(code)) != std::isfinite(value(half(code))) ? 1U : 0U;
  }
  CHECK(wrong == 0);
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 65521) {
    const float x = float_of(static_cast<std::uint32_t>(bits));
    wrong += nibble::is_finite(x) != std::isfinite(x) || nibble::is_nan(x) != std::isnan(x) ? 1U : 0U;
  }
  for (const std::uint32_t bits : {0x7F7FFFFFU, 0x7F800000U, 0x7F800001U, 0x7FFFFFFFU}) {
    for (const float x : {float_of(bits), -float_of(bits)}) {
      wrong += nibble::is_finite(x) != std::isfinite(x) || nibble::is_nan(x) != std::isnan(x) ? 1U : 0U;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("next_up and next_down visit every finite float16 in order", "[float16]") {
  std::uint32_t steps = 0;
  for (float16 at = half(0xFBFF); at != half(0x7BFF); at = nibble::next_up(at)) {
    const float16 above = nibble::next_up(at);
    // Minus zero and zero are one number with two codes: the way up crosses it once.
    if (!(value(at) < value(above))) FAIL(fmt::format("up from {:04x}: {:04x}", at.bits, above.bits));
    ++steps;
  }
  CHECK(steps == 2U * 0x7BFFU);
  for (float16 at = half(0x7BFF); at != half(0xFBFF); at = nibble::next_down(at)) {
    const float16 below = nibble::next_down(at);
    if (!(value(below) < value(at))) FAIL(fmt::format("down from {:04x}: {:04x}", at.bits, below.bits));
    --steps;
  }
  CHECK(steps == 0);
  CHECK(nibble::next_up(half(0x8000)) == half(0x0001));
  CHECK(nibble::next_down(half(0x8000)) == half(0x8001));
  CHECK(nibble::next_up(half(0x0000)) == half(0x0001));
  CHECK(nibble::next_down(half(0x0000)) == half(0x8001));
  CHECK(nibble::next_up(half(0x7BFF)) == half(0x7C00));
  CHECK(nibble::next_down(half(0xFBFF)) == half(0xFC00));
}

/// The largest float16 not above x, by walking from a neighbour of the nearest.
bool is_the_largest_at_most(float16 candidate, double x) {
  if (candidate == half(0x8000)) return false;
  if (x < -65504.0) return candidate == half(0xFC00);
  if (!(value(candidate) <= x)) return false;
  return candidate == half(0x7BFF) || value(nibble::next_up(candidate)) > x;
}

bool is_the_smallest_at_least(float16 candidate, double x) {
  if (candidate.bits > 0x7C00U) return false;
  if (x > 65504.0) return candidate == half(0x7C00);
  return value(candidate) >= x && (candidate == half(0) || value(nibble::next_down(candidate)) < x);
}

TEST_CASE("float16_at_most gives the largest float16 that is not above, for doubles", "[float16]") {
  std::uint32_t checked = 0;
  const auto check = [&](double x) {
    for (const double signed_x : {x, -x}) {
      const float16 found = nibble::float16_at_most(signed_x);
      if (!is_the_largest_at_most(found, signed_x)) {
        FAIL(fmt::format("{:a} gives {:04x}", signed_x, found.bits));
      }
      ++checked;
    }
  };
  for (std::uint32_t code = 0; code <= largest_finite; ++code) {
    const double here = value(half(code));
    const double next = code < largest_finite ? value(half(code + 1)) : 65536.0;
    const double midpoint = (here + next) / 2;
    for (const double x : {here, std::nextafter(here, next), std::nextafter(midpoint, here), midpoint,
                           std::nextafter(midpoint, next), std::nextafter(next, here)}) {
      check(x);
    }
  }
  for (const double x :
       {1e-300, 0x1p-149, 0x1p-126, 0x1p-25, 65520.0, 65536.0, 1e30, 3.4028234663852886e38}) {
    check(x);
  }
  CHECK(checked == 2 * (6 * 0x7C00U + 8));
  CHECK(nibble::float16_at_most(-0.0) == half(0));
  CHECK(nibble::float16_at_most(-0x1p-149) == half(0x8001));
  CHECK(nibble::float16_at_most(-65504.0) == half(0xFBFF));
  CHECK(nibble::float16_at_most(std::nextafter(-65504.0, -1e30)) == half(0xFC00));
}

TEST_CASE("float16_at_least gives the smallest float16 that is not below, for doubles", "[float16]") {
  std::uint32_t checked = 0;
  const auto check = [&](double x) {
    const float16 found = nibble::float16_at_least(x);
    if (!is_the_smallest_at_least(found, x)) FAIL(fmt::format("{:a} gives {:04x}", x, found.bits));
    ++checked;
  };
  for (std::uint32_t code = 0; code <= largest_finite; ++code) {
    const double here = value(half(code));
    const double next = code < largest_finite ? value(half(code + 1)) : 65536.0;
    const double midpoint = (here + next) / 2;
    // One double away from a float16 or from a midpoint: what passing through f32 would lose.
    for (const double x : {here, std::nextafter(here, next), std::nextafter(midpoint, here), midpoint,
                           std::nextafter(midpoint, next), std::nextafter(next, here)}) {
      check(x);
    }
  }
  for (const double x : {1e-300, 0x1p-149, 0x1p-25, 0x1p-24, 65520.0, 65536.0, 1e30, 1e300}) check(x);
  CHECK(checked == 6 * 0x7C00U + 8);
  CHECK(nibble::float16_at_least(0.0) == half(0));
  CHECK(nibble::float16_at_least(-0.0) == half(0));
  CHECK(nibble::float16_at_least(std::nextafter(65504.0, 1e30)) == half(0x7C00));
}

}  // namespace
