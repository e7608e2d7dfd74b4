#pragma once

// Products of few rows of quantized activations with blocks of BitCodecs as they are stored: k-quants and
// others whose codes are put together from bits in several places. Loop nest of multiply_bit_codes, for
// one tile of activations and some weight rows:
//
//   for each pass over the columns             the tile's activations of a pass fill 16 KiB, half a
//   |                                          first-level cache
//   for each weight row
//     for each group of eight blocks of 32     multiply_bit_groups
//     |   widen scales and mins: of a super-block its units and the numbers of its sub-blocks
//     |   for each row of the tile: multiply scales with those of its activations, offsets with their
//     |   sums
//     for each block, unrolled to the end      a vector runs along its 32 codes
//     |   unpack them, into registers
//     for each row of the tile, unrolled to the end
//         multiply the codes with the row's activations, and add to the row's sum
//
// Codes are unpacked once for the tile and do not leave registers; the sums of the tile's rows are there
// too. What is written is a float for each row's 32 activations, and of words the numbers of a super-block.
//
// 32 codes have one scale, or each half of them its own. Then the number of a half, a small integer, is
// multiplied within the integers, and the unit is what scales: sums of two products of bytes are 16 bits
// wide and are multiplied where they would be added up; words are multiplied before their products.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/block_headers.hpp>
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

/// Blocks of 32 that are multiplied one after the other: their scales fill vectors.
inline constexpr std::size_t group_blocks = 8;

/// A group's stored blocks: one super-block, or a block each.
template <BitCodec Codec>
inline constexpr std::size_t group_stored_blocks =
    group_blocks* simd::block_codes / Codec::block_elements;
template <BitCodec Codec>
inline constexpr std::size_t group_bytes = group_stored_blocks<Codec> * sizeof(typename Codec::block);

/// What the codes of a group are multiplied by, in the order of its blocks.
template <class Architecture, BitCodec Codec, Activation Value>
class group_scales {
 public:
  using floats = simd::vector<float, Architecture>;
  static constexpr bool has_halves = !has_block_scales<Codec>();
  static constexpr std::size_t parts = (has_halves ? 2 : 1) * group_blocks;
  /// Whether sums of products of bytes are multiplied by numbers; codes are, where they are words.
  static constexpr bool multiplies_sums = has_halves && std::same_as<Value, std::int8_t>;
  static constexpr float bias = code_bias<Codec, Value>();
  static constexpr bool has_offsets = Codec::has_min || bias != 0.0F;
  static_assert(unpacks_in_registers<Codec>());
  static_assert(Codec::block_elements % simd::block_codes == 0 &&
                group_blocks * simd::block_codes % Codec::block_elements == 0 &&
                sub_blocks<Codec> * group_stored_blocks<Codec> == parts &&
                group_blocks % simd::lanes<Architecture> == 0);

  NIBBLE_IN_PLACE explicit group_scales(const std::byte* stored) noexcept {
    if constexpr (sub_blocks < Codec >> 1) {
      const auto header = header_of_block<Codec>(stored);
      const sub_block_numbers scale_numbers = load_scale_numbers<Architecture, Codec>(header);
      scale_unit_ = floats(simd::widen_float16(Codec::stored_scale(header), tag, tag));
      widen_numbers(scale_numbers, scale_unit_, scales_);
      if constexpr (Codec::has_min) {
        const floats min_unit(simd::widen_float16(Codec::stored_min(header), tag, tag));
        widen_numbers(Codec::min_numbers(header), min_unit, mins_);
      }
      if constexpr (multiplies_sums) {
        byte_factors_ = simd::load_factors(scale_numbers.data(), tag, tag);
      } else if constexpr (has_halves) {
        for (std::size_t i = 0; i < parts; ++i) word_factors_[i] = scale_numbers[i];
        simd::load_from_memory(word_factors_);
      }
    } else {
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < parts; i += width) {
        const auto both = scales_from_headers<Architecture, Codec>(
            load_headers<Architecture, stored_bytes>(stored + i * stored_bytes));
        scales_[i / width] = both.first;
        if constexpr (Codec::has_min) mins_[i / width] = both.second;
      }
    }
  }

  /// The scales of as many blocks as there are lanes: the units of those with halves.
  [[nodiscard]] floats of_blocks(std::size_t first) const noexcept {
    return has_halves ? scale_unit_ : scales_[first / width];
  }
  /// The offsets of as many sub-blocks as there are lanes, for the codes that products see.
  [[nodiscard]] floats offsets(std::size_t first) const noexcept {
    const std::size_t i = first / width;
    if constexpr (!Codec::has_min) {
      return scales_[i] * floats(-bias);
    } else if constexpr (bias == 0.0F) {
      return mins_[i];
    } else {
      return simd::fma(scales_[i], floats(-bias), mins_[i]);
    }
  }
  /// The numbers of a block's halves, by which words are multiplied.
  [[nodiscard]] const std::int16_t* word_factors(std::size_t block) const noexcept {
    return word_factors_.data() + 2 * block;
  }
  /// The same, by which sums of two products of bytes are multiplied.
  template <std::size_t Block>
  [[nodiscard]] simd::half_factors<Architecture> byte_factors() const noexcept {
    return simd::half_factors_of<Block>(byte_factors_, tag, tag);
  }

 private:
  static constexpr Architecture tag{};
  static constexpr std::size_t width = simd::lanes<Architecture>;
  static constexpr std::size_t stored_bytes = sizeof(typename Codec::block);
  using part_floats = std::array<floats, parts / width>;

  NIBBLE_IN_PLACE static void widen_numbers(const sub_block_numbers& numbers, const floats& unit,
                                            part_floats& to) noexcept {
    const auto* const from = reinterpret_cast<const std::byte*>(numbers.data());
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < to.size(); ++i) {
      to[i] = unit * to_float(simd::load_signed_bytes(from + i * width, tag, tag));
    }
  }

  floats scale_unit_;
  part_floats scales_;
  part_floats mins_;
  alignas(64) std::array<std::int16_t, max_sub_blocks> word_factors_;
  simd::factor_words<Architecture> byte_factors_;
};

/// The codes of block `Place` of a stored block for products with Value.
template <class Architecture, BitCodec Codec, Activation Value, std::size_t Place>
[[nodiscard]] NIBBLE_IN_PLACE inline auto load_bit_codes(
    const std::byte* stored, [[maybe_unused]] const std::int16_t* factors) noexcept {
  if constexpr (std::same_as<Value, std::int8_t>) {
    return load_codes32<Architecture, Codec, code_form::stored, Place>(stored);
  } else {
    const auto bytes = load_codes32<Architecture, Codec, code_form::counted, Place>(stored);
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
template <class Architecture>
inline constexpr std::size_t bit_code_tile_rows = has_few_registers<Architecture> ? 4 : 8;

/// sums[m] = the products of `count` blocks with row m of the Rows rows of x, from its first blocks on.
/// Blocks are read by groups; the last group may have fewer of those that are stored one by one.
template <class Architecture, BitCodec Codec, Activation Value, std::size_t Rows>
void multiply_bit_groups(const std::byte* group, std::size_t count, activation_tile<Value> x,
                         float* sums) noexcept {
  using scales_type = group_scales<Architecture, Codec, Value>;
  using floats = simd::vector<float, Architecture>;
  constexpr Architecture tag{};
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr bool has_halves = scales_type::has_halves;
  constexpr std::size_t at_once = Rows <= 2 ? 2 : 1;
  parallel_sums<Architecture, Rows, at_once> totals;
  offset_sums<Architecture, Rows> offset_totals;
  for (std::size_t done = 0; done < count; done += group_blocks) {
    const scales_type scales(group);
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
    alignas(64) std::array<std::array<float, group_blocks>, Rows> product_scales;
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < group_blocks; i += width) {
      const floats block_scales = scales.of_blocks(i);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        (block_scales * simd::load<Architecture>(x.scales + m * x.row_blocks + i))
            .store_unaligned(product_scales[m].data() + i);
      }
    }
    simd::load_from_memory(product_scales);
    // Block number `block` of the group, which is block Place of a stored block.
    const auto add_block = [&]<std::size_t Place>(std::integral_constant<std::size_t, Place>,
                                                  const std::byte* stored, std::size_t block,
                                                  std::size_t sum) NIBBLE_LAMBDA_IN_PLACE {
      const Value* const from = x.values + block * Rows * simd::block_codes;
      const auto codes =
          load_bit_codes<Architecture, Codec, Value, Place>(stored, scales.word_factors(block));
      const auto add_products = [&](const auto& products_with) NIBBLE_LAMBDA_IN_PLACE {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          auto& to = totals.sums[sum][m];
          to = simd::fma(to_float(products_with(from + m * simd::block_codes)),
                         floats(product_scales[m][block]), to);
        }
      };
      if constexpr (scales_type::multiplies_sums) {
        const auto factors = scales.template byte_factors<Place>();
        add_products([&](const Value* own) NIBBLE_LAMBDA_IN_PLACE {
          return simd::scaled_byte_products<Architecture>(codes, own, factors, tag, tag);
        });
      } else {
        add_products([&](const Value* own)
                         NIBBLE_LAMBDA_IN_PLACE { return block_products<Architecture>(codes, own); });
      }
    };
    if constexpr (group_stored_blocks<Codec> == 1) {
      [&]<std::size_t... Place>(std::index_sequence<Place...>) NIBBLE_LAMBDA_IN_PLACE {
        (add_block(std::integral_constant<std::size_t, Place>{}, group, Place, Place % at_once), ...);
      }
      (std::make_index_sequence<group_blocks>{});
    } else {
      constexpr std::integral_constant<std::size_t, 0> place;
      constexpr std::size_t stored_bytes = sizeof(typename Codec::block);
      const std::size_t blocks = std::min(group_blocks, count - done);
      std::size_t b = 0;
      NIBBLE_KEEP_ROLLED
      for (; b + at_once <= blocks; b += at_once) {
        NIBBLE_UNROLL
        for (std::size_t i = 0; i < at_once; ++i) {
          add_block(place, group + (b + i) * stored_bytes, b + i, i);
        }
      }
      if (b != blocks) add_block(place, group + b * stored_bytes, b, 0);
    }
    group += group_bytes<Codec>;
    x.values += group_blocks * Rows * simd::block_codes;
    x.scales += group_blocks;
    x.sums += group_blocks;
    x.half_sums += 2 * group_blocks;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals.total(m) + offset_totals.of_row(m), tag, tag);
  }
}

/// multiply_bit_groups for `rows` rows of activations, 1 to bit_code_tile_rows.
template <Activation Value>
using multiply_bit_groups_function = void (*)(const std::byte* group, std::size_t count,
                                              activation_tile<Value> x, float* sums) noexcept;
template <class Architecture, BitCodec Codec, Activation Value>
[[nodiscard]] multiply_bit_groups_function<Value> choose_multiply_bit_groups(
    std::size_t rows) noexcept {
  return choose_by_rows<multiply_bit_groups_function<Value>, bit_code_tile_rows<Architecture>>(
      rows, []<std::size_t Rows>() { return &multiply_bit_groups<Architecture, Codec, Value, Rows>; });
}

/// Products of a tile of quantized activations, of at most bit_code_tile_rows rows, with some rows of a
/// weight.
template <class Architecture, BitCodec Codec, Activation Value>
void multiply_bit_codes(const tensor_view& weight, row_range rows, const activation_tile<Value>& x,
                        const product_output& y) noexcept {
  constexpr std::size_t stored_bytes = sizeof(typename Codec::block);
  constexpr std::size_t pass_bytes = 16384;
  constexpr std::size_t group_values = group_blocks * simd::block_codes;
  const auto multiply = choose_multiply_bit_groups<Architecture, Codec, Value>(x.rows);
  const auto row_stored =
      static_cast<std::size_t>(divide_round_up(weight.cols(), Codec::block_elements));
  const std::size_t groups = row_stored / group_stored_blocks<Codec>;
  const std::size_t rest = row_stored % group_stored_blocks<Codec>;
  const std::size_t pass =
      std::max<std::size_t>(1, pass_bytes / (x.rows * group_values * sizeof(Value)));
  // A last group of fewer blocks is copied, for the scales of a whole group to be read.
  alignas(64) std::array<std::byte, group_bytes<Codec>> last{};
  const auto multiply_groups = [&](std::size_t first, std::size_t blocks, bool is_copied) {
    const std::size_t first_block = first * group_blocks;
    activation_tile<Value> from = x;
    from.values += first * x.rows * group_values;
    from.scales += first_block;
    from.sums += first_block;
    from.half_sums += 2 * first_block;
    for (std::size_t n = 0; n < rows.count; ++n) {
      const std::size_t row = static_cast<std::size_t>(rows.first) + n;
      const std::byte* group = position_of_row(weight, row).start + first * group_bytes<Codec>;
      if (is_copied) {
        std::memcpy(last.data(), group, rest * stored_bytes);
        group = last.data();
      }
      std::array<float, bit_code_tile_rows<Architecture>> sums;
      multiply(group, blocks, from, sums.data());
      y.put(rows.first + n, sums.data(), x.rows, first == 0);
    }
  };
  for (std::size_t first = 0; first < groups; first += pass) {
    multiply_groups(first, std::min(pass, groups - first) * group_blocks, false);
  }
  if (rest != 0) multiply_groups(groups, rest, true);
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
