#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

/// Numbers, text and bytes, one made from another without anything of the library.
namespace nibble_test {

/// Appends a number, least significant byte first.
template <class Number>
void append_number(std::vector<std::byte>& to, Number number) {
  auto rest = static_cast<std::uint64_t>(number);
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    to.push_back(static_cast<std::byte>(rest & 0xFFU));
    rest >>= 8U;
  }
}

/// Overwrites the bytes at a position with a number's.
template <class Number>
void put_number(std::span<std::byte> in, std::size_t at, Number number) {
  std::vector<std::byte> bytes;
  append_number(bytes, number);
  std::ranges::copy(bytes, in.begin() + static_cast<std::ptrdiff_t>(at));
}

/// The number whose bytes stand at a position.
template <class Number>
[[nodiscard]] Number number_at(std::span<const std::byte> in, std::size_t at) {
  std::uint64_t number = 0;
  for (std::size_t i = sizeof(Number); i-- > 0;) {
    number = number << 8U | std::to_integer<std::uint64_t>(in[at + i]);
  }
  return static_cast<Number>(number);
}

[[nodiscard]] inline std::vector<std::byte> bytes_of(std::string_view text) {
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

[[nodiscard]] inline std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The bytes that a string of hexadecimal digits stands for; white space is skipped.
[[nodiscard]] inline std::vector<std::byte> bytes_of_hex(std::string_view digits) {
  std::vector<std::byte> bytes;
  unsigned pending = 1;
  for (const char digit : digits) {
    if (digit == ' ' || digit == '\n') continue;
    const auto value = static_cast<unsigned>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
    pending = pending << 4U | value;
    if (pending < 0x100U) continue;
    bytes.push_back(static_cast<std::byte>(pending & 0xFFU));
    pending = 1;
  }
  return bytes;
}

}  // namespace nibble_test
