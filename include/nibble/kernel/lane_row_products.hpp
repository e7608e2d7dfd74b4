#pragma once

// Products of few rows of activations with blocks as they are stored, a lane a weight row. Loop nest of
// multiply_lane_rows, for one tile of activations and some weight rows:
//
//   for each group of as many weight rows as a vector has lanes
//     for each unit of one or two blocks of their columns (eight for one row of activations)
//       load the unit of every row, 16 (32) bytes at a time, and transpose them in registers
//       for each block of the unit
//         widen the rows' scales and mins
//         for each vector of codes: four bytes, two words, or one float of each lane's row
//           for each row of the tile, unrolled to the end
//             multiply with as many activations in all lanes, and add to the row's sum in the block
//         scale the block's sums, and add them to the row's
//
// Codes and sums stay in registers, for tiles of a few rows; the activations of a tile stay in the
// first-level cache for rows of some 4,000 columns. No sum is taken across lanes, and a row takes time by
// its blocks alone: rows of 18 blocks do as well as those of 16.
//
// A group's rows lie one behind the other. While they are multiplied, memory is asked for the next
// group's, in the order in which they lie.
//
// Measured (AVX-512, q4, one row of int8, in cache): 116 to 125 GFLOP/s from 256 to 4096 columns, where
// products along the row have 32 at 576 and 95 at 4096. A unit of two blocks, whose headers come with the
// codes, is a quarter faster than one whose headers are gathered.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

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

/// Whether there are products of a codec's blocks with Value, a lane a weight row: of whole blocks, each
/// with its header before its codes. Words of neighbouring nibbles would be in no order that activations
/// can be prepared in.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_lane_row_products() noexcept {
  if constexpr (InterleavedCodec<Codec>) {
    return true;
  } else if constexpr (!BlockCodec<Codec> || BitCodec<Codec> || ScalarCodec<Codec>) {
    return false;
  } else {
    return !std::same_as<Value, std::int16_t> || Codec::packing != code_packing::nibble_neighbors;
  }
}

/// Rows of activations up to which these products beat those along the row, and panels. Measured at 576,
/// 768, 1024 and 4096 columns; without AVX2 nothing was.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr std::size_t most_lane_rows() noexcept {
  constexpr bool is_float = std::same_as<Value, float>;
  constexpr bool is_bytes = std::same_as<Value, std::int8_t>;
  if constexpr (!has_lane_row_products<Codec, Value>()) {
    return 0;
  } else if constexpr (InterleavedCodec<Codec>) {
    // Measured: quantized, any number of rows takes less time than with panels, which are to be filled.
    if (!is_float) return std::numeric_limits<std::size_t>::max();
    return simd::lanes<Architecture> >= 16 ? 32 : 15;
  } else if constexpr (simd::lanes<Architecture> >= 16) {
    if (is_float) return 32;
    if (is_nibbles(Codec::packing)) return is_bytes ? 64 : 8;
    return is_bytes ? 32 : 12;
  } else if constexpr (simd::lanes<Architecture> < 8 || is_float) {
    return 0;
  } else {
    if (!is_nibbles(Codec::packing)) return 1;
    return is_bytes ? 8 : 2;
  }
}

/// Rows of activations of a tile, at most: their sums are in registers with a block's codes, of which
/// AVX-512 has twice as many. No more than are ever multiplied so.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr std::size_t lane_row_tile_rows() noexcept {
  // Tiles of four rows and more multiply values, and of 4 to 15 rows there is no tile of fewer.
  constexpr bool multiplies_interleaved = InterleavedCodec<Codec> && std::same_as<Value, float>;
  constexpr std::size_t held = simd::lanes<Architecture> >= 16 || multiplies_interleaved ? 8 : 4;
  constexpr std::size_t most = most_lane_rows<Architecture, Codec, Value>();
  return most == 0 ? held : std::min(held, most);
}

/// The layout in which these products read activations.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr activation_layout lane_row_layout() noexcept {
  if constexpr (std::same_as<Value, std::int16_t>) return {activation_order::crossed_pairs, 1};
  return {activation_order_of<Codec>(), 1};
}

/// How the blocks of a codec are loaded: `blocks` at a time, their headers with their codes where these
/// are whole 32-bit words, else codes alone.
template <BlockCodec Codec>
struct lane_row_unit {
  using layout = block_layout<Codec>;
  static constexpr bool has_headers =
      layout::codes_at == sizeof(std::int32_t) && layout::stride_bytes % sizeof(std::int32_t) == 0;
  /// Two blocks of 20 bytes take three loads, one takes two; else two blocks save none.
  static constexpr std::size_t blocks =
      has_headers && layout::stride_bytes % 16 == 4 && layout::stride_bytes < 32 ? 2 : 1;
};

/// Blocks that are loaded together where one row of activations is multiplied: 32 bytes of a weight row at
/// a time, which takes half the loads. 0: none. With more rows the sums take the time, and code for them
/// would be long.
template <class Architecture, BlockCodec Codec, Activation Value, std::size_t Rows>
[[nodiscard]] constexpr std::size_t long_unit_blocks() noexcept {
  constexpr bool is_long = lane_row_unit<Codec>::has_headers && simd::lanes<Architecture> >= 16 &&
                           Rows == 1 && !std::same_as<Value, float>;
  return is_long ? 8 : 0;
}

/// `Bytes` bytes of as many rows as there are lanes, each row_bytes behind the one before, a lane a row:
/// the vectors of 32-bit words. Reads no byte besides them.
template <class Architecture, std::size_t Bytes>
[[nodiscard]] NIBBLE_IN_PLACE inline auto load_lane_words(const std::byte* from,
                                                          std::size_t row_bytes) noexcept {
  constexpr std::size_t load_bytes = 16;
  static_assert(Bytes >= load_bytes && Bytes % sizeof(std::int32_t) == 0);
  constexpr std::size_t words = Bytes / sizeof(std::int32_t);
  constexpr std::size_t loads = (Bytes + load_bytes - 1) / load_bytes;
  std::array<simd::vector<std::int32_t, Architecture>, words> all;
  NIBBLE_UNROLL
  for (std::size_t load = 0; load < loads; ++load) {
    // The last load ends where the bytes do.
    const std::size_t at = std::min(load * load_bytes, Bytes - load_bytes);
    const auto loaded =
        simd::load_row_words<Architecture>(from + at, row_bytes, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < loaded.size(); ++i) all[at / sizeof(std::int32_t) + i] = loaded[i];
  }
  return all;
}

/// The first four bytes of one block of as many rows as there are lanes.
template <class Architecture>
[[nodiscard]] simd::vector<std::int32_t, Architecture> gather_lane_headers(
    const std::byte* blocks, std::size_t row_bytes) noexcept {
  std::array<std::int32_t, simd::lanes<Architecture>> headers;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < headers.size(); ++n) {
    std::memcpy(&headers[n], blocks + n * row_bytes, sizeof(headers[n]));
  }
  return std::bit_cast<simd::vector<std::int32_t, Architecture>>(headers);
}

/// Takes the codes out of words of four bytes. Calls use(codes, place) for each vector: in each lane
/// four bytes, two words or one float of its row, which belong to the activations from `place` on.
template <class Architecture, code_packing Packing, Activation Value, class Use>
NIBBLE_IN_PLACE inline void for_each_lane_codes(const simd::vector<std::int32_t, Architecture>& word,
                                                std::size_t number, Use&& use) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t half = simd::block_codes / 2;
  constexpr bool has_nibbles = is_nibbles(Packing);
  [[maybe_unused]] const auto shifted = [&](int bits) {
    return simd::shift_right<Architecture>(word, bits);
  };
  const std::size_t place = 4 * number;
  if constexpr (std::same_as<Value, std::int8_t>) {
    using bytes = simd::vector<std::uint8_t, Architecture>;
    if constexpr (has_nibbles) {
      const integers mask(0x0F0F0F0F);
      use(std::bit_cast<bytes>(word & mask), place);
      use(std::bit_cast<bytes>(shifted(4) & mask), place + half);
    } else if constexpr (Packing == code_packing::signed_bytes) {
      use(std::bit_cast<bytes>(word) ^ bytes(128), place);
    } else {
      use(std::bit_cast<bytes>(word), place);
    }
  } else if constexpr (std::same_as<Value, std::int16_t>) {
    using words = simd::vector<std::int16_t, Architecture>;
    if constexpr (has_nibbles) {
      const integers mask(0x000F000F);
      use(std::bit_cast<words>(word & mask), place);
      use(std::bit_cast<words>(shifted(8) & mask), place + 2);
      use(std::bit_cast<words>(shifted(4) & mask), place + half);
      use(std::bit_cast<words>(shifted(12) & mask), place + half + 2);
    } else if constexpr (Packing == code_packing::signed_bytes) {
      // A byte with its sign turned is larger by 128.
      const integers mask(0x00FF00FF);
      const integers sign(0x00800080);
      const words zero(128);
      use(std::bit_cast<words>((word & mask) ^ sign) - zero, place);
      use(std::bit_cast<words>((shifted(8) & mask) ^ sign) - zero, place + 2);
    } else {
      const integers mask(0x00FF00FF);
      use(std::bit_cast<words>(word & mask), place);
      use(std::bit_cast<words>(shifted(8) & mask), place + 2);
    }
  } else {
    NIBBLE_UNROLL
    for (int i = 0; i < 4; ++i) {
      const auto at = place + static_cast<std::size_t>(i);
      if constexpr (has_nibbles) {
        const integers mask(15);
        use(to_float(shifted(8 * i) & mask), at);
        use(to_float(shifted(8 * i + 4) & mask), at + half);
      } else if constexpr (Packing == code_packing::signed_bytes) {
        use(to_float(((shifted(8 * i) & integers(255)) ^ integers(128)) - integers(128)), at);
      } else {
        use(to_float(shifted(8 * i) & integers(255)), at);
      }
    }
  }
}

/// The sums of a block's products, of as many weight rows as there are lanes with one row of
/// activations.
template <class Architecture, Activation Value>
class lane_sums;
template <class Architecture>
class lane_sums<Architecture, std::int8_t> {
 public:
  void add(const simd::vector<std::uint8_t, Architecture>& codes, const std::int8_t* x) noexcept {
    sums_ = simd::add_quads<Architecture>(sums_, codes, x, Architecture{}, Architecture{});
  }
  [[nodiscard]] simd::vector<float, Architecture> total() const noexcept {
    return to_float(simd::total_of_quads<Architecture>(sums_, Architecture{}, Architecture{}));
  }

 private:
  simd::quad_sums<Architecture> sums_ = simd::quad_sums<Architecture>(0);
};
template <class Architecture>
class lane_sums<Architecture, std::int16_t> {
 public:
  void add(const simd::vector<std::int16_t, Architecture>& codes, const std::int16_t* x) noexcept {
    sums_ = simd::add_pairs<Architecture>(sums_, codes, x, Architecture{}, Architecture{});
  }
  [[nodiscard]] simd::vector<float, Architecture> total() const noexcept { return to_float(sums_); }

 private:
  simd::vector<std::int32_t, Architecture> sums_ = simd::vector<std::int32_t, Architecture>(0);
};
template <class Architecture>
class lane_sums<Architecture, float> {
 public:
  using floats = simd::vector<float, Architecture>;
  void add(const floats& codes, const float* x) noexcept {
    sums_ = simd::fma(codes, floats(*x), sums_);
  }
  [[nodiscard]] floats total() const noexcept { return sums_; }

 private:
  floats sums_ = floats(0.0F);
};

/// Adds to a tile's sums the products of one block of as many weight rows as there are lanes with block
/// `b` of the tile. word(i) is vector i of the block's codes, of Words; words that are in memory may be
/// taken in a loop.
template <class Architecture, Codec Codec, Activation Value, std::size_t Words, bool HasLoop,
          std::size_t Rows, class Word>
NIBBLE_IN_PLACE inline void add_lane_block(
    const Word& word, const simd::vector_pair<Architecture>& scales_and_mins,
    const activation_tile<Value>& x, std::size_t b,
    std::array<simd::vector<float, Architecture>, Rows>& totals) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr float bias = code_bias<Codec, Value>() + static_cast<float>(Codec::code_zero);
  constexpr bool has_bias_alone = !Codec::has_min && bias != 0.0F;
  const Value* const values = x.values + b * Rows * simd::block_codes;
  const floats scales = scales_and_mins.first;
  floats offsets(0.0F);
  if constexpr (Codec::has_min) offsets = scales_and_mins.second;
  if constexpr (bias != 0.0F) offsets = simd::fma(scales, floats(-bias), offsets);
  const auto for_each_block_codes = [&](auto&& use) NIBBLE_LAMBDA_IN_PLACE {
    if constexpr (HasLoop) {
      NIBBLE_KEEP_ROLLED
      for (std::size_t i = 0; i < Words; ++i) {
        for_each_lane_codes<Architecture, Codec::packing, Value>(word(i), i, use);
      }
    } else {
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < Words; ++i) {
        for_each_lane_codes<Architecture, Codec::packing, Value>(word(i), i, use);
      }
    }
  };
  if constexpr (std::same_as<Value, float> && multiplies_values(Rows)) {
    for_each_block_codes([&](const floats& codes, std::size_t place) NIBBLE_LAMBDA_IN_PLACE {
      const floats weights = simd::fma(codes, scales, offsets);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        totals[m] = simd::fma(weights, floats(values[m * simd::block_codes + place]), totals[m]);
      }
    });
  } else {
    std::array<lane_sums<Architecture, Value>, Rows> products;
    for_each_block_codes([&](const auto& codes, std::size_t place) NIBBLE_LAMBDA_IN_PLACE {
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        products[m].add(codes, values + m * simd::block_codes + place);
      }
    });
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      const std::size_t at = m * x.row_blocks + b;
      floats block_sums = products[m].total();
      // The scale of the activations comes first: sums of codes, times a weight's scale near f32's
      // largest number, would be infinite.
      if constexpr (!std::same_as<Value, float>) block_sums = block_sums * floats(x.scales[at]);
      constexpr bool is_bias_first = has_bias_alone && !std::same_as<Value, float>;
      if constexpr (is_bias_first) block_sums = without_bias(block_sums, floats(x.sums[at]), bias);
      totals[m] = simd::fma(block_sums, scales, totals[m]);
      if constexpr ((Codec::has_min || bias != 0.0F) && !is_bias_first) {
        totals[m] = simd::fma(offsets, floats(x.sums[at]), totals[m]);
      }
    }
  }
}

/// Adds to sums[Rows][lanes] the products of `blocks` blocks of as many weight rows as there are lanes,
/// whose first blocks are row_bytes apart, with the first blocks of the Rows rows of x.
template <class Architecture, Codec Codec, Activation Value, std::size_t Rows>
void multiply_lane_row_group(const std::byte* first_block, std::size_t row_bytes, std::size_t blocks,
                             const activation_tile<Value>& x, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using layout = block_layout<Codec>;
  using unit = lane_row_unit<Codec>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t code_words = layout::codes_bytes / sizeof(std::int32_t);
  std::array<floats, Rows> totals;
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m] = simd::load<Architecture>(sums + m * width);

  const auto add_block = [&](const integers* words, const integers& headers,
                             std::size_t b) NIBBLE_LAMBDA_IN_PLACE {
    const auto word = [words](std::size_t i) NIBBLE_LAMBDA_IN_PLACE { return words[i]; };
    add_lane_block<Architecture, Codec, Value, code_words, false>(
        word, scales_from_headers<Architecture, Codec>(headers), x, b, totals);
  };
  const auto add_unit = [&]<std::size_t Blocks>(std::integral_constant<std::size_t, Blocks>,
                                                const std::byte* from,
                                                std::size_t b) NIBBLE_LAMBDA_IN_PLACE {
    if constexpr (unit::has_headers) {
      constexpr std::size_t block_words = layout::stride_bytes / sizeof(std::int32_t);
      const auto words = load_lane_words<Architecture, Blocks * layout::stride_bytes>(from, row_bytes);
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < Blocks; ++i) {
        add_block(words.data() + i * block_words + 1, words[i * block_words], b + i);
      }
    } else {
      const auto words =
          load_lane_words<Architecture, layout::codes_bytes>(from + layout::codes_at, row_bytes);
      add_block(words.data(), gather_lane_headers<Architecture>(from, row_bytes), b);
    }
  };

  const std::byte* from = first_block;
  const std::byte* ahead = first_block;
  // Asks for as many bytes as all lanes take meanwhile. Measured on Zen 4, q4, one row of int8, from memory:
  // with codes of 16 rows, whose products take less time than their lines, lines come at 24 to 30 GB/s with
  // 576 to 2048 columns where the second-level cache is asked for them two groups ahead and the first one
  // group ahead; at 14 where the second is asked alone, and at 8 where the first is. Longer groups would
  // drive themselves out of the first. Of those, blocks of 8 bits a code are asked for once more
  // soon after, for some of so many requests are dropped: 27 GB/s instead of 24 with 4096 columns.
  constexpr bool asks_second_level = width == 16 && !std::same_as<Value, float>;
  constexpr std::size_t most_near_bytes = 32 * 1024;
  constexpr bool asks_twice = layout::codes_bytes == simd::block_codes;
  constexpr std::size_t later_bytes = 4096;  // until the second request
  const std::size_t group_bytes = width * row_bytes;
  const bool is_group_near = group_bytes <= most_near_bytes;
  const auto prefetch_group =
      [&]<std::size_t Bytes>(std::integral_constant<std::size_t, Bytes>) NIBBLE_LAMBDA_IN_PLACE {
        if (!asks_second_level) {
          NIBBLE_UNROLL
          for (std::size_t line = 0; line < Bytes; line += simd::line_bytes) {
            simd::prefetch(ahead, group_bytes + line);
          }
        } else if (is_group_near) {
          NIBBLE_UNROLL
          for (std::size_t line = 0; line < Bytes; line += simd::line_bytes) {
            simd::prefetch_to_second_level(ahead, 2 * group_bytes + line);
            simd::prefetch(ahead, group_bytes + line);
          }
        } else {
          NIBBLE_UNROLL
          for (std::size_t line = 0; line < Bytes; line += simd::line_bytes) {
            simd::prefetch_to_second_level(ahead, group_bytes + line);
            if constexpr (asks_twice) {
              simd::prefetch_to_second_level(ahead, group_bytes - later_bytes + line);
            }
          }
        }
        ahead += Bytes;
      };
  std::size_t b = 0;
  constexpr std::size_t long_blocks = long_unit_blocks<Architecture, Codec, Value, Rows>();
  if constexpr (long_blocks != 0) {
    constexpr std::size_t load_bytes = 32;
    constexpr std::size_t load_words = load_bytes / sizeof(std::int32_t);
    constexpr std::size_t block_words = layout::stride_bytes / sizeof(std::int32_t);
    constexpr std::size_t words_in_all = long_blocks * block_words;
    static_assert(words_in_all % load_words == 0);
    for (; b + long_blocks <= blocks; b += long_blocks) {
      std::array<integers, words_in_all> words;
      NIBBLE_UNROLL
      for (std::size_t first = 0; first < words_in_all; first += load_words) {
        prefetch_group(std::integral_constant<std::size_t, load_bytes * width>{});
        const auto loaded = simd::load_long_row_words<Architecture>(
            from + first * sizeof(std::int32_t), row_bytes, Architecture{}, Architecture{});
        NIBBLE_UNROLL
        for (std::size_t i = 0; i < load_words; ++i) words[first + i] = loaded[i];
        // The blocks whose last word is here.
        NIBBLE_UNROLL
        for (std::size_t i = 0; i < long_blocks; ++i) {
          const std::size_t end = (i + 1) * block_words;
          if (end <= first || end > first + load_words) continue;
          add_block(words.data() + i * block_words + 1, words[i * block_words], b + i);
        }
      }
      from += long_blocks * layout::stride_bytes;
    }
  }
  for (; b + unit::blocks <= blocks; b += unit::blocks) {
    prefetch_group(std::integral_constant<std::size_t, unit::blocks * layout::stride_bytes * width>{});
    add_unit(std::integral_constant<std::size_t, unit::blocks>{}, from, b);
    from += unit::blocks * layout::stride_bytes;
  }
  if constexpr (unit::blocks != 1) {
    for (; b < blocks; ++b) {
      add_unit(std::integral_constant<std::size_t, 1>{}, from, b);
      from += layout::stride_bytes;
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

template <Activation Value>
using lane_row_group_function = void (*)(const std::byte*, std::size_t row_bytes, std::size_t blocks,
                                         const activation_tile<Value>&, float* sums) noexcept;

/// The same for a weight that has fewer rows than there are lanes, `rows` of them: some blocks at a time
/// are copied, and its last row stands for those that are not there. Sums are the same bits as those of
/// the rows of a larger weight.
template <class Architecture, Codec Codec, Activation Value>
void multiply_few_lane_rows(lane_row_group_function<Value> multiply, const std::byte* first_block,
                            std::size_t row_bytes, std::size_t rows, std::size_t blocks,
                            const activation_tile<Value>& x, float* sums) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t stride_bytes = block_layout<Codec>::stride_bytes;
  constexpr std::size_t piece_blocks = 8;
  static_assert(piece_blocks % lane_row_unit<Codec>::blocks == 0);
  std::array<std::byte, width * piece_blocks * stride_bytes> piece;
  for (std::size_t b = 0; b < blocks; b += piece_blocks) {
    const std::size_t count = std::min(piece_blocks, blocks - b);
    for (std::size_t n = 0; n < width; ++n) {
      const std::size_t row = std::min(n, rows - 1);
      std::memcpy(piece.data() + n * count * stride_bytes,
                  first_block + row * row_bytes + b * stride_bytes, count * stride_bytes);
    }
    activation_tile<Value> rest = x;
    rest.values += b * x.rows * simd::block_codes;
    rest.scales += b;
    rest.sums += b;
    multiply(piece.data(), count * stride_bytes, count, rest, sums);
  }
}

/// Products of a tile of activations, of at most lane_row_tile_rows rows, with some rows of a weight
/// whose rows_are_blocks. A row's products do not depend on where it lies in the weight, nor on how many
/// rows that has.
template <class Architecture, Codec Codec, Activation Value>
void multiply_lane_rows(const tensor_view& weight, row_range rows, const activation_tile<Value>& x,
                        const product_output& y) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto multiply =
      choose_by_rows<lane_row_group_function<Value>, lane_row_tile_rows<Architecture, Codec, Value>()>(
          x.rows, []<std::size_t Rows>() {
            return &multiply_lane_row_group<Architecture, Codec, Value, Rows>;
          });
  const std::size_t blocks = blocks_in(static_cast<std::size_t>(weight.cols()));
  const auto row_bytes = static_cast<std::size_t>(weight.row_stride_bytes());
  const bool is_narrow = weight.rows() < width;
  alignas(64) std::array<float, lane_row_tile_rows<Architecture, Codec, Value>() * width> sums;
  for (std::size_t n = 0; n < rows.count; n += width) {
    // The last group ends where the weight does; rows before these are multiplied and not written.
    const std::uint64_t wanted = rows.first + n;
    const std::uint64_t first = is_narrow ? 0 : std::min(wanted, weight.rows() - width);
    const auto skipped = static_cast<std::size_t>(wanted - first);
    const std::byte* const from = weight.data() + static_cast<std::size_t>(first) * row_bytes;
    for (std::size_t m = 0; m < x.rows; ++m) floats(0.0F).store_unaligned(sums.data() + m * width);
    if (is_narrow) {
      multiply_few_lane_rows<Architecture, Codec>(
          multiply, from, row_bytes, static_cast<std::size_t>(weight.rows()), blocks, x, sums.data());
    } else {
      multiply(from, row_bytes, blocks, x, sums.data());
    }
    const std::size_t count = std::min(width - skipped, rows.count - n);
    for (std::size_t m = 0; m < x.rows; ++m) {
      const float* const of_row = sums.data() + m * width + skipped;
      if (count == width && y.bias == nullptr) {
        simd::load<Architecture>(of_row).store_unaligned(y.y + m * y.stride_elements + wanted);
      } else {
        y.put_row(m, wanted, of_row, count, true);
      }
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
