#pragma once

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/value_counts.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

/// Counts the values of a whole tensor. It is decoded 64 KiB of f32 at a time, a composed weight by rows. Throws
/// unsupported_encoding.
template <class Architecture = default_architecture>
[[nodiscard]] value_counts count_values(const tensor_view& tensor) {
  if (tensor.composed() != nullptr) return kernel::count_composed(tensor);
  if constexpr (LinkedKernels<Architecture>) {
    require_codec(tensor.encoding(), tensor.name());
    return Architecture::kernels().count_values(tensor);
  } else {
    return kernel::count_values<Architecture>(tensor);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
