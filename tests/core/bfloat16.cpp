#include <nibble/core/bfloat16.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <fmt/format.h>

#include <core/half_laws.hpp>
#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace {

using nibble::bfloat16;
using nibble_test::bits_of;
using nibble_test::brain16;
using nibble_test::float_of;
using nibble_test::require_rounds_to;

bfloat16 brain(std::uint32_t bits) { return {static_cast<std::uint16_t>(bits)}; }
double value(std::uint32_t code) {
  return nibble_test::value_of(brain16, static_cast<std::uint16_t>(code));
}

TEST_CASE("every bfloat16 code widens to its number, NaN payloads included", "[bfloat16]") {
  std::uint32_t checked = 0;
  for (std::uint32_t code = 0; code < 0x10000U; ++code) {
    const float actual = nibble::to_float32(brain(code));
    const double expected = value(code);
    const bool right = std::isnan(expected) ? bits_of(actual) == code * 0x10000U
                                            : static_cast<double>(actual) == expected &&
                                                  std::signbit(actual) == (code >= 0x8000U);
    if (!right) FAIL(fmt::format("code {:04x} widens to {}", code, actual));
    ++checked;
  }
  CHECK(checked == 0x10000U);
  CHECK(nibble::to_float32(brain(0x3F80)) == 1.0F);
  CHECK(nibble::to_float32(brain(0xC049)) == -3.140625F);
  static_assert(nibble::to_float32(bfloat16{0x4120U}) == 10.0F);
  static_assert(nibble::to_bfloat16(10.0F) == bfloat16{0x4120U});
}

TEST_CASE("f32 rounds to the nearest bfloat16, midpoints to the even one", "[bfloat16]") {
  std::uint32_t checked = 0;
  for (std::uint32_t code = 0; code < 0x7F7FU; ++code) {
    const auto here = static_cast<float>(value(code));
    const auto next = static_cast<float>(value(code + 1));
    nibble_test::require_rounds_to_nearest(here, next, code, nibble::to_bfloat16);
    ++checked;
  }
  CHECK(checked == 0x7F7FU);
}

TEST_CASE("f32 overflows to a bfloat16 infinity half a step above the largest", "[bfloat16]") {
  const float largest = float_of(0x7F7F0000U);
  const float threshold = float_of(0x7F7F8000U);
  require_rounds_to(largest, 0x7F7F, nibble::to_bfloat16);
  require_rounds_to(std::nextafter(threshold, 0.0F), 0x7F7F, nibble::to_bfloat16);
  require_rounds_to(threshold, 0x7F80, nibble::to_bfloat16);
  require_rounds_to(std::numeric_limits<float>::max(), 0x7F80, nibble::to_bfloat16);
  require_rounds_to(std::numeric_limits<float>::infinity(), 0x7F80, nibble::to_bfloat16);
  SUCCEED("all of them");
}

TEST_CASE("f32 of any exponent and mantissa rounds to the nearest bfloat16", "[bfloat16]") {
  std::uint32_t numbers = 0;
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 4093) {
    const float x = float_of(static_cast<std::uint32_t>(bits));
    if (std::isnan(x)) continue;
    const std::uint16_t expected = nibble_test::nearest_code(brain16, static_cast<double>(x));
    if (nibble::to_bfloat16(x).bits != expected) FAIL(fmt::format("{:a} ({:08x})", x, bits));
    ++numbers;
  }
  CHECK(numbers > 1000000);
}

TEST_CASE("an f32 NaN stays a quiet NaN with its sign and upper payload as bfloat16", "[bfloat16]") {
  nibble_test::require_quiets_nans(brain16, 3, nibble::to_bfloat16);
  // Rounding up, as numbers do, would carry this one into a zero.
  CHECK(nibble::to_bfloat16(float_of(0xFFFFFFFFU)).bits == 0xFFFFU);
  CHECK(nibble::to_bfloat16(float_of(0x7F800001U)).bits == 0x7FC0U);
}

}  // namespace
