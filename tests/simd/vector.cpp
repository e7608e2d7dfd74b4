#include <nibble/simd/vector.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

// What kernels ask of a vector, asked of the portable one and of xsimd's: names that xsimd gives
// another meaning on some instruction set would show here first.

namespace {

namespace simd = nibble::simd;

template <class Vector>
std::vector<typename Vector::value_type> lanes_of(const Vector& of) {
  std::vector<typename Vector::value_type> lanes(Vector::size);
  of.store_unaligned(lanes.data());
  return lanes;
}

std::vector<std::int32_t> random_integers(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::int32_t> values(count);
  for (auto& value : values) value = static_cast<std::int32_t>(generator() % 512U) - 256;
  return values;
}

template <class Architecture>
void check_floats() {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = floats::size;
  static_assert(width == simd::lanes<Architecture>);
  for (std::uint32_t round = 0; round < 50; ++round) {
    const auto a = nibble_test::mixed_magnitudes(width + 1, round);
    const auto b = nibble_test::mixed_magnitudes(width + 1, round + 100);
    const auto c = nibble_test::mixed_magnitudes(width + 1, round + 200);
    // One float in: no more alignment than a float's.
    const auto va = simd::load<Architecture>(a.data() + 1);
    const auto vb = simd::load<Architecture>(b.data() + 1);
    const auto vc = simd::load<Architecture>(c.data() + 1);
    const auto loaded = lanes_of(va);
    const auto sum = lanes_of(va + vb);
    const auto difference = lanes_of(va - vb);
    const auto product = lanes_of(va * vb);
    const auto fused = lanes_of(simd::fma(va, vb, vc));
    const auto filled = lanes_of(floats(a[1]));
    for (std::size_t i = 0; i < width; ++i) {
      const float x = a[i + 1];
      const float y = b[i + 1];
      const float z = c[i + 1];
      const bool right = loaded[i] == x && sum[i] == x + y && difference[i] == x - y &&
                         product[i] == x * y && filled[i] == a[1];
      if (!right) FAIL("lane " << i << " of round " << round);
      // Once rounded or twice, as the instruction set has it; volatile, so that no compiler fuses here.
      const volatile float rounded_product = x * y;
      const bool may_round_twice = !std::is_base_of_v<xsimd::avx512f, Architecture>;
      if (fused[i] != std::fma(x, y, z) && !(may_round_twice && fused[i] == rounded_product + z))
        FAIL("fma in lane " << i);
    }
  }
}

template <class Architecture>
void check_integers() {
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t width = integers::size;
  static_assert(width == simd::lanes<Architecture>);
  for (std::uint32_t round = 0; round < 50; ++round) {
    const auto a = random_integers(width + 1, round);
    const auto b = random_integers(width + 1, round + 100);
    const auto va = integers::load_unaligned(a.data() + 1);
    const auto vb = integers::load_unaligned(b.data() + 1);
    const auto sum = lanes_of(va + vb);
    const auto difference = lanes_of(va - vb);
    const auto both = lanes_of(va & vb);
    const auto shifted = lanes_of(va >> 4);
    const auto converted = lanes_of(to_float(va));
    for (std::size_t i = 0; i < width; ++i) {
      const std::int32_t x = a[i + 1];
      const std::int32_t y = b[i + 1];
      const bool right = sum[i] == x + y && difference[i] == x - y && both[i] == (x & y) &&
                         shifted[i] == static_cast<std::int32_t>(std::floor(x / 16.0)) &&
                         converted[i] == static_cast<float>(x);
      if (!right) FAIL("lane " << i << " of round " << round);
    }
  }
}

TEST_CASE("vectors do lane by lane what their operators say", "[vector]") {
  SECTION("portable floats") { check_floats<simd::portable>(); }
  SECTION("portable integers") { check_integers<simd::portable>(); }
  SECTION("the best architecture's floats") { check_floats<simd::best_architecture>(); }
  SECTION("the best architecture's integers") { check_integers<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths([]<class Architecture>(Architecture) {
      check_floats<Architecture>();
      check_integers<Architecture>();
    });
  }
  SUCCEED("every lane");
}

template <class Architecture>
void check_shifts() {
  using integers = simd::vector<std::int32_t, Architecture>;
  std::mt19937 generator(3);
  std::vector<std::int32_t> values(integers::size);
  for (auto& value : values)
    value = std::bit_cast<std::int32_t>(static_cast<std::uint32_t>(generator()));
  const auto loaded = integers::load_unaligned(values.data());
  for (int bits = 0; bits < 32; ++bits) {
    const auto right = lanes_of(simd::shift_right<Architecture>(loaded, bits));
    const auto left = lanes_of(simd::shift_left<Architecture>(loaded, bits));
    for (std::size_t i = 0; i < right.size(); ++i) {
      const auto expected = static_cast<std::int32_t>(std::floor(std::ldexp(values[i], -bits)));
      if (right[i] != expected) FAIL("lane " << i << " right by " << bits);
      // Times a power of two, without the bits above the 32nd.
      const std::int64_t product = std::int64_t{values[i]} * (std::int64_t{1} << bits);
      if (left[i] != static_cast<std::int32_t>(product)) FAIL("lane " << i << " left by " << bits);
    }
  }
}

TEST_CASE("integers are shifted right with their sign, and left, by any count", "[vector]") {
  SECTION("portable") { check_shifts<simd::portable>(); }
  SECTION("the best architecture") { check_shifts<simd::best_architecture>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_shifts<Architecture>(); });
  }
  SUCCEED("every count");
}

TEST_CASE("the portable vector has eight lanes and needs no alignment", "[vector]") {
  static_assert(simd::lanes<simd::portable> == 8);
  static_assert(std::is_same_v<simd::vector<float, simd::portable>, simd::portable_vector<float>>);
  static_assert(alignof(simd::portable_vector<float>) == alignof(float));
  const simd::portable_vector<float> zeros;
  CHECK(lanes_of(zeros) == std::vector<float>(8, 0.0F));
}

TEST_CASE("a block of 32 is whole vectors on every architecture that is compiled for", "[vector]") {
  static_assert(16 % simd::lanes<simd::best_architecture> == 0);
  CHECK(std::has_single_bit(simd::lanes<simd::best_architecture>));
}

// An overload for a tag's base is nearer than the portable one, which takes anything.
struct base_tag {};
struct derived_tag : base_tag {};
struct other_tag {};
int chosen(simd::any_architecture) { return 0; }
int chosen(base_tag) { return 1; }

TEST_CASE("an overload for an instruction set wins over the portable one", "[vector]") {
  CHECK(chosen(base_tag{}) == 1);
  CHECK(chosen(derived_tag{}) == 1);
  CHECK(chosen(other_tag{}) == 0);
  CHECK(chosen(simd::portable{}) == 0);
}

}  // namespace
