#pragma once

#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_command {

/// The encoding that a tensor's values come in: its own, and f32 for a weight that several stored tensors
/// make up. Throws unsupported_encoding where the dtype is not known.
[[nodiscard]] inline nibble::encoding value_encoding(const nibble::tensor_view& tensor) {
  return tensor.composed() != nullptr ? nibble::encoding::f32 : tensor.encoding();
}

}  // namespace nibble_command
