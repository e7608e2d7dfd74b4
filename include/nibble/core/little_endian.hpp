#pragma once

#include <cstddef>
#include <cstring>
#include <span>

namespace nibble {

/// The little-endian number at offset `at`, at any alignment; its bytes must lie within `bytes`.
template <class Number>
[[nodiscard]] Number load_number(std::span<const std::byte> bytes, std::size_t at) noexcept {
  Number number;
  std::memcpy(&number, bytes.data() + at, sizeof(Number));
  return number;
}

/// Writes `number` at `at`, as load_number reads it.
template <class Number>
void store_number(std::span<std::byte> bytes, std::size_t at, Number number) noexcept {
  std::memcpy(bytes.data() + at, &number, sizeof(Number));
}

}  // namespace nibble
