#pragma once

#include <span>

#include <nibble/codec/packing_search.hpp>

namespace nibble {

/// How a block is packed.
struct block_packing {
  packing_search search = packing_search::fast;  ///< how long to look for its scales
  /// The weight of each value in the squared error that is minimised: as many as there are values,
  /// finite and not negative. None, or all zero: every value counts alike.
  std::span<const float> importance{};
};

}  // namespace nibble
