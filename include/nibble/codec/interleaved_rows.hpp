#pragma once

#include <cstddef>
#include <cstdint>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Bytes of one row's codes that lie together in a block of interleaved rows: a lane of 32 bits.
inline constexpr std::size_t interleaved_word_bytes = 4;

/// Where byte `i` of row `row`'s codes is among those of `rows` interleaved rows.
[[nodiscard]] constexpr std::size_t place_of_interleaved_byte(std::size_t i, std::size_t row,
                                                              std::size_t rows) noexcept {
  const std::size_t word = i / interleaved_word_bytes;
  return (word * rows + row) * interleaved_word_bytes + i % interleaved_word_bytes;
}

/// The block of one row among those of several rows side by side.
template <class RowCodec, class Block>
[[nodiscard]] typename RowCodec::block load_interleaved_row(const Block& from,
                                                            std::size_t row) noexcept {
  typename RowCodec::block to{.scale = from.scales[row], .min = from.mins[row], .codes = {}};
  for (std::size_t i = 0; i < to.codes.size(); ++i) {
    to.codes[i] = from.codes[place_of_interleaved_byte(i, row, from.scales.size())];
  }
  return to;
}

/// The other way round.
template <class RowCodec, class Block>
void store_interleaved_row(Block& to, std::size_t row, const typename RowCodec::block& from) noexcept {
  to.scales[row] = from.scale;
  to.mins[row] = from.min;
  for (std::size_t i = 0; i < from.codes.size(); ++i) {
    to.codes[place_of_interleaved_byte(i, row, to.scales.size())] = from.codes[i];
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
