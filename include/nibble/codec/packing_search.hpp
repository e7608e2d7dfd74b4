#pragma once

#include <cstdint>

namespace nibble {

/// How long a packer looks for the scales of a block.
enum class packing_search : std::uint8_t {
  fast,  ///< within two or three hundredths of the error that `best` leaves
  best,  ///< the least error that this library finds, at several times the time
};

}  // namespace nibble
