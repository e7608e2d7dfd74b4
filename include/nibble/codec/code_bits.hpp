#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace nibble {

/// How bits of 32 consecutive codes lie in the bytes that hold them.
enum class bit_layout : std::uint8_t {
  bytes,          ///< code j's are those from `shift` on of byte j; 32 bytes
  nibble_halves,  ///< codes j and j + 16 are the low and high nibble of byte j; 16 bytes
  single_bits,    ///< code j's is bit j % 8 of byte j / 8; 4 bytes
};

/// Some of the bits of 32 consecutive codes, and where they lie in a block. A codec's low_bits(g) and
/// high_bits(g) say it for the g-th 32 codes of a block; kernels unpack blocks by them.
struct code_bits {
  bit_layout layout;
  std::size_t at_byte;      ///< of the block
  std::uint32_t count;      ///< bits of each code
  std::uint32_t shift = 0;  ///< for bytes alone
};

/// The numbers of a super-block's sub-blocks, by which the scale or the min of all is multiplied.
using sub_block_numbers = std::array<std::int8_t, 16>;

}  // namespace nibble
