#include <nibble/codec/round_half_away.hpp>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <utility>

#include <support/catch.hpp>

namespace {

using nibble::round_half_away;

/// The value is `expected`, and so is the sign of a zero.
void check_rounds(float value, float expected) {
  INFO("value " << value);
  for (const float sign : {1.0F, -1.0F}) {
    const float rounded = round_half_away(sign * value);
    CHECK(rounded == sign * expected);
    CHECK(std::signbit(rounded) == std::signbit(sign * expected));
  }
}

TEST_CASE("halves are rounded away from zero, and what is less towards it", "[round_half_away]") {
  constexpr float below_half = 0x1.fffffep-2F;  // 0.49999997: with 1/2 added in f32 it is 1
  for (const auto& [value, expected] : std::initializer_list<std::pair<float, float>>{
           {0.0F, 0.0F},
           {std::numeric_limits<float>::denorm_min(), 0.0F},
           {below_half, 0.0F},
           {0.5F, 1.0F},
           {0x1.000002p-1F, 1.0F},
           {0x1.fffffep-1F, 1.0F},
           {1.0F, 1.0F},
           {0x1.7ffffep0F, 1.0F},
           {1.5F, 2.0F},
           {2.5F, 3.0F},
           {126.5F, 127.0F},
           {0x1.f9fffep6F, 126.0F},
       }) {
    check_rounds(value, expected);
  }
}

TEST_CASE("around and above 2^23, where a fraction is a half or none, values are exact",
          "[round_half_away]") {
  for (const auto& [value, expected] : std::initializer_list<std::pair<float, float>>{
           {8388607.0F, 8388607.0F},
           {8388607.5F, 8388608.0F},
           {8388606.5F, 8388607.0F},
           {4194303.75F, 4194304.0F},
           {4194303.25F, 4194303.0F},
           {8388608.0F, 8388608.0F},
           {8388609.0F, 8388609.0F},
           {16777215.0F, 16777215.0F},
           {16777216.0F, 16777216.0F},
           {1e30F, 1e30F},
           {std::numeric_limits<float>::max(), std::numeric_limits<float>::max()},
           {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()},
       }) {
    check_rounds(value, expected);
  }
}

TEST_CASE("random values are rounded as integer arithmetic rounds them", "[round_half_away]") {
  std::mt19937 random(7);
  std::uniform_int_distribution<std::int64_t> numerators(0, (1 << 24) - 1);
  for (int shift = 0; shift < 30; ++shift) {
    for (int i = 0; i < 200; ++i) {
      const std::int64_t numerator = numerators(random);
      const std::int64_t denominator = std::int64_t{1} << shift;
      const std::int64_t nearest = (2 * numerator + denominator) / (2 * denominator);
      check_rounds(static_cast<float>(numerator) / static_cast<float>(denominator),
                   static_cast<float>(nearest));
    }
  }
}

}  // namespace
