#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nibble_test {

/// The bytes of a code point by the arithmetic of RFC 3629, section 3: base 64 digits under a lead.
inline std::string encode_code_point(std::uint32_t point) {
  const auto digit = [point](std::uint32_t divisor) {
    return static_cast<char>(0x80U + point / divisor % 64U);
  };
  if (point < 0x80U) return {static_cast<char>(point)};
  if (point < 0x800U) return {static_cast<char>(0xC0U + point / 64U), digit(1)};
  if (point < 0x10000U) return {static_cast<char>(0xE0U + point / 4096U), digit(64), digit(1)};
  return {static_cast<char>(0xF0U + point / 262144U), digit(4096), digit(64), digit(1)};
}

inline std::uint32_t byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

inline bool is_surrogate(std::uint32_t point) { return point >= 0xD800U && point <= 0xDFFFU; }

}  // namespace nibble_test
