#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nibble {

/// A file with other metadata: new bytes, then bytes of the old file as they are, then, where the old
/// one had it, a footer over both.
struct replaced_metadata {
  std::vector<std::byte> front;       ///< what stands before the bytes that are kept
  std::span<const std::byte> kept{};  ///< of the old file, its tensors among them
  bool has_footer = false;            ///< whether a footer ends the file
  std::uint64_t file_bytes = 0;       ///< of the whole, footer included
};

}  // namespace nibble
