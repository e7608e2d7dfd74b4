#pragma once

#include <cstdint>
#include <string>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>

namespace nibble {

/// A tensor that a file is to hold, before its bytes exist.
struct planned_tensor {
  std::string name;
  nibble::encoding encoding;
  nibble::shape shape;
  std::uint64_t size_bytes;  ///< stored_bytes(encoding, shape)
};

}  // namespace nibble
