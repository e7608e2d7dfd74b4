#pragma once

// Converts between f32 and the 16-bit floats. Loop nest: one vector at a time, then the elements that
// do not fill one. A vector stays in registers; nothing is read twice.

#include <concepts>
#include <cstddef>
#include <cstring>

#include <nibble/core/bfloat16.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// The 16-bit floats.
template <class T>
concept HalfFloat = std::same_as<T, float16> || std::same_as<T, bfloat16>;

/// The types that tensors are decoded into.
template <class T>
concept Float = std::same_as<T, float> || HalfFloat<T>;

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// to[i] = from[i] for `count` elements of type Half at any alignment, exactly.
template <class Architecture, HalfFloat Half>
void widen(const std::byte* from, std::size_t count, float* to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    const std::byte* const vector_bytes = from + i * sizeof(Half);
    if constexpr (std::same_as<Half, float16>) {
      simd::load_float16(vector_bytes, Architecture{}, Architecture{}).store_unaligned(to + i);
    } else {
      simd::load_bfloat16(vector_bytes, Architecture{}, Architecture{}).store_unaligned(to + i);
    }
  }
  for (; i < count; ++i) {
    Half half;
    std::memcpy(&half, from + i * sizeof(Half), sizeof(Half));
    to[i] = to_float32(half);
  }
}

/// to[i] = from[i] for `count` elements, rounded to nearest even.
template <class Architecture, HalfFloat Half>
void narrow(const float* from, std::size_t count, Half* to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr bool is_float16 = std::same_as<Half, float16>;
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    const auto values = simd::load<Architecture>(from + i);
    auto* const vector_bytes = reinterpret_cast<std::byte*>(to + i);
    if constexpr (is_float16) {
      simd::store_float16(values, vector_bytes, Architecture{}, Architecture{});
    } else {
      simd::store_bfloat16(values, vector_bytes, Architecture{}, Architecture{});
    }
  }
  for (; i < count; ++i) {
    if constexpr (is_float16) {
      to[i] = to_float16(from[i]);
    } else {
      to[i] = to_bfloat16(from[i]);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
