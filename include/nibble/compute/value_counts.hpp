#pragma once

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/value_counts.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Decodes and counts the whole tensor, in 64 KiB at a time. Throws unsupported_encoding.
template <class Architecture = default_architecture>
[[nodiscard]] value_counts count_values(const tensor_view& of) {
  if constexpr (PickedAtRunTime<Architecture>) {
    require_codec(of.encoding(), of.name());
    return Architecture::kernels().count_values(of);
  } else {
    return kernel::count_values<Architecture>(of);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
