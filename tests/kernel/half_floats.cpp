#include <nibble/kernel/half_floats.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <core/independent_halves.hpp>
#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

using nibble::bfloat16;
using nibble::float16;

template <class Half>
constexpr nibble_test::half_format format_of =
    std::is_same_v<Half, float16> ? nibble_test::binary16 : nibble_test::brain16;

template <class Half>
bool is_right(Half from, float to) {
  const double expected = nibble_test::value_of(format_of<Half>, from.bits);
  if (std::isnan(expected)) return std::isnan(to) && std::signbit(to) == (from.bits >= 0x8000U);
  return static_cast<double>(to) == expected && std::signbit(to) == (from.bits >= 0x8000U);
}

TEMPLATE_TEST_CASE("the kernels read and write bytes at odd addresses", "[half_floats]", float16,
                   bfloat16) {
  using nibble::simd::best_architecture;
  using nibble::simd::portable;
  const auto bytes = nibble_test::random_bytes(400, 5);
  for (std::size_t offset = 0; offset < 64; ++offset) {
    for (const std::size_t count : {1U, 7U, 8U, 9U, 16U, 33U, 70U}) {
      std::vector<float> found(count);
      std::vector<float> twin_found(count);
      nibble::kernel::widen<best_architecture, TestType>(bytes.data() + offset, count, found.data());
      nibble::kernel::widen<portable, TestType>(bytes.data() + offset, count, twin_found.data());
      for (std::size_t i = 0; i < count; ++i) {
        const auto low = std::to_integer<unsigned>(bytes[offset + 2 * i]);
        const auto high = std::to_integer<unsigned>(bytes[offset + 2 * i + 1]);
        const TestType half{static_cast<std::uint16_t>(low + 256U * high)};
        if (!is_right(half, found[i]) || !is_right(half, twin_found[i]))
          FAIL("element " << i << " at " << offset);
      }
    }
  }
  SUCCEED("every offset");
}

TEMPLATE_TEST_CASE("widths that this machine lacks convert as the portable code does", "[half_floats]",
                   float16, bfloat16) {
  using nibble::simd::portable;
  nibble_test::for_emulated_widths([]<class Architecture>(Architecture) {
    for (const std::size_t count : {1U, 7U, 8U, 9U, 16U, 33U, 70U}) {
      const auto bytes = nibble_test::random_bytes(count * sizeof(TestType), 6);
      std::vector<float> widened(count), twin_found(count);
      nibble::kernel::widen<Architecture, TestType>(bytes.data(), count, widened.data());
      nibble::kernel::widen<portable, TestType>(bytes.data(), count, twin_found.data());
      CHECK(std::memcmp(widened.data(), twin_found.data(), count * sizeof(float)) == 0);
      const auto values = nibble_test::mixed_magnitudes(count, 7);
      std::vector<TestType> narrowed(count), twin_narrowed(count);
      nibble::kernel::narrow<Architecture>(values.data(), count, narrowed.data());
      nibble::kernel::narrow<portable>(values.data(), count, twin_narrowed.data());
      CHECK(std::memcmp(narrowed.data(), twin_narrowed.data(), count * sizeof(TestType)) == 0);
    }
  });
  SUCCEED("every width there is");
}

}  // namespace
