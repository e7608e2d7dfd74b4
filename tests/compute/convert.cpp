#include <nibble/compute/convert.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <fmt/format.h>

#include <core/independent_halves.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::bfloat16;
using nibble::convert;
using nibble::float16;
using nibble_test::guarded_memory;
using nibble_test::placed;

template <class Half>
constexpr nibble_test::half_format format_of =
    std::is_same_v<Half, float16> ? nibble_test::binary16 : nibble_test::brain16;

template <class Half>
bool is_right(Half from, float to) {
  const double expected = nibble_test::value_of(format_of<Half>, from.bits);
  if (std::isnan(expected)) return std::isnan(to) && std::signbit(to) == (from.bits >= 0x8000U);
  return static_cast<double>(to) == expected && std::signbit(to) == (from.bits >= 0x8000U);
}

template <class Half>
bool is_right(float from, Half to) {
  if (std::isnan(from)) {
    return std::isnan(nibble_test::value_of(format_of<Half>, to.bits)) &&
           std::signbit(from) == (to.bits >= 0x8000U);
  }
  return to.bits == nibble_test::nearest_code(format_of<Half>, static_cast<double>(from));
}

template <class Half>
std::vector<Half> random_halves(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<Half> halves(count);
  for (Half& half : halves) half.bits = static_cast<std::uint16_t>(generator());
  return halves;
}

TEMPLATE_TEST_CASE("every 16-bit float is widened and comes back unchanged", "[convert]", float16,
                   bfloat16) {
  std::vector<TestType> halves(0x10000);
  for (std::size_t code = 0; code < halves.size(); ++code)
    halves[code].bits = static_cast<std::uint16_t>(code);
  std::vector<float> wide(halves.size());
  convert(halves, wide);
  std::vector<TestType> back(halves.size());
  convert(wide, back);
  const int infinity = format_of<TestType>.infinity_code();
  for (std::size_t code = 0; code < halves.size(); ++code) {
    if (!is_right(halves[code], wide[code])) FAIL(fmt::format("{:04x}", code));
    const bool is_nan = static_cast<int>(code % 0x8000) > infinity;
    // A signalling NaN comes back quiet: with the top bit of its mantissa set.
    const auto quiet = static_cast<std::uint16_t>(1U << (format_of<TestType>.mantissa_bits - 1));
    const auto expected = static_cast<std::uint16_t>(is_nan ? code | quiet : code);
    if (back[code].bits != expected)
      FAIL(fmt::format("{:04x} came back as {:04x}", code, back[code].bits));
  }
  SUCCEED("all 65,536");
}

TEMPLATE_TEST_CASE("f32 is rounded to the nearest 16-bit float over all its exponents", "[convert]",
                   float16, bfloat16) {
  std::vector<float> wide;
  for (std::uint64_t bits = 0; bits < 0x100000000U; bits += 9973) {
    wide.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
  }
  // Midpoints of neighbours, where a mode of rounding shows, and the f32 around them.
  for (std::uint32_t code = 0; code < 0x7C00U; ++code) {
    const auto bits = static_cast<std::uint16_t>(code);
    const double here = nibble_test::value_of(format_of<TestType>, bits);
    const double next =
        nibble_test::value_of(format_of<TestType>, static_cast<std::uint16_t>(code + 1));
    const double midpoint = std::isfinite(next) ? (here + next) / 2 : here;
    const auto sign = code % 2 == 0 ? 1.0F : -1.0F;
    for (const float value :
         {static_cast<float>(midpoint), std::nextafter(static_cast<float>(midpoint), 0.0F),
          std::nextafter(static_cast<float>(midpoint), HUGE_VALF)}) {
      wide.push_back(sign * value);
    }
  }
  std::vector<TestType> narrowed(wide.size());
  convert(wide, narrowed);
  for (std::size_t i = 0; i < wide.size(); ++i) {
    if (!is_right(wide[i], narrowed[i])) FAIL(fmt::format("{:a} as {:04x}", wide[i], narrowed[i].bits));
  }
  CHECK(wide.size() > 500000);
}

TEMPLATE_TEST_CASE("conversion of any length at any offset touches its elements alone", "[convert]",
                   float16, bfloat16) {
  const auto halves = random_halves<TestType>(200, 1);
  const auto floats = nibble_test::mixed_magnitudes(200, 2);
  for (std::size_t count = 0; count <= 70; ++count) {
    for (std::size_t offset = 0; offset < 17; ++offset) {
      std::vector<float> wide(120, 77.0F);
      convert(std::span(halves).subspan(offset, count), std::span(wide).subspan(16 - offset, count));
      std::vector<TestType> narrow(120, TestType{0x5555});
      convert(std::span(floats).subspan(offset, count), std::span(narrow).subspan(16 - offset, count));
      for (std::size_t i = 0; i < wide.size(); ++i) {
        const bool is_inside = i >= 16 - offset && i < 16 - offset + count;
        const std::size_t from = i + 2 * offset - 16;
        if (is_inside ? !is_right(halves[from], wide[i]) : wide[i] != 77.0F) FAIL("widened " << i);
        if (is_inside ? !is_right(floats[from], narrow[i]) : narrow[i].bits != 0x5555)
          FAIL("narrowed " << i);
      }
    }
  }
  SUCCEED("71 lengths at 17 offsets");
}

TEMPLATE_TEST_CASE("conversion stays between the guard pages", "[convert]", float16, bfloat16) {
  const auto halves = random_halves<TestType>(70, 3);
  const auto floats = nibble_test::mixed_magnitudes(70, 4);
  std::size_t wrong = 0;
  for (std::size_t count = 0; count <= 70; ++count) {
    for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
      const guarded_memory<TestType> from_halves{std::span(halves).first(count), where};
      const guarded_memory<float> to_floats(count, where);
      convert(from_halves.span(), to_floats.span());
      const guarded_memory<float> from_floats{std::span(floats).first(count), where};
      const guarded_memory<TestType> to_halves(count, where);
      convert(from_floats.span(), to_halves.span());
      for (std::size_t i = 0; i < count; ++i) {
        wrong += is_right(halves[i], to_floats.span()[i]) ? 0U : 1U;
        wrong += is_right(floats[i], to_halves.span()[i]) ? 0U : 1U;
      }
    }
  }
  CHECK(wrong == 0);
}

TEMPLATE_TEST_CASE("spans of different sizes are refused before anything is written", "[convert]",
                   float16, bfloat16) {
  const std::vector<TestType> halves(5);
  const std::vector<float> floats(5);
  std::vector<float> to_floats(6, 3.0F);
  std::vector<TestType> to_halves(4, TestType{0x1234});
  const auto widening = nibble_test::error_of([&] { convert(halves, to_floats); });
  REQUIRE(widening);
  CHECK(widening->code() == nibble::error_code::invalid_argument);
  CHECK(widening->detail().found == "6");
  CHECK(widening->detail().expected == "5");
  const auto narrowing = nibble_test::error_of([&] { convert(floats, to_halves); });
  REQUIRE(narrowing);
  CHECK(narrowing->code() == nibble::error_code::invalid_argument);
  CHECK(to_floats == std::vector<float>(6, 3.0F));
  CHECK(to_halves == std::vector<TestType>(4, TestType{0x1234}));
}

}  // namespace
