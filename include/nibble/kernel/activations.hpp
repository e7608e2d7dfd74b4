#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <type_traits>

#include <nibble/core/architecture.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// What activations are treated as: f32, or codes of a block each of which stands for a step.
template <class T>
concept Activation =
    std::same_as<T, float> || std::same_as<T, std::int16_t> || std::same_as<T, std::int8_t>;

/// What a product asks the activations to be prepared as: of f32, blocks or columns of tiles.
enum class activation_format : std::uint8_t { none, floats, interleaved_floats, words, bytes };
template <Activation Value>
[[nodiscard]] constexpr activation_format block_format_of() noexcept {
  if constexpr (std::same_as<Value, float>) return activation_format::f32_blocks;
  return std::same_as<Value, std::int8_t> ? activation_format::int8_codes : activation_format::int16_codes;
}

/// How the activations of a block are ordered: as kernels take the block's codes apart.
enum class activation_order : std::uint8_t { natural, even_then_odd };

/// How a row's blocks lie: in an order, and each on its own, or two joined, the first halves of both
/// before the second ones.
struct activation_layout {
  activation_order order = activation_order::natural;
  std::size_t joined_blocks = 1;
  friend bool operator==(const activation_layout&, const activation_layout&) = default;
};

/// Rows are padded to whole groups of blocks, so that kernels may read scales and sums by vectors.
inline constexpr std::size_t padding_blocks = 16;

/// Rows of the tile that starts at row m of `rows`: tiles of about the same size, at most `most`.
[[nodiscard]] constexpr std::size_t tile_rows_at(std::size_t m, std::size_t rows,
                                                 std::size_t most) noexcept {
  const std::size_t tiles_left = (rows - m + most - 1) / most;
  return (rows - m + tiles_left - 1) / tiles_left;
}

/// Rows of activations that are multiplied together.
template <Activation Value>
struct activation_tile {
  const Value* values;     ///< [row_blocks / joined_blocks][rows][32 * joined_blocks]
  const float* steps;      ///< [rows][row_blocks]; what a code of 1 stands for; none for f32
  const float* sums;       ///< [rows][row_blocks]; of the values that the block's codes stand for
  std::size_t row_blocks;  ///< a multiple of padding_blocks
};

/// Activations by blocks of 32, padded with zeros, in tiles: what is multiplied together lies together.
/// In memory that place_activations was given.
template <Activation Value>
struct prepared_activations {
  std::size_t rows;
  std::size_t max_tile_rows;
  std::size_t row_blocks;  ///< of each row, a multiple of padding_blocks
  Value* values;           ///< of each tile in turn
  float* steps;            ///< [rows][row_blocks]
  float* sums;             ///< [rows][row_blocks]

  /// Rows of the tile that starts at row m.
  [[nodiscard]] std::size_t tile_rows(std::size_t m) const noexcept {
    return tile_rows_at(m, rows, max_tile_rows);
  }
  [[nodiscard]] activation_tile<Value> tile(std::size_t m) const noexcept {
    return {values + m * row_blocks * simd::block_codes, steps + m * row_blocks, sums + m * row_blocks,
            row_blocks};
  }
};

/// Blocks of a prepared row of `cols` elements.
[[nodiscard]] constexpr std::size_t padded_blocks(std::size_t cols) noexcept {
  constexpr std::size_t group = simd::block_codes * padding_blocks;
  return (cols + group - 1) / group * padding_blocks;
}

/// Memory for one prepared row.
template <Activation Value>
[[nodiscard]] constexpr std::size_t prepared_row_bytes(std::size_t cols) noexcept {
  return padded_blocks(cols) * (simd::block_codes * sizeof(Value) + 2 * sizeof(float));
}

/// Rows of `cols` activations in `memory`, aligned to 64 bytes and rows * prepared_row_bytes long.
template <Activation Value>
[[nodiscard]] prepared_activations<Value> place_activations(std::byte* memory, std::size_t rows,
                                                            std::size_t max_tile_rows,
                                                            std::size_t cols) noexcept {
  const std::size_t blocks = rows * padded_blocks(cols);
  auto* const numbers = reinterpret_cast<float*>(memory);
  return {rows,    max_tile_rows,  padded_blocks(cols), reinterpret_cast<Value*>(numbers + 2 * blocks),
          numbers, numbers + blocks};
}

/// The sum of a block's values.
template <class Architecture>
[[nodiscard]] float sum_of_block(const float* values) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  auto sums = simd::load<Architecture>(values);
  NIBBLE_UNROLL
  for (std::size_t i = width; i < simd::block_codes; i += width) {
    sums = sums + simd::load<Architecture>(values + i);
  }
  return simd::sum_of_lanes(sums, Architecture{}, Architecture{});
}

/// Codes a block: step = max|x| / largest code, each code the nearest to x / step, ties to even. A
/// block that holds NaN or an infinity has the step NaN; one whose largest magnitude is below largest
/// code / largest f32 counts as zeros.
template <class Architecture, Activation Value>
void code_activations(const float* values, Value* codes, float& step, float& sum) noexcept {
  using block_tag = simd::block_architecture<Architecture>;
  constexpr auto largest_code = static_cast<float>(std::numeric_limits<Value>::max());
  const auto largest_bits =
      std::bit_cast<std::int32_t>(simd::largest_magnitude(values, block_tag{}, block_tag{}));
  constexpr std::int32_t infinity_bits = 0x7F800000;
  const auto largest = std::bit_cast<float>(largest_bits);
  const float steps = largest_code / largest;
  if (largest_bits < infinity_bits && std::bit_cast<std::int32_t>(steps) < infinity_bits) {
    step = largest / largest_code;
    sum = step * static_cast<float>(simd::quantize_block(values, steps, codes, block_tag{}, block_tag{}));
    return;
  }
  std::fill_n(codes, simd::block_codes, Value{0});
  step = largest_bits < infinity_bits ? 0.0F : std::numeric_limits<float>::quiet_NaN();
  sum = step;
}

/// Prepares row `row` from the `cols` activations at `x`.
template <class Architecture, Activation Value>
void prepare_row(const float* x, std::size_t cols, const activation_layout& layout, std::size_t row,
                 const prepared_activations<Value>& to) noexcept {
  constexpr std::size_t block_elements = simd::block_codes;
  const std::size_t first = row * to.row_blocks;
  std::size_t tile = 0;
  std::size_t tile_rows = to.tile_rows(0);
  while (tile + tile_rows <= row) {
    tile += tile_rows;
    tile_rows = to.tile_rows(tile);
  }
  const std::size_t unit_elements = layout.joined_blocks * block_elements;
  const bool is_natural = layout.order == activation_order::natural;
  Value* unit = to.values + tile * to.row_blocks * block_elements + (row - tile) * unit_elements;
  std::array<float, block_elements> own;
  std::array<Value, block_elements> coded;
  for (std::size_t b = 0; b < to.row_blocks; ++b) {
    const std::size_t at = b * block_elements;
    const std::size_t count = at < cols ? std::min(block_elements, cols - at) : 0;
    const float* block = x + (count == 0 ? 0 : at);
    if (count != block_elements || !is_natural) {
      for (std::size_t i = 0; i < block_elements; ++i) {
        const std::size_t place = is_natural ? i : i / 2 + i % 2 * (block_elements / 2);
        own[place] = i < count ? block[i] : 0.0F;
      }
      block = own.data();
    }
    Value* const values = layout.joined_blocks == 1 ? unit : coded.data();
    if constexpr (std::same_as<Value, float>) {
      std::memcpy(values, block, block_elements * sizeof(float));
      to.sums[first + b] = sum_of_block<Architecture>(block);
    } else {
      code_activations<Architecture>(block, values, to.steps[first + b], to.sums[first + b]);
    }
    const std::size_t place = b % layout.joined_blocks;
    if (layout.joined_blocks != 1) {
      constexpr std::size_t half = block_elements / 2;
      std::memcpy(unit + place * half, coded.data(), half * sizeof(Value));
      std::memcpy(unit + place * half + unit_elements / 2, coded.data() + half, half * sizeof(Value));
    }
    if (place + 1 == layout.joined_blocks) unit += tile_rows * unit_elements;
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
