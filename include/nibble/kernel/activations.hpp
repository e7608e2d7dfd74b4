#pragma once

// Prepares activations for products with blocks of codes. Loop nest, one row at a time:
//
//   for each block of 32 elements of the row
//     copy it, padded with zeros, in the order in which kernels unpack codes
//     as f32: its sum; quantized: its largest magnitude, then codes, their scale and their sums
//
// A block stays in registers. What is written lies in the order in which a product reads it: all rows
// of a tile side by side, block after block. Products read sums and scales by whole vectors, and so
// rows are padded to 16 blocks, the lanes of the widest vector.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The type of a prepared activation: f32, or the code of a quantized activation.
template <class T>
concept Activation =
    std::same_as<T, float> || std::same_as<T, std::int16_t> || std::same_as<T, std::int8_t>;

/// What activations are prepared as.
enum class activation_format : std::uint8_t {
  f32_blocks,            ///< f32, in blocks of 32; prepared_activations<float>
  f32_interleaved,       ///< f32, column by column of a tile; interleaved_activations<float>
  bfloat16_interleaved,  ///< the same in bf16, two columns at a time
  int16_codes,           ///< 16-bit codes with a scale for each block
  int8_codes,            ///< 8-bit codes with a scale for each block
};

/// The format of prepared_activations<Value>.
template <Activation Value>
[[nodiscard]] constexpr activation_format block_format_of() noexcept {
  if constexpr (std::same_as<Value, float>) return activation_format::f32_blocks;
  return std::same_as<Value, std::int8_t> ? activation_format::int8_codes
                                          : activation_format::int16_codes;
}

/// The order of the activations in a block. It is the order in which kernels unpack the block's codes:
/// where codes 2j and 2j + 1 share a byte, all low nibbles come before all high ones; where bytes of a
/// 32-bit word become 16-bit words two at a time, bytes 0 and 2 come before 1 and 3.
enum class activation_order : std::uint8_t { natural, even_then_odd, crossed_pairs };

/// Where element i of a block of 32 stands.
[[nodiscard]] constexpr std::size_t place_of(std::size_t i, activation_order order) noexcept {
  constexpr std::size_t half = simd::block_codes / 2;
  constexpr std::array<std::size_t, 4> crossed{0, 2, 1, 3};
  switch (order) {
    case activation_order::even_then_odd: return i / 2 + i % 2 * half;
    case activation_order::crossed_pairs: return i - i % 4 + crossed[i % 4];
    default: return i;
  }
}

/// The layout of the blocks of a prepared row. joined_blocks is 1, 2 or 8. Two joined blocks A and B are
/// stored as A[0..15] B[0..15] A[16..31] B[16..31]: a 32-byte vector that is loaded from two blocks of
/// nibbles holds the low nibbles of both, and then the high nibbles of both. Eight joined blocks, those of
/// a super-block, lie one behind the other.
struct activation_layout {
  activation_order order = activation_order::natural;
  std::size_t joined_blocks = 1;
  friend bool operator==(const activation_layout&, const activation_layout&) = default;
};

/// Rows are padded to a multiple of so many blocks: the lanes of the widest vector.
inline constexpr std::size_t padding_blocks = 16;

/// Blocks of 32 that `elements` fill, the last one perhaps in part.
[[nodiscard]] constexpr std::size_t blocks_in(std::size_t elements) noexcept {
  return static_cast<std::size_t>(divide_round_up(elements, simd::block_codes));
}

/// `blocks`, rounded up to a multiple of padding_blocks.
[[nodiscard]] constexpr std::size_t pad_blocks(std::size_t blocks) noexcept {
  return static_cast<std::size_t>(divide_round_up(blocks, padding_blocks)) * padding_blocks;
}

/// Rows of activations that are multiplied together.
template <Activation Value>
struct activation_tile {
  const Value* values;     ///< [row_blocks / joined_blocks][rows][32 * joined_blocks]
  const float* scales;     ///< [rows][row_blocks]; what a code of 1 stands for; unset for f32
  const float* sums;       ///< [rows][row_blocks]; of what a block's values stand for
  const float* half_sums;  ///< [rows][row_blocks][2]; the same of its halves; unset for f32
  std::size_t row_blocks;  ///< a multiple of padding_blocks
  std::size_t rows;
};

/// Activations in blocks of 32, padded with zeros, tile after tile. It lies in memory that
/// place_activations was given.
template <Activation Value>
struct prepared_activations {
  std::size_t rows;
  std::size_t max_tile_rows;
  std::size_t row_blocks;  ///< of each row, a multiple of padding_blocks
  Value* values;           ///< tile after tile, each as activation_tile says
  float* scales;           ///< [rows][row_blocks]
  float* sums;             ///< [rows][row_blocks]
  float* half_sums;        ///< [rows][row_blocks][2], but for f32

  /// Rows of the tile that starts at row m.
  [[nodiscard]] std::size_t tile_rows(std::size_t m) const noexcept {
    return tile_rows_at(m, rows, max_tile_rows);
  }
  /// The tile that starts at row m.
  [[nodiscard]] activation_tile<Value> tile(std::size_t m) const noexcept {
    const std::size_t block = m * row_blocks;
    return {values + block * simd::block_codes,
            scales + block,
            sums + block,
            half_sums + 2 * block,
            row_blocks,
            tile_rows(m)};
  }
};

/// Blocks of a prepared row of `cols` elements.
[[nodiscard]] constexpr std::size_t padded_blocks(std::size_t cols) noexcept {
  return pad_blocks(blocks_in(cols));
}

/// Floats beside a block's values: its scale, its sum and, of codes, the sums of its halves.
template <Activation Value>
inline constexpr std::size_t block_floats = std::same_as<Value, float> ? 2 : 4;

/// Bytes of one prepared row.
template <Activation Value>
[[nodiscard]] constexpr std::size_t prepared_row_bytes(std::size_t cols) noexcept {
  return padded_blocks(cols) *
         (simd::block_codes * sizeof(Value) + block_floats<Value> * sizeof(float));
}

/// Places `rows` rows of `cols` activations in `memory`, which is aligned to 64 bytes and has
/// rows * prepared_row_bytes bytes. Nothing is written.
template <Activation Value>
[[nodiscard]] prepared_activations<Value> place_activations(std::byte* memory, std::size_t rows,
                                                            std::size_t max_tile_rows,
                                                            std::size_t cols) noexcept {
  const std::size_t blocks = rows * padded_blocks(cols);
  auto* const scales = reinterpret_cast<float*>(memory);
  float* const sums = scales + blocks;
  float* const half_sums = sums + blocks;
  auto* const values = reinterpret_cast<Value*>(scales + block_floats<Value> * blocks);
  return {rows, max_tile_rows, padded_blocks(cols), values, scales, sums, half_sums};
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

/// Quantizes a block: scale = max|x| / largest code, and each code is the nearest to x / scale, ties to
/// even. `sum` is the sum of what the codes stand for. A block that holds NaN or an infinity has the
/// scale NaN. A block whose largest magnitude is below largest code / largest f32 counts as zeros.
template <class Architecture, Activation Value>
void quantize_activations(const float* values, Value* codes, float& scale, float& sum) noexcept {
  using block_tag = simd::block_architecture<Architecture>;
  constexpr auto largest_code = static_cast<float>(std::numeric_limits<Value>::max());
  constexpr std::int32_t infinity_bits = 0x7F800000;
  const auto largest_bits =
      std::bit_cast<std::int32_t>(simd::largest_magnitude(values, block_tag{}, block_tag{}));
  const auto largest = std::bit_cast<float>(largest_bits);
  const float inverse_scale = largest_code / largest;
  if (largest_bits < infinity_bits && std::bit_cast<std::int32_t>(inverse_scale) < infinity_bits) {
    scale = largest / largest_code;
    const auto sum_of_codes =
        simd::quantize_block(values, inverse_scale, codes, block_tag{}, block_tag{});
    sum = scale * static_cast<float>(sum_of_codes);
    return;
  }
  std::fill_n(codes, simd::block_codes, Value{0});
  scale = largest_bits < infinity_bits ? 0.0F : std::numeric_limits<float>::quiet_NaN();
  sum = scale;
}

/// The sums of what the codes of a block's halves stand for.
template <Activation Value>
void sum_halves(const Value* codes, float scale, float* sums) noexcept {
  constexpr std::size_t half = simd::block_codes / 2;
  std::int32_t first = 0;
  std::int32_t second = 0;
  for (std::size_t i = 0; i < half; ++i) {
    first += codes[i];
    second += codes[half + i];
  }
  sums[0] = scale * static_cast<float>(first);
  sums[1] = scale * static_cast<float>(second);
}

/// Products of a block's quantized activations with codes that are larger by `bias`, a power of two, less
/// what is too much. x_sums are the sums of the activations. Where all codes stand for zero this is zero: the
/// products, and the sums, were rounded alike.
template <class Floats>
[[nodiscard]] NIBBLE_IN_PLACE inline Floats without_bias(const Floats& products, const Floats& x_sums,
                                                         float bias) noexcept {
  return simd::fma(x_sums, Floats(-bias), products);
}

/// Prepares row `row` of `to` from the `cols` activations at `x`.
template <class Architecture, Activation Value>
void prepare_row(const float* x, std::size_t cols, const activation_layout& layout, std::size_t row,
                 const prepared_activations<Value>& to) noexcept {
  constexpr std::size_t block_elements = simd::block_codes;
  constexpr std::size_t half = block_elements / 2;
  const std::size_t first_block = row * to.row_blocks;
  const row_tile tile = tile_of_row(row, to.rows, to.max_tile_rows);
  // A unit is the joined blocks of one row.
  const std::size_t unit_elements = layout.joined_blocks * block_elements;
  const bool has_halves_apart = layout.joined_blocks == 2;
  const bool is_natural = layout.order == activation_order::natural;
  Value* unit =
      to.values + tile.first * to.row_blocks * block_elements + (row - tile.first) * unit_elements;
  static constexpr std::array<float, block_elements> padding{};
  std::array<float, block_elements> reordered;
  std::array<Value, block_elements> unjoined;
  for (std::size_t b = 0; b < to.row_blocks; ++b) {
    const std::size_t at = b * block_elements;
    const std::size_t count = at < cols ? std::min(block_elements, cols - at) : 0;
    const float* block = count == 0 ? padding.data() : x + at;
    if (count != 0 && (count != block_elements || !is_natural)) {
      for (std::size_t i = 0; i < block_elements; ++i) {
        reordered[place_of(i, layout.order)] = i < count ? block[i] : 0.0F;
      }
      block = reordered.data();
    }
    const std::size_t place = b % layout.joined_blocks;
    Value* const values = has_halves_apart ? unjoined.data() : unit + place * block_elements;
    if constexpr (std::same_as<Value, float>) {
      std::memcpy(values, block, block_elements * sizeof(float));
      to.sums[first_block + b] = sum_of_block<Architecture>(block);
    } else {
      float& scale = to.scales[first_block + b];
      quantize_activations<Architecture>(block, values, scale, to.sums[first_block + b]);
      sum_halves(values, scale, to.half_sums + 2 * (first_block + b));
    }
    if (has_halves_apart) {
      Value* const first_half = unit + place * half;
      std::memcpy(first_half, unjoined.data(), half * sizeof(Value));
      std::memcpy(first_half + unit_elements / 2, unjoined.data() + half, half * sizeof(Value));
    }
    if (place + 1 == layout.joined_blocks) unit += tile.rows * unit_elements;
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
