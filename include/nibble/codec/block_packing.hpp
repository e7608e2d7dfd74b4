#pragma once

#include <cstddef>
#include <span>

#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {

/// How a block is packed.
struct block_packing {
  packing_search search = packing_search::fast;  ///< how long to look for its scales
  /// The weight of each value in the squared error that is minimised: as many as there are values,
  /// finite and not negative. None, or all zero: every value counts alike.
  std::span<const float> importance{};
};

/// Values to pack into blocks that lie one after the other. The last block may be short of values.
struct values_of_blocks {
  encoding which;                                ///< one whose blocks have a packer
  std::span<const float> values;                 ///< finite
  std::span<const float> importance{};           ///< of each value, as block_packing says; or none
  packing_rule rule = packing_rule::best;        ///< of encodings that have several
  packing_search search = packing_search::fast;  ///< how long to look for scales
};

/// What came of packing several blocks.
struct packed_blocks {
  pack_status status = pack_status::packed;  ///< of the last block that was tried
  std::size_t values = 0;                    ///< those of the blocks before it
};

}  // namespace nibble
