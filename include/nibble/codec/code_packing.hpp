#pragma once

#include <cstdint>

namespace nibble {

/// How the integer codes of a block lie in its bytes; kernels are written over this.
enum class code_packing : std::uint8_t {
  unsigned_bytes,    ///< code j is byte j, 0..255
  signed_bytes,      ///< code j is byte j, -128..127
  nibble_halves,     ///< codes j and j + block/2 are the low and high nibble of byte j
  nibble_neighbors,  ///< codes 2j and 2j + 1 are the low and high nibble of byte j
};

}  // namespace nibble
