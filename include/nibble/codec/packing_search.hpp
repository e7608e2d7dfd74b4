#pragma once

#include <cstdint>

namespace nibble {

/// How long a packer looks for the scales of a block.
enum class packing_search : std::uint8_t {
  fast,  ///< within a hundredth of the error that `best` leaves, of weights
  best,  ///< the least error that this library finds, at several times the time
};

}  // namespace nibble
