#pragma once

#include <cstddef>

#include <nibble/compute/dispatch.hpp>
#include <nibble/kernel/pack_blocks.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// pack_blocks() by the kernels that this translation unit uses.
template <class Architecture = default_architecture>
[[nodiscard]] packed_blocks picked_pack_blocks(const values_of_blocks& from, std::byte* to) {
  if constexpr (LinkedKernels<Architecture>) {
    return Architecture::kernels().pack_blocks(from, to);
  } else {
    return pack_blocks<>(from, to);
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
