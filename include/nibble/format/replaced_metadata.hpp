#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace nibble {

/// A file with other metadata: new bytes, then bytes of the old file as they are, then a footer over
/// both where the old file had one.
struct replaced_metadata {
  std::vector<std::byte> front;       ///< the new bytes, before those that are kept
  std::span<const std::byte> kept{};  ///< of the old file, its tensors among them
  bool has_footer = false;            ///< whether a footer ends the file
  std::uint64_t file_bytes = 0;       ///< of the whole, footer included
};

}  // namespace nibble
