#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <fmt/format.h>

#include <core/independent_halves.hpp>
#include <support/catch.hpp>

namespace nibble_test {

inline std::uint32_t bits_of(float x) { return std::bit_cast<std::uint32_t>(x); }
inline float float_of(std::uint32_t bits) { return std::bit_cast<float>(bits); }

/// Fails unless narrow(x).bits is `expected`, and narrow(-x).bits that with the sign set.
template <class Narrow>
void require_rounds_to(float x, std::uint32_t expected, const Narrow& narrow) {
  const std::uint32_t positive = narrow(x).bits;
  const std::uint32_t negative = narrow(-x).bits;
  if (positive != expected || negative != (expected | 0x8000U)) {
    FAIL(fmt::format("{:a} rounds to {:04x} and its negative to {:04x} instead of {:04x}", x, positive,
                     negative, expected));
  }
}

/// Fails unless narrow rounds to the nearer of two neighbours of the format, whose codes are `code` and the
/// next, and what lies in the middle to the even code.
template <class Narrow>
void require_rounds_to_nearest(float here, float next, std::uint32_t code, const Narrow& narrow) {
  // Exact: it has one bit more than the format has.
  const auto midpoint = static_cast<float>((static_cast<double>(here) + static_cast<double>(next)) / 2);
  require_rounds_to(here, code, narrow);
  require_rounds_to(std::nextafter(here, next), code, narrow);
  require_rounds_to(std::nextafter(midpoint, here), code, narrow);
  require_rounds_to(midpoint, code % 2 == 0 ? code : code + 1, narrow);
  require_rounds_to(std::nextafter(midpoint, next), code + 1, narrow);
  require_rounds_to(std::nextafter(next, here), code + 1, narrow);
}

/// Fails unless narrow(x).bits keeps sign and upper payload of every NaN and makes it quiet.
template <class Narrow>
void require_quiets_nans(const half_format& format, std::uint32_t seed, const Narrow& narrow) {
  std::mt19937 generator(seed);
  const int lost_bits = 23 - format.mantissa_bits;
  const std::uint32_t first_kept = std::uint32_t{1} << lost_bits;
  std::vector<std::uint32_t> payloads = {1U,        first_kept - 1, first_kept,
                                         0x3FFFFFU, 0x400000U,      0x7FFFFFU};
  for (int i = 0; i < 1000; ++i) {
    payloads.push_back(static_cast<std::uint32_t>(1U + generator() % 0x7FFFFFU));
  }
  const auto quiet = static_cast<std::uint32_t>(format.infinity_code()) |
                     std::uint32_t{1} << (format.mantissa_bits - 1);
  for (const std::uint32_t payload : payloads) {
    for (const std::uint32_t sign : {0U, 0x80000000U}) {
      const std::uint32_t bits = narrow(std::bit_cast<float>(sign | 0x7F800000U | payload)).bits;
      const std::uint32_t expected = (sign >> 16U) | quiet | payload >> lost_bits;
      if (bits != expected) FAIL(fmt::format("payload {:06x}: {:04x}", payload, bits));
    }
  }
}

}  // namespace nibble_test
