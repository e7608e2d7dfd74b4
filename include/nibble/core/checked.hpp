#pragma once

#include <cstdint>
#include <limits>
#include <optional>

namespace nibble {

/// a + b, or nothing where 64 bits do not hold it.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a,
                                                                 std::uint64_t b) noexcept {
  if (a > std::numeric_limits<std::uint64_t>::max() - b) return std::nullopt;
  return a + b;
}

/// a * b, or nothing where 64 bits do not hold it.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_multiply(std::uint64_t a,
                                                                      std::uint64_t b) noexcept {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// The smallest multiple of `unit` (> 0) that is not below `value`, or nothing where 64 bits do not
/// hold it.
[[nodiscard]] constexpr std::optional<std::uint64_t> checked_round_up(std::uint64_t value,
                                                                      std::uint64_t unit) noexcept {
  const std::uint64_t remainder = value % unit;
  return remainder == 0 ? std::optional{value} : checked_add(value, unit - remainder);
}

/// ceil(value / unit), unit > 0; never overflows.
[[nodiscard]] constexpr std::uint64_t divide_round_up(std::uint64_t value,
                                                      std::uint64_t unit) noexcept {
  return value / unit + (value % unit != 0 ? 1 : 0);
}

}  // namespace nibble
