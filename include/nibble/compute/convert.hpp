#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <string>

#include <nibble/compute/dispatch.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/kernel/half_floats.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// widen() and narrow() by the kernels that this translation unit uses.
template <HalfFloat Half, class Architecture>
void picked_widen(const std::byte* from, std::size_t count, float* to) {
  if constexpr (!LinkedKernels<Architecture>) {
    widen<Architecture, Half>(from, count, to);
  } else if constexpr (std::same_as<Half, float16>) {
    Architecture::kernels().widen_f16(from, count, to);
  } else {
    Architecture::kernels().widen_bf16(from, count, to);
  }
}
template <class Architecture, HalfFloat Half>
void picked_narrow(const float* from, std::size_t count, Half* to) {
  if constexpr (!LinkedKernels<Architecture>) {
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
  kernel::picked_widen<float16, Architecture>(reinterpret_cast<const std::byte*>(from.data()),
                                              from.size(), to.data());
}
/// As above.
template <class Architecture = default_architecture>
void convert(std::span<const bfloat16> from, std::span<float> to) {
  kernel::require_equal_sizes(from.size(), to.size());
  kernel::picked_widen<bfloat16, Architecture>(reinterpret_cast<const std::byte*>(from.data()),
                                               from.size(), to.data());
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
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
