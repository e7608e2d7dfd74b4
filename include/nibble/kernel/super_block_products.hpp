#pragma once

// Products of few rows of 8-bit activations with super-blocks of k-quants as they are stored, by vectors
// that run along several blocks of 32. Loop nest of multiply_super_blocks, for one tile of activations and
// some weight rows:
//
//   for each pass over the columns           what is made of the tile's activations of a pass fills
//   |                                        16 to 20 KiB of a first-level cache
//   |   spread_activations, once for all weight rows
//   for each weight row
//     for each super-block of 256            multiply_super_block_row
//       unpack its codes, into registers
//       spread the numbers of its sub-blocks over the words that they are multiplied with
//       for each row of the tile
//         for each two vectors of codes, unrolled to the end
//           multiply bytes and sum up four products a lane; narrow both vectors to the words of one;
//           take off what codes count from (code_zero); multiply by numbers, and sum up two a lane
//           multiply with the scale of each block's activations
//         multiply with the unit, and add to the row's sum
//
// Codes and numbers of a super-block stay in registers: four and two vectors of 64 bytes. The sums of
// one row of activations do too; those of more rows are in the first-level cache, so that one function
// does for any number of rows. Mins count by sums of activations over 16 or 32.
//
// A vector has two blocks of codes whose bits lie side by side and equally high, where there are such:
// one load and one shift for both. So blocks are not in the order of the columns (super_block_order_of).
//
// Measured (AVX-512 VNNI, 4096 columns, in cache, one row): twice as fast with q6_k as products of 32
// codes at a time (bit_code_products.hpp), which convert and scale four times as many sums.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Whether these products can be computed of a codec: codes are bytes of super-blocks, four products of
/// which fit 16 bits.
template <Codec Codec>
[[nodiscard]] constexpr bool is_super_block_codec() noexcept {
  if constexpr (!BitCodec<Codec>) {
    return false;
  } else {
    return Codec::block_elements == simd::super_block_codes && !has_code_values<Codec> &&
           Codec::low_bits(0).layout == bit_layout::bytes &&
           largest_byte_code<Codec>() <= simd::largest_block_code;
  }
}
/// Whether these products are computed.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_super_block_products() noexcept {
  return std::same_as<Value, std::int8_t> && is_super_block_codec<Codec>() &&
         simd::has_super_block_operations<Architecture>;
}

/// Blocks of a row of activations that lie side by side.
inline constexpr std::size_t blocks_of_super_block = simd::super_block_codes / simd::block_codes;
/// The layout in which these products read activations.
inline constexpr activation_layout super_block_layout{activation_order::natural, blocks_of_super_block};
/// Rows of activations that are multiplied together, at most.
inline constexpr std::size_t super_block_tile_rows = 8;
/// Rows of activations times super-blocks of a pass, at most.
inline constexpr std::size_t super_block_pass = 32;
/// From a super-block to what memory is asked for meanwhile, at least: the pass of a row that comes so
/// late. Measured: twice as fast with q6_k and four rows of activations out of cache, whose passes are
/// parts of rows, too far apart for processors to see which come next.
inline constexpr std::size_t super_blocks_ahead_bytes = 3072;
/// The same for one row of activations. Measured on Zen 4 from memory, 1024 and 4096 columns, with what is
/// asked twice: q4_k and q5_k faster by an eighth, q6_k by half.
inline constexpr std::size_t super_block_row_ahead_bytes = 8192;
/// The same for what is asked a second time.
inline constexpr std::size_t super_block_row_second_bytes = 4096;
/// Whether memory is asked twice for super-blocks: those of 4 bits a weight and more are multiplied faster
/// than processors take requests on, and some are dropped.
template <BitCodec Codec>
inline constexpr bool asks_twice_for_super_blocks = sizeof(typename Codec::block) * 8 >=
                                                    4 * simd::super_block_codes;

/// The order in which the vectors of a super-block have its blocks.
template <class Architecture, BitCodec Codec>
[[nodiscard]] constexpr simd::super_block_order super_block_order_of() noexcept {
  simd::super_block_order order{};
  std::array<bool, order.size()> is_taken{};
  std::size_t count = 0;
  const auto take = [&](std::size_t block) {
    is_taken[block] = true;
    order[count++] = block;
  };
  const auto next = [&](const auto& suits) {
    std::size_t block = 0;
    while (block < order.size() && (is_taken[block] || !suits(Codec::low_bits(block)))) ++block;
    return block;
  };
  while (count < order.size()) {
    const std::size_t first = next([](const code_bits&) { return true; });
    code_bits beside = Codec::low_bits(first);
    take(first);
    for (std::size_t i = 1; i < simd::vector_bits<Architecture>{}.size(); ++i) {
      beside.at_byte += simd::block_codes;
      const std::size_t other = next([&](const code_bits& bits) {
        return bits.at_byte == beside.at_byte && bits.shift == beside.shift;
      });
      take(other < order.size() ? other : next([](const code_bits&) { return true; }));
    }
  }
  return order;
}

/// 256 activations of a row, and what they come to, as products with super-blocks of a codec read it. Activations near f32's largest number, of which sums would be infinite, count for less here;
/// `rest` makes up for it.
template <class Architecture, BitCodec Codec>
class spread_activations {
 public:
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using words = simd::vector<std::int16_t, Architecture>;
  using bytes = simd::vector<std::uint8_t, Architecture>;
  static constexpr std::size_t vectors = simd::super_block_codes / bytes::size;
  static constexpr std::size_t numbers = 16;

  /// For scales up to this one nothing has to count for less: units are at most 2^16, sums of integers
  /// 2^31, and rows have fewer than 2^8 super-blocks a pass.
  static constexpr float largest_scale = 0x1p70F;
  static constexpr float less = 0x1p-56F;

  /// From the codes and scales of eight blocks, and the sums of their halves.
  void set(const std::int8_t* codes, const float* scales, const float* half_sums,
           bool is_less) noexcept {
    for (std::size_t i = 0; i < order.size(); ++i) {
      std::memcpy(codes_.data() + i * simd::block_codes, codes + order[i] * simd::block_codes,
                  simd::block_codes);
    }
    const floats factor(is_less ? less : 1.0F);
    const auto spread = simd::spread_scales<order>(scales, tag, tag);
    for (std::size_t pair = 0; pair < spread.size(); ++pair) {
      (spread[pair] * factor).store_unaligned(scales_.data() + pair * floats::size);
    }
    if constexpr (Codec::has_min) {
      const float negative = is_less ? -simd::factor_step * less : -simd::factor_step;
      // Sums of whole blocks may be infinite where those of halves, which count for less, are not.
      constexpr std::size_t halves = 2 * blocks_of_super_block / sub_blocks<Codec>;
      min_sums_.fill(0.0F);
      for (std::size_t i = 0; i < 2 * blocks_of_super_block; ++i) {
        min_sums_[i / halves] += half_sums[i] * negative;
      }
    } else {
      const bytes zeros(static_cast<std::uint8_t>(Codec::code_zero));
      const auto quads = [&](std::size_t vector) {
        return simd::add_quad_products<Architecture>(integers(0), zeros, this->codes(vector), tag, tag);
      };
      for (std::size_t pair = 0; pair < vectors / 2; ++pair) {
        simd::narrow_quads<Architecture>(quads(2 * pair), quads(2 * pair + 1), tag, tag)
            .store_unaligned(zeros_.data() + pair * words::size);
      }
    }
  }
  /// What the sum of products is to be multiplied by.
  [[nodiscard]] static float rest(bool is_less) noexcept {
    return is_less ? 1.0F / (simd::factor_step * less) : 1.0F / simd::factor_step;
  }

  /// The scales for the lanes of a pair.
  [[nodiscard]] floats scales(std::size_t pair) const noexcept {
    return simd::load<Architecture>(scales_.data() + pair * floats::size);
  }
  /// The codes of the activations that a vector of a super-block's codes is multiplied with.
  [[nodiscard]] const std::int8_t* codes(std::size_t vector) const noexcept {
    return codes_.data() + vector * bytes::size;
  }
  /// What code_zero comes to in the words of a pair.
  [[nodiscard]] words zeros(std::size_t pair) const noexcept {
    return words::load_unaligned(zeros_.data() + pair * words::size);
  }
  /// What mins are multiplied by, from that of number `first` on.
  [[nodiscard]] floats min_sums(std::size_t first) const noexcept {
    return simd::load<Architecture>(min_sums_.data() + first);
  }

 private:
  static constexpr Architecture tag{};
  static constexpr simd::super_block_order order = super_block_order_of<Architecture, Codec>();

  alignas(64) std::array<std::int8_t, simd::super_block_codes> codes_;
  alignas(64) std::array<float, simd::super_block_pairs<Architecture> * floats::size> scales_;
  alignas(64) std::array<std::int16_t, Codec::has_min ? 0 : simd::super_block_codes / 4> zeros_;
  alignas(64) std::array<float, Codec::has_min ? numbers : 0> min_sums_;
};

/// One super-block in registers.
template <class Architecture, BitCodec Codec>
class unpacked_super_block {
 public:
  using floats = simd::vector<float, Architecture>;
  using activations = spread_activations<Architecture, Codec>;

  /// OneRow: for products with one row of activations.
  template <bool OneRow>
  NIBBLE_IN_PLACE unpacked_super_block(const std::byte* stored, std::bool_constant<OneRow>) noexcept
      : codes_(simd::load_super_block<bits_of<false>(), bits_of<true>()>(stored, tag, tag)) {
    constexpr std::size_t codes_a_number = sub_block_elements<Codec>();
    const auto header = header_of_block<Codec>(stored);
    const sub_block_numbers numbers = load_scale_numbers<Architecture, Codec>(header);
    factors_ = simd::spread_factors<codes_a_number, order>(numbers.data(), tag, tag);
    const float16 scale = Codec::stored_scale(header);
    float16 min{};
    // A stored_min is what is added, and offsets are subtracted.
    if constexpr (Codec::has_min) min = negated(Codec::stored_min(header));
    // For several rows GCC 12 leaves no vector in a register that is made after such a pair.
    const auto units = [&]() NIBBLE_LAMBDA_IN_PLACE -> simd::vector_pair<Architecture> {
      if constexpr (OneRow) return simd::spread_float16_pair(scale, min, tag, tag);
      return {floats(simd::widen_float16(scale, tag, tag)), floats(simd::widen_float16(min, tag, tag))};
    }();
    unit_ = units.first;
    if constexpr (Codec::has_min) {
      static_assert(Codec::code_zero == 0);
      const auto mins =
          simd::widen_numbers<codes_a_number>(Codec::min_numbers(header).data(), tag, tag);
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < mins.size(); ++i) mins_[i] = to_float(mins[i]) * units.second;
    }
  }

  /// `sum` and the products with 256 activations, spread over the lanes.
  NIBBLE_IN_PLACE [[nodiscard]] floats add_products(floats sum, const activations& x) const noexcept {
    const auto of_pair = [&](std::size_t pair) NIBBLE_LAMBDA_IN_PLACE {
      const auto quads = [&](std::size_t i) NIBBLE_LAMBDA_IN_PLACE {
        return simd::add_quad_products<Architecture>(integers(0), codes_[i], x.codes(i), tag, tag);
      };
      auto words = simd::narrow_quads<Architecture>(quads(2 * pair), quads(2 * pair + 1), tag, tag);
      if constexpr (!Codec::has_min) words = words - x.zeros(pair);
      return to_float(simd::multiply_quads<Architecture>(words, factors_[pair], tag, tag));
    };
    floats products = of_pair(0) * x.scales(0);
    NIBBLE_UNROLL
    for (std::size_t pair = 1; pair < vectors / 2; ++pair) {
      products = simd::fma(of_pair(pair), x.scales(pair), products);
    }
    sum = simd::fma(products, unit_, sum);
    if constexpr (Codec::has_min) {
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < mins_.size(); ++i) {
        sum = simd::fma(mins_[i], x.min_sums(i * floats::size), sum);
      }
    }
    return sum;
  }

 private:
  using bytes = simd::vector<std::uint8_t, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  static constexpr Architecture tag{};
  static constexpr simd::super_block_order order = super_block_order_of<Architecture, Codec>();
  static constexpr std::size_t vectors = activations::vectors;
  static constexpr std::size_t vector_blocks = bytes::size / simd::block_codes;

  /// Where the low or high bits of the codes of all vectors lie.
  template <bool High>
  static constexpr simd::super_block_bits<Architecture> bits_of() noexcept {
    simd::super_block_bits<Architecture> all{};
    for (std::size_t i = 0; i < order.size(); ++i) {
      code_bits& bits = all[i / vector_blocks][i % vector_blocks];
      if constexpr (!High) {
        bits = Codec::low_bits(order[i]);
      } else if constexpr (has_high_bits<Codec>) {
        bits = Codec::high_bits(order[i]);
      }
    }
    return all;
  }

  simd::super_block_vectors<Architecture> codes_;
  simd::super_block_factors<Architecture> factors_;
  floats unit_;
  std::array<floats, Codec::has_min ? activations::numbers / floats::size : 0> mins_;
};

/// sums[m] = the products of `count` super-blocks with row m of `rows` rows of activations, which lie side
/// by side for a super-block; but for `rest`. Memory is asked for what lies ahead_bytes[0] behind
/// and, where it is asked twice for one row, ahead_bytes[1].
template <class Architecture, BitCodec Codec, bool OneRow>
void multiply_super_block_row(const std::byte* stored, std::size_t count,
                              const std::array<std::size_t, 2>& ahead_bytes, std::size_t rows,
                              const spread_activations<Architecture, Codec>* x, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using super_block = unpacked_super_block<Architecture, Codec>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  floats total(0.0F);
  alignas(64) std::array<float, super_block_tile_rows * width> totals;
  if constexpr (!OneRow) std::fill_n(totals.begin(), rows * width, 0.0F);
  for (std::size_t done = 0; done < count; ++done) {
    NIBBLE_UNROLL
    for (std::size_t line = 0; line < sizeof(typename Codec::block); line += simd::line_bytes) {
      simd::prefetch_to_second_level(stored, ahead_bytes[0] + line);
      if constexpr (OneRow && asks_twice_for_super_blocks<Codec>) {
        simd::prefetch_to_second_level(stored, ahead_bytes[1] + line);
      }
    }
    const super_block block(stored, std::bool_constant<OneRow>{});
    if constexpr (OneRow) {
      total = block.add_products(total, *x++);
    } else {
      NIBBLE_KEEP_ROLLED
      for (std::size_t m = 0; m < rows; ++m) {
        float* const own = totals.data() + m * width;
        block.add_products(simd::load<Architecture>(own), *x++).store_unaligned(own);
      }
    }
    stored += sizeof(typename Codec::block);
  }
  if constexpr (OneRow) {
    sums[0] = simd::sum_of_lanes(total, Architecture{}, Architecture{});
  } else {
    for (std::size_t m = 0; m < rows; ++m) {
      sums[m] = simd::sum_of_lanes(simd::load<Architecture>(totals.data() + m * width), Architecture{},
                                   Architecture{});
    }
  }
}

/// Products of a tile of quantized activations, of at most super_block_tile_rows rows, with some rows of
/// a weight.
template <class Architecture, BitCodec Codec>
void multiply_super_blocks(const tensor_view& weight, row_range rows,
                           const activation_tile<std::int8_t>& x, const product_output& y) noexcept {
  using activations = spread_activations<Architecture, Codec>;
  constexpr std::size_t stored_bytes = sizeof(typename Codec::block);
  const auto multiply = x.rows == 1 ? &multiply_super_block_row<Architecture, Codec, true>
                                    : &multiply_super_block_row<Architecture, Codec, false>;
  const auto row_stored =
      static_cast<std::size_t>(divide_round_up(weight.cols(), Codec::block_elements));
  const std::uint64_t stride_bytes = weight.block_row_stride_bytes();
  const std::size_t pass = super_block_pass / x.rows;
  std::array<activations, super_block_pass> spread;
  std::array<float, super_block_tile_rows> rests;
  for (std::size_t first = 0; first < row_stored; first += pass) {
    const std::size_t count = std::min(pass, row_stored - first);
    const auto rows_of = [&](std::size_t bytes) {
      return static_cast<std::size_t>((bytes / (count * stored_bytes) + 1) * stride_bytes);
    };
    const std::array<std::size_t, 2> ahead_bytes{
        rows_of(x.rows == 1 ? super_block_row_ahead_bytes : super_blocks_ahead_bytes),
        rows_of(super_block_row_second_bytes)};
    const std::int8_t* const codes = x.values + first * x.rows * simd::super_block_codes;
    for (std::size_t m = 0; m < x.rows; ++m) {
      const std::size_t first_block = m * x.row_blocks + first * blocks_of_super_block;
      const float* const scales = x.scales + first_block;
      unsigned large = 0;
      for (std::size_t b = 0; b < count * blocks_of_super_block; ++b) {
        large |= static_cast<unsigned>(scales[b] > activations::largest_scale);
      }
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t place = i * x.rows + m;
        const std::size_t block = first_block + i * blocks_of_super_block;
        spread[place].set(codes + place * simd::super_block_codes, x.scales + block,
                          x.half_sums + 2 * block, large != 0);
      }
      rests[m] = activations::rest(large != 0);
    }
    for (std::size_t n = 0; n < rows.count; ++n) {
      const std::byte* const row = position_of_row(weight, rows.first + n).start;
      std::array<float, super_block_tile_rows> sums;
      multiply(row + first * stored_bytes, count, ahead_bytes, x.rows, spread.data(), sums.data());
      for (std::size_t m = 0; m < x.rows; ++m) sums[m] *= rests[m];
      y.put(rows.first + n, sums.data(), x.rows, first == 0);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
