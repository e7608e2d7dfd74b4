#pragma once

// Products of few rows of quantized activations with super-blocks as they are stored. Loop nest of
// multiply_super_block_rows, for one tile of activations and some weight rows:
//
//   for each pass over the columns             the tile's activations of a pass fill 16 KiB, half a
//   |                                          first-level cache
//   for each weight row
//     for each stored block                    multiply_super_blocks
//     |   widen its units, and the numbers of its sub-blocks
//     |   for each row of the tile: multiply units with the scales of its activations, offsets with
//     |   their sums
//     for each 32 codes, unrolled to the end   a vector runs along them
//     |   unpack them, into registers
//     for each row of the tile, unrolled to the end
//         multiply the codes with the row's activations, and add to the row's sum
//
// Codes are unpacked once for the tile and do not leave registers; the sums of the tile's rows are there
// too. What is written is a float for each 32 activations and 32 bytes of numbers, for every block.
//
// 32 codes have one scale, or each half of them its own. Then the number of a half, a small integer, is
// multiplied within the integers, and the unit is what scales: sums of two products of bytes are 16 bits
// wide and are multiplied where they would be added up; words are multiplied before their products.
//
// Measured (AVX2, 1024 x 4096, in cache, GFLOP/s for 1 and 4 rows of int8): see README.md.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/small_batch_products.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Blocks of 32 codes in a stored block.
template <BitCodec Codec>
inline constexpr std::size_t blocks_in_super_block = Codec::block_elements / simd::block_codes;

/// What a stored block's 32 codes are multiplied by, in the order of its blocks.
template <class Architecture, BitCodec Codec, Activation Value>
class super_block_scales {
 public:
  using floats = simd::vector<float, Architecture>;
  static constexpr std::size_t blocks = blocks_in_super_block<Codec>;
  static constexpr std::size_t parts = sub_blocks<Codec>;
  static constexpr bool has_halves = !has_block_scales<Codec>();
  static constexpr float bias = code_bias<Codec, Value>();
  static constexpr bool has_offsets = Codec::has_min || bias != 0.0F;
  static_assert(parts == (has_halves ? 2 : 1) * blocks && blocks % simd::lanes<Architecture> == 0);

  NIBBLE_IN_PLACE explicit super_block_scales(const std::byte* stored) noexcept {
    const auto header = header_of_block<Codec>(stored);
    const sub_block_numbers scale_numbers = Codec::scale_numbers(header);
    scale_unit_ = floats(simd::widen_float16(Codec::stored_scale(header), tag, tag));
    widen_numbers(scale_numbers, scales_);
    if constexpr (Codec::has_min) {
      min_unit_ = floats(simd::widen_float16(Codec::stored_min(header), tag, tag));
      widen_numbers(Codec::min_numbers(header), mins_);
    }
    if constexpr (has_halves) {
      for (std::size_t i = 0; i < parts; ++i) factors_[i] = scale_numbers[i];
      simd::load_from_memory(factors_);
    }
  }

  /// The scales of as many blocks as there are lanes: the units of those with halves.
  [[nodiscard]] floats of_blocks(std::size_t first) const noexcept {
    return has_halves ? scale_unit_ : scale_unit_ * scales_[first / width];
  }
  /// The offsets of as many sub-blocks as there are lanes, for the codes that products see.
  [[nodiscard]] floats offsets(std::size_t first) const noexcept {
    const floats scales = scale_unit_ * scales_[first / width];
    if constexpr (!Codec::has_min) {
      return scales * floats(-bias);
    } else {
      const floats mins = min_unit_ * mins_[first / width];
      return bias == 0.0F ? mins : fma(scales, floats(-bias), mins);
    }
  }
  /// The numbers of a block's halves.
  [[nodiscard]] const std::int16_t* factors(std::size_t block) const noexcept {
    return factors_.data() + 2 * block;
  }

 private:
  static constexpr Architecture tag{};
  static constexpr std::size_t width = simd::lanes<Architecture>;
  using part_floats = std::array<floats, parts / width>;

  NIBBLE_IN_PLACE static void widen_numbers(const sub_block_numbers& numbers,
                                            part_floats& to) noexcept {
    const auto* const from = reinterpret_cast<const std::byte*>(numbers.data());
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = to_float(simd::load_signed_bytes(from + i * width, tag, tag));
    }
  }

  floats scale_unit_;
  floats min_unit_;
  part_floats scales_;
  part_floats mins_;
  alignas(64) std::array<std::int16_t, max_sub_blocks> factors_;
};

/// A block's codes for products with Value.
template <class Architecture, BitCodec Codec, Activation Value, std::size_t Block>
[[nodiscard]] NIBBLE_IN_PLACE inline auto load_super_block_codes(
    const std::byte* stored, [[maybe_unused]] const std::int16_t* factors) noexcept {
  if constexpr (std::same_as<Value, std::int8_t>) {
    return load_codes32<Architecture, Codec, code_form::stored, Block>(stored);
  } else {
    const auto bytes = load_codes32<Architecture, Codec, code_form::counted, Block>(stored);
    auto words = simd::widen_signed_bytes<Architecture>(bytes, Architecture{}, Architecture{});
    if constexpr (!has_block_scales<Codec>()) {
      using vector = typename simd::block_words<Architecture>::value_type;
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < words.size(); ++i) {
        words[i] = words[i] * vector(factors[2 * i / words.size()]);
      }
    }
    return words;
  }
}

/// The most rows of activations that are multiplied together: their sums stay in registers.
inline constexpr std::size_t super_block_tile_rows = 8;

/// sums[m] = the products of `count` stored blocks with row m of the Rows rows of x, from their first
/// blocks on.
template <class Architecture, BitCodec Codec, Activation Value, std::size_t Rows>
void multiply_super_blocks(const std::byte* stored, std::size_t count, activation_tile<Value> x,
                           float* sums) noexcept {
  using scales_type = super_block_scales<Architecture, Codec, Value>;
  using floats = simd::vector<float, Architecture>;
  constexpr Architecture tag{};
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t blocks = blocks_in_super_block<Codec>;
  constexpr bool has_halves = scales_type::has_halves;
  constexpr std::size_t at_once = Rows <= 2 ? 2 : 1;
  parallel_sums<Architecture, Rows, at_once> totals;
  offset_sums<Architecture, Rows> offset_totals;
  for (std::size_t s = 0; s < count; ++s) {
    const scales_type scales(stored);
    if constexpr (scales_type::has_offsets) {
      const float* const x_sums = has_halves ? x.half_sums : x.sums;
      const std::size_t row_sums = (has_halves ? 2 : 1) * x.row_blocks;
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < scales_type::parts; i += width) {
        const floats offsets = scales.offsets(i);
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          offset_totals.add(m, offsets, simd::load<Architecture>(x_sums + m * row_sums + i));
        }
      }
    }
    alignas(64) std::array<std::array<float, blocks>, Rows> product_scales;
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < blocks; i += width) {
      const floats block_scales = scales.of_blocks(i);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        (block_scales * simd::load<Architecture>(x.scales + m * x.row_blocks + i))
            .store_unaligned(product_scales[m].data() + i);
      }
    }
    simd::load_from_memory(product_scales);
    const auto add_block = [&]<std::size_t Block>(std::integral_constant<std::size_t, Block>) {
      const Value* const from = x.values + Block * Rows * simd::block_codes;
      const std::int16_t* const factors = scales.factors(Block);
      const auto codes = load_super_block_codes<Architecture, Codec, Value, Block>(stored, factors);
      const auto add_products = [&](const auto& products_with) {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          auto& to = totals.sums[Block % at_once][m];
          to = fma(to_float(products_with(from + m * simd::block_codes)),
                   floats(product_scales[m][Block]), to);
        }
      };
      if constexpr (has_halves && std::same_as<Value, std::int8_t>) {
        const auto both = simd::load_half_factors(factors, tag, tag);
        add_products([&](const Value* own) {
          return simd::scaled_byte_products<Architecture>(codes, own, both, tag, tag);
        });
      } else {
        add_products([&](const Value* own) { return block_products<Architecture>(codes, own); });
      }
    };
    [&]<std::size_t... Block>(std::index_sequence<Block...>) {
      (add_block(std::integral_constant<std::size_t, Block>{}), ...);
    }
    (std::make_index_sequence<blocks>{});
    stored += sizeof(typename Codec::block);
    x.values += blocks * Rows * simd::block_codes;
    x.scales += blocks;
    x.sums += blocks;
    x.half_sums += 2 * blocks;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals.total(m) + offset_totals.of_row(m), tag, tag);
  }
}

/// multiply_super_blocks for `rows` rows of activations, 1 to super_block_tile_rows.
template <Activation Value>
using multiply_super_blocks_function = void (*)(const std::byte* stored, std::size_t count,
                                                activation_tile<Value> x, float* sums) noexcept;
template <class Architecture, BitCodec Codec, Activation Value>
[[nodiscard]] multiply_super_blocks_function<Value> choose_multiply_super_blocks(
    std::size_t rows) noexcept {
  return choose_by_rows<multiply_super_blocks_function<Value>, super_block_tile_rows>(
      rows,
      []<std::size_t Rows>() { return &multiply_super_blocks<Architecture, Codec, Value, Rows>; });
}

/// Products of a tile of quantized activations, of at most super_block_tile_rows rows, with some rows
/// of a weight.
template <class Architecture, BitCodec Codec, Activation Value>
void multiply_super_block_rows(const tensor_view& weight, row_range rows,
                               const activation_tile<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t blocks = blocks_in_super_block<Codec>;
  constexpr std::size_t stored_bytes = sizeof(typename Codec::block);
  constexpr std::size_t pass_bytes = 16384;
  const auto multiply = choose_multiply_super_blocks<Architecture, Codec, Value>(x.rows);
  const auto stored = static_cast<std::size_t>(divide_round_up(weight.cols(), Codec::block_elements));
  const std::size_t pass =
      std::max<std::size_t>(1, pass_bytes / (x.rows * Codec::block_elements * sizeof(Value)));
  for (std::size_t first = 0; first < stored; first += pass) {
    const std::size_t count = std::min(pass, stored - first);
    const std::size_t block = first * blocks;
    activation_tile<Value> from = x;
    from.values += block * x.rows * simd::block_codes;
    from.scales += block;
    from.sums += block;
    from.half_sums += 2 * block;
    for (std::size_t n = 0; n < rows.count; ++n) {
      const auto row = static_cast<std::size_t>(rows.first) + n;
      std::array<float, super_block_tile_rows> sums;
      multiply(weight.bytes().data() + (row * stored + first) * stored_bytes, count, from, sums.data());
      y.put(rows.first + n, sums.data(), x.rows, first == 0);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
