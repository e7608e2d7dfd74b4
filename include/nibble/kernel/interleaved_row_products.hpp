#pragma once

// Products of few rows of activations with rows that are stored side by side (q4_r8, q8_r8), a lane a
// weight row, as lane_row_products.hpp has them of rows that lie one behind the other. Loop nest of
// multiply_interleaved_rows, for one tile of activations and some weight rows:
//
//   for each group of as many weight rows as a vector has lanes: two stored groups of 8 rows, one, or half
//     for each block of their columns
//       load scales, mins and codes, a lane a row, and widen the scales and mins
//       add_lane_block: multiply the codes with the tile, scale the sums, and add them to the rows'
//
// Nothing is transposed and nothing gathered, so that a vector of codes takes one load, or two where a
// vector is two stored groups wide. Codes and sums stay in registers, the activations of a tile in the
// first-level cache.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/lane_row_products.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The first blocks of as many interleaved rows as there are lanes.
struct lane_group {
  const std::byte* low;      ///< the block of the first 8 rows, or of the only ones
  const std::byte* high;     ///< the block of the next 8, where there are more than 8 lanes
  std::size_t skipped_rows;  ///< of the first block
  std::size_t next_bytes;    ///< from the first block to that of as many rows further
};

/// Adds to sums[Rows][lanes] the products of `blocks` blocks of interleaved rows with the first blocks of
/// the Rows rows of x.
template <class Architecture, InterleavedCodec Codec, Activation Value, std::size_t Rows>
void multiply_interleaved_group(lane_group from, std::size_t blocks, const activation_tile<Value>& x,
                                float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using block = typename Codec::block;
  constexpr Architecture tag{};
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t block_rows = Codec::block_rows;
  static_assert(width == 2 * block_rows || block_rows % width == 0);
  constexpr std::size_t word_bytes = interleaved_word_bytes;
  constexpr std::size_t words = sizeof(block::codes) / block_rows / word_bytes;
  // Memory is asked for what comes: for the second-level cache two groups of rows ahead, or 16 KiB, in the
  // order in which their blocks lie, and once more soon after, for some of so many requests are dropped; and
  // for the first-level cache a little ahead in each row of blocks.
  // Measured on Zen 4 with 16 lanes and blocks in no cache (q4_r8, int8): nine tenths of plain reading's rate
  // with 576 and 4096 columns. Without the second request a twelfth less, without it and the first level a
  // sixth, with the first request 6 KiB ahead two fifths.
  constexpr std::size_t near_bytes = 2048;
  constexpr std::size_t least_far_bytes = 16 * 1024;
  constexpr std::size_t later_bytes = 4096;             // until the second request
  constexpr std::size_t most_group_bytes = 128 * 1024;  // of which three fit a second-level cache
  constexpr std::size_t stored_groups = std::max<std::size_t>(width / block_rows, 1);
  const std::size_t group_bytes = from.next_bytes;
  const std::size_t far_bytes =
      group_bytes > most_group_bytes ? group_bytes : std::max(2 * group_bytes, least_far_bytes);
  const std::byte* in_order = from.low;
  const std::size_t scales_at = from.skipped_rows * sizeof(float16);
  const std::size_t codes_at = offsetof(block, codes) + from.skipped_rows * word_bytes;
  const auto load_floats = [&](std::size_t at) NIBBLE_LAMBDA_IN_PLACE {
    if constexpr (width > block_rows) {
      return simd::load_float16_halves<Architecture>(from.low + at, from.high + at, tag, tag);
    } else {
      return simd::load_float16<Architecture>(from.low + at + scales_at, tag, tag);
    }
  };
  std::array<floats, Rows> totals;
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m] = simd::load<Architecture>(sums + m * width);
  for (std::size_t b = 0; b < blocks; ++b) {
    if constexpr (width >= block_rows) {
      NIBBLE_UNROLL
      for (std::size_t line = 0; line < stored_groups * sizeof(block); line += simd::line_bytes) {
        simd::prefetch_to_second_level(in_order, far_bytes + line);
        simd::prefetch_to_second_level(in_order, far_bytes - later_bytes + line);
      }
      in_order += stored_groups * sizeof(block);
    }
    NIBBLE_UNROLL
    for (std::size_t line = 0; line < sizeof(block); line += simd::line_bytes) {
      simd::prefetch(from.low, near_bytes + line);
      if constexpr (width > block_rows) simd::prefetch(from.high, near_bytes + line);
    }
    const auto word = [&](std::size_t i) NIBBLE_LAMBDA_IN_PLACE -> integers {
      const std::size_t at = i * block_rows * word_bytes;
      if constexpr (width > block_rows) {
        return simd::load_halves<Architecture>(from.low + codes_at + at, from.high + codes_at + at, tag,
                                               tag);
      } else {
        return simd::load_bytes<std::int32_t, Architecture>(from.low + codes_at + at);
      }
    };
    // Measured: unrolled to the end, several rows of activations take a third longer with 16-bit codes, for
    // there are too few registers; one row takes less.
    add_lane_block<Architecture, Codec, Value, words, (Rows > 1)>(
        word, {load_floats(offsetof(block, scales)), load_floats(offsetof(block, mins))}, x, b, totals);
    from.low += sizeof(block);
    from.high += sizeof(block);
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

template <Activation Value>
using interleaved_group_function = void (*)(lane_group, std::size_t blocks,
                                            const activation_tile<Value>&, float* sums) noexcept;

/// Products of a tile of activations, of at most lane_row_tile_rows rows, with some rows of a weight whose
/// rows are interleaved. A row's products do not depend on where it lies in the weight, nor on how many
/// rows that has.
template <class Architecture, InterleavedCodec Codec, Activation Value>
void multiply_interleaved_rows(const tensor_view& weight, row_range rows,
                               const activation_tile<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t block_rows = Codec::block_rows;
  constexpr std::size_t most_rows = lane_row_tile_rows<Architecture, Codec, Value>();
  const auto multiply = choose_by_rows<interleaved_group_function<Value>, most_rows>(
      x.rows,
      []<std::size_t Rows>() { return &multiply_interleaved_group<Architecture, Codec, Value, Rows>; });
  const std::size_t blocks = blocks_in(static_cast<std::size_t>(weight.cols()));
  const auto stride_bytes = static_cast<std::size_t>(weight.block_row_stride_bytes());
  const std::uint64_t end = rows.first + rows.count;
  alignas(64) std::array<float, most_rows * width> sums;
  for (std::uint64_t first = rows.first - rows.first % std::min(width, block_rows); first < end;
       first += width) {
    const std::byte* const low =
        weight.data() + static_cast<std::size_t>(first / block_rows) * stride_bytes;
    // Where no more rows are stored, the first ones stand for them.
    const bool has_high = weight.rows() - first > block_rows;
    std::fill_n(sums.begin(), x.rows * width, 0.0F);
    multiply({low, has_high ? low + stride_bytes : low, static_cast<std::size_t>(first % block_rows),
              stride_bytes * width / block_rows},
             blocks, x, sums.data());
    const std::uint64_t wanted = std::max(first, rows.first);
    const auto skipped = static_cast<std::size_t>(wanted - first);
    const auto count = static_cast<std::size_t>(std::min(first + width, end) - wanted);
    for (std::size_t m = 0; m < x.rows; ++m) {
      y.put_row(m, wanted, sums.data() + m * width + skipped, count, true);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
