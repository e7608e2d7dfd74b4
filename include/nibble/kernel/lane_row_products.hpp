#pragma once

// Products of few rows of quantized activations with blocks as they are stored, a lane a weight row.
// Loop nest of multiply_lane_rows, for one tile of activations and some weight rows:
//
//   for each group of as many weight rows as a vector has lanes
//     for each block of their columns
//       load the block's codes of every row, and transpose them in registers
//       gather the rows' headers, and widen scales and mins
//       for each vector of codes: four bytes, or two words, of each lane's row
//         for each row of the tile, unrolled to the end
//           multiply with four, or two, activations in all lanes, and add to the row's integers
//       scale the integers, and add them to the row's sums
//
// Codes, integers and sums stay in registers, for tiles of up to most_lane_row_tile rows. No sum is
// taken across lanes, and a row takes time by its blocks alone: there is no vector of blocks to fill,
// so that rows of 18 blocks do as well as those of 16.
//
// A group's rows lie one behind the other. Memory is asked for the same columns of the next group.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/block_headers.hpp>
#include <nibble/kernel/load_codes.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows of activations of a tile, at most: their sums and integers are in registers with the codes.
inline constexpr std::size_t most_lane_row_tile = 4;

/// Whether products of a codec's blocks with Value may take a lane a weight row: whole blocks, each
/// with its header before its codes.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_lane_row_products() noexcept {
  return BlockCodec<Codec> && !BitCodec<Codec> && !std::same_as<Value, float>;
}

/// The codes of one block of as many rows as there are lanes, each `row_bytes` behind the one before,
/// transposed: vector v * lanes + i has number i of the row's 32-bit pieces in vector v of a block.
template <class Architecture, code_packing Packing, Activation Value>
[[nodiscard]] auto load_lane_rows(const std::byte* codes, std::size_t row_bytes) noexcept {
  using block = decltype(load_codes<Architecture, Packing, Value>(nullptr));
  constexpr std::size_t vectors = std::tuple_size_v<block>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::array<simd::lane_tile<Architecture>, vectors> tiles;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < width; ++n) {
    const block row = load_codes<Architecture, Packing, Value>(codes + n * row_bytes);
    NIBBLE_UNROLL
    for (std::size_t v = 0; v < vectors; ++v) {
      tiles[v][n] = std::bit_cast<simd::vector<std::int32_t, Architecture>>(row[v]);
    }
  }
  NIBBLE_UNROLL
  for (std::size_t v = 0; v < vectors; ++v) {
    simd::transpose<Architecture>(tiles[v], Architecture{}, Architecture{});
  }
  return tiles;
}

/// The first four bytes of one block of as many rows as there are lanes.
template <class Architecture>
[[nodiscard]] simd::vector<std::int32_t, Architecture> load_lane_headers(
    const std::byte* blocks, std::size_t row_bytes) noexcept {
  std::array<std::int32_t, simd::lanes<Architecture>> headers;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < headers.size(); ++n) {
    std::memcpy(&headers[n], blocks + n * row_bytes, sizeof(headers[n]));
  }
  return std::bit_cast<simd::vector<std::int32_t, Architecture>>(headers);
}

/// sums[Rows][lanes] = the products of as many weight rows as there are lanes with the Rows rows of x.
template <class Architecture, Codec Codec, Activation Value, std::size_t Rows>
void multiply_lane_row_group(const std::byte* first_block, std::size_t blocks, std::size_t row_bytes,
                             const activation_tile<Value>& x, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using layout = block_layout<Codec>;
  using code = std::conditional_t<std::same_as<Value, std::int8_t>, std::uint8_t, std::int16_t>;
  using lane_vector = simd::vector<code, Architecture>;
  constexpr bool is_bytes = std::same_as<Value, std::int8_t>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t lane_codes = 4 / sizeof(code);
  constexpr Architecture tag{};
  constexpr float bias = code_bias<Codec, Value>() + static_cast<float>(Codec::code_zero);
  using products_type =
      std::conditional_t<is_bytes, simd::quad_sums<Architecture>, simd::vector<std::int32_t, Architecture>>;
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  const std::byte* block = first_block;
  const Value* values = x.values;
  for (std::size_t b = 0; b < blocks; ++b) {
    const auto tiles =
        load_lane_rows<Architecture, load_packing_of<Codec, Value>(), Value>(block + layout::codes_at, row_bytes);
    std::array<products_type, Rows> products;
    products.fill(products_type(0));
    NIBBLE_UNROLL
    for (std::size_t v = 0; v < tiles.size(); ++v) {
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < width; ++i) {
        const auto codes = std::bit_cast<lane_vector>(tiles[v][i]);
        const std::size_t at = (v * width + i) * lane_codes;
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          const Value* const from = values + m * simd::block_codes + at;
          if constexpr (is_bytes) {
            products[m] = simd::add_quads<Architecture>(products[m], codes, from, tag, tag);
          } else {
            products[m] = simd::add_pairs<Architecture>(products[m], codes, from, tag, tag);
          }
        }
      }
    }
    const auto [scales, mins] = scales_from_headers<Architecture, Codec>(
        load_lane_headers<Architecture>(block, row_bytes));
    floats offsets(0.0F);
    if constexpr (Codec::has_min) offsets = mins;
    if constexpr (bias != 0.0F) offsets = fma(scales, floats(-bias), offsets);
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      floats block_sums;
      if constexpr (is_bytes) {
        block_sums = to_float(simd::total_of_quads<Architecture>(products[m], tag, tag));
      } else {
        block_sums = to_float(products[m]);
      }
      // The scale of the activations comes first: sums of codes, times a weight's scale near f32's
      // largest number, would be infinite.
      const std::size_t at = m * x.row_blocks + b;
      totals[m] = fma(block_sums * floats(x.scales[at]), scales, totals[m]);
      if constexpr (Codec::has_min || bias != 0.0F) {
        totals[m] = fma(offsets, floats(x.sums[at]), totals[m]);
      }
    }
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < width; ++n) simd::prefetch(block, (width + n) * row_bytes);
    block += layout::stride_bytes;
    values += Rows * simd::block_codes;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
