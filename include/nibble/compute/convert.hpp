#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>

#include <nibble/compute/dispatch.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// The 16-bit floats.
template <class T>
concept HalfFloat = std::same_as<T, float16> || std::same_as<T, bfloat16>;

/// The types that tensors are decoded into.
template <class T>
concept Float = std::same_as<T, float> || HalfFloat<T>;

inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// to[i] = from[i] for `count` elements of type Half at any alignment, exactly.
template <class Architecture, HalfFloat Half>
void widen(const std::byte* from, std::size_t count, float* to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    const std::byte* const group = from + i * sizeof(Half);
    if constexpr (std::same_as<Half, float16>) {
      simd::load_float16(group, Architecture{}, Architecture{}).store_unaligned(to + i);
    } else {
      simd::load_bfloat16(group, Architecture{}, Architecture{}).store_unaligned(to + i);
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
    auto* const group = reinterpret_cast<std::byte*>(to + i);
    if constexpr (is_float16) {
      simd::store_float16(values, group, Architecture{}, Architecture{});
    } else {
      simd::store_bfloat16(values, group, Architecture{}, Architecture{});
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

/// widen() and narrow() by the kernels that this translation unit uses.
template <HalfFloat Half, class Architecture>
void picked_widen(const std::byte* from, std::size_t count, float* to) {
  if constexpr (!PickedAtRunTime<Architecture>) {
    widen<Architecture, Half>(from, count, to);
  } else if constexpr (std::same_as<Half, float16>) {
    Architecture::kernels().widen_f16(from, count, to);
  } else {
    Architecture::kernels().widen_bf16(from, count, to);
  }
}
template <class Architecture, HalfFloat Half>
void picked_narrow(const float* from, std::size_t count, Half* to) {
  if constexpr (!PickedAtRunTime<Architecture>) {
    narrow<Architecture>(from, count, to);
  } else if constexpr (std::same_as<Half, float16>) {
    Architecture::kernels().narrow_f16(from, count, to);
  } else {
    Architecture::kernels().narrow_bf16(from, count, to);
  }
}

inline void require_equal_sizes(std::size_t from, std::size_t to) {
  if (from != to) {
    throw error(error_code::invalid_argument, {.field = "elements to convert to",
                                               .found = std::to_string(to),
                                               .expected = std::to_string(from)});
  }
}

}  // namespace kernel

/// Converts between f32 and the 16-bit floats: exactly upwards, to nearest even downwards, NaN kept
/// NaN. The spans have one size (invalid_argument otherwise), any alignment that their type allows, and
/// do not overlap.
template <class Architecture = default_architecture>
void convert(std::span<const float16> from, std::span<float> to) {
  kernel::require_equal_sizes(from.size(), to.size());
  kernel::picked_widen<float16, Architecture>(std::as_bytes(from).data(), from.size(), to.data());
}
/// As above.
template <class Architecture = default_architecture>
void convert(std::span<const bfloat16> from, std::span<float> to) {
  kernel::require_equal_sizes(from.size(), to.size());
  kernel::picked_widen<bfloat16, Architecture>(std::as_bytes(from).data(), from.size(), to.data());
}
/// As above.
template <class Architecture = default_architecture>
void convert(std::span<const float> from, std::span<float16> to) {
  kernel::require_equal_sizes(from.size(), to.size());
  kernel::picked_narrow<Architecture>(from.data(), from.size(), to.data());
}
/// As above.
template <class Architecture = default_architecture>
void convert(std::span<const float> from, std::span<bfloat16> to) {
  kernel::require_equal_sizes(from.size(), to.size());
  kernel::picked_narrow<Architecture>(from.data(), from.size(), to.data());
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
