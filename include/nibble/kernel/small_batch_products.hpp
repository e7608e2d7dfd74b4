#pragma once

// Small-batch products (GEMV and a little more): up to 15 rows of activations with blocks as they are
// stored. Loop nest of multiply_small_batch, for one tile of activations and some weight rows:
//
//   for each pass over the columns               at most 128 blocks: the tile's activations of a pass
//   |                                            fill 16 KiB, half a first-level cache
//   for each weight row
//   |   widen the scales of the pass             where they are not read from the blocks themselves
//   for each vector's worth of blocks            multiply_lane_blocks, for_each_block
//   |   ask memory for blocks of the row after the next one
//   for each block                               a vector runs along its 32 codes
//   |   unpack its codes once, into registers
//   for each row of the tile, unrolled to the end
//       multiply the codes with the row's activations, and add to the row's sum
//
// The sums of the tile's rows are in registers, a vector for each row (and for each of up to four
// blocks where there are few rows); those of more rows than registers hold are in the first-level
// cache. Nothing else is written but y, once a pass. The weight is read from memory once for each tile.
//
// Measured: the most rows at once (max_small_batch_rows), and from how many rows on panels are faster
// (product_plan.hpp).

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
#include <nibble/kernel/unpacked_row.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The most rows of activations that small-batch products take at once. Measured: where registers hold
/// no more sums (12 of floats, else 8), some sums in memory cost less than a second pass over the
/// weight, up to here. Words take up more registers themselves; with them no sum goes to memory. With
/// few registers, tiles of 8 rows of floats and more have at least 4 rows, like those of one tile.
template <class Architecture, Activation Value>
[[nodiscard]] constexpr std::size_t max_small_batch_rows() noexcept {
  if (has_few_registers<Architecture>) return std::same_as<Value, float> ? 7 : 4;
  return std::same_as<Value, float> ? 15 : std::same_as<Value, std::int8_t> ? 12 : 8;
}

/// Blocks of a pass, for a tile of `rows` rows. The activations of a pass fill half a first-level
/// cache. They stay there while all weight rows of a task are multiplied with them.
[[nodiscard]] constexpr std::size_t pass_blocks(std::size_t rows, std::size_t value_bytes) noexcept {
  constexpr std::size_t pass_bytes = 16384;
  const std::size_t blocks = pass_bytes / (rows * value_bytes * simd::block_codes);
  return std::clamp(blocks / padding_blocks * padding_blocks, padding_blocks, pass_capacity_blocks);
}

/// Blocks of one weight row that lie one behind the other, at most those of a pass.
struct row_segment {
  const std::byte* codes;  ///< of the first block
  std::size_t blocks;
  const float* scales;     ///< of each block, where they are not read from the blocks
  const float* offsets;    ///< the same
  std::size_t next_bytes;  ///< from a block to the one that memory is asked for meanwhile
};

/// The layout of a segment's blocks.
template <class Loader, code_packing Packing, std::size_t StrideBytes, bool HasScalesInBlocks,
          bool IsUnpacked>
struct segment_layout {
  using loader = Loader;                                    ///< loads a block for products with f32
  static constexpr code_packing packing = Packing;          ///< of codes
  static constexpr std::size_t stride_bytes = StrideBytes;  ///< from one block's codes to the next
  /// Whether a float16 scale and offset stand before each block's codes.
  static constexpr bool has_scales_in_blocks = HasScalesInBlocks;
  /// Whether they were unpacked for these products, into a cache.
  static constexpr bool is_unpacked = IsUnpacked;
};

/// Scales and offsets of as many blocks of a segment as there are lanes, from block `first` on.
template <class Architecture, class Layout>
[[nodiscard]] simd::vector_pair<Architecture> load_lane_scales(const row_segment& segment,
                                                               std::size_t first) noexcept {
  if constexpr (Layout::has_scales_in_blocks) {
    constexpr std::size_t stride_bytes = Layout::stride_bytes;
    const std::byte* const headers = segment.codes + first * stride_bytes - 2 * sizeof(float16);
    return simd::widen_float16_pairs(load_headers<Architecture, stride_bytes>(headers), Architecture{},
                                     Architecture{});
  } else {
    return {simd::load<Architecture>(segment.scales + first),
            simd::load<Architecture>(segment.offsets + first)};
  }
}

/// The same for the last blocks of a segment, fewer than lanes. Lanes without a block are zero.
template <class Architecture, class Layout>
[[nodiscard]] simd::vector_pair<Architecture> load_last_lane_scales(const row_segment& segment,
                                                                    std::size_t first) noexcept {
  const std::size_t count = segment.blocks - first;
  if constexpr (Layout::has_scales_in_blocks) {
    constexpr std::size_t stride_bytes = Layout::stride_bytes;
    const std::byte* const headers = segment.codes + first * stride_bytes - 2 * sizeof(float16);
    return simd::widen_float16_pairs(load_partial_headers<Architecture, stride_bytes>(headers, count),
                                     Architecture{}, Architecture{});
  } else {
    std::array<float, simd::lanes<Architecture>> scales{};
    std::array<float, simd::lanes<Architecture>> offsets{};
    std::copy_n(segment.scales + first, count, scales.begin());
    std::copy_n(segment.offsets + first, count, offsets.begin());
    return {simd::load<Architecture>(scales.data()), simd::load<Architecture>(offsets.data())};
  }
}

/// Loads a block of codes as vectors of floats, in the order of its activations.
template <class Architecture, code_packing Packing>
struct code_loader {
  static constexpr bool has_scales = true;
  /// Calls use(codes, place) for every vector.
  template <class Use>
  NIBBLE_IN_PLACE static void each(const std::byte* codes, Use&& use) noexcept {
    for_each_code_vector<Architecture, Packing, simd::block_codes>(
        codes, [&](const simd::vector<std::int32_t, Architecture>& vector, std::size_t place)
                   NIBBLE_LAMBDA_IN_PLACE { use(to_float(vector), place); });
  }
};

/// The same for a block of float weights, which have no scales.
template <class Architecture, class Stored>
struct float_loader {
  static constexpr bool has_scales = false;
  template <class Use>
  NIBBLE_IN_PLACE static void each(const std::byte* values, Use&& use) noexcept {
    constexpr std::size_t width = simd::lanes<Architecture>;
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < simd::block_codes; j += width) {
      const std::byte* const from = values + j * sizeof(Stored);
      if constexpr (std::same_as<Stored, float16>) {
        use(simd::load_float16(from, Architecture{}, Architecture{}), j);
      } else if constexpr (std::same_as<Stored, bfloat16>) {
        use(simd::load_bfloat16(from, Architecture{}, Architecture{}), j);
      } else {
        use(simd::load_bytes<float, Architecture>(from), j);
      }
    }
  }
};

/// How many blocks are summed up side by side. A sum waits for the one before it, and few rows of
/// activations have few sums that do not depend on each other. A sum waits once a block, but four times
/// a block of float weights, which have no scales.
template <Activation Value>
[[nodiscard]] constexpr std::size_t blocks_at_once(std::size_t rows, bool has_scales) noexcept {
  if (rows == 1) return has_scales ? 2 : 4;
  return rows <= (std::same_as<Value, float> ? 5 : 2) ? 2 : 1;
}

/// Whether products of nibbles with bytes take as many blocks at a time as there are lanes.
template <class Architecture, code_packing Packing, Activation Value>
inline constexpr bool takes_lane_blocks = std::same_as<Value, std::int8_t>&& is_nibbles(Packing) &&
                                          simd::has_lane_block_products<Architecture>;

/// The layout in which small-batch products read activations.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr activation_layout small_batch_layout() noexcept {
  activation_layout layout{activation_order_of<Codec>(), 1};
  if constexpr (!PlainCodec<Codec>) {
    if (takes_lane_blocks<Architecture, packing_of<Codec, Value>(), Value>) {
      layout.joined_blocks = simd::joined_blocks<Architecture>;
    }
  }
  return layout;
}

/// The sums of a block's products of integers.
template <class Architecture>
[[nodiscard]] auto block_products(const simd::block_bytes<Architecture>& codes,
                                  const std::int8_t* x) noexcept {
  return simd::byte_products(codes, x, Architecture{}, Architecture{});
}
template <class Architecture>
[[nodiscard]] auto block_products(const simd::block_words<Architecture>& codes,
                                  const std::int16_t* x) noexcept {
  return simd::word_products(codes, x, Architecture{}, Architecture{});
}

/// Sums of offsets times sums of activations, a lane a block. Those of up to three rows stay in
/// registers; those of more rows are in memory, as other sums fill the registers.
template <class Architecture, std::size_t Rows>
class offset_sums {
 public:
  using floats = simd::vector<float, Architecture>;

  offset_sums() noexcept {
    if constexpr (is_in_registers) {
      sums_.fill(floats(0.0F));
    } else {
      sums_.fill({});
    }
  }

  void add(std::size_t m, const floats& offsets, const floats& activation_sums) noexcept {
    if constexpr (is_in_registers) {
      sums_[m] = simd::fma(offsets, activation_sums, sums_[m]);
    } else {
      const floats before = simd::load<Architecture>(sums_[m].data());
      simd::fma(offsets, activation_sums, before).store_unaligned(sums_[m].data());
    }
  }

  [[nodiscard]] floats of_row(std::size_t m) const noexcept {
    if constexpr (is_in_registers) {
      return sums_[m];
    } else {
      return simd::load<Architecture>(sums_[m].data());
    }
  }

 private:
  static constexpr bool is_in_registers = Rows <= 3;
  using lanes = std::array<float, simd::lanes<Architecture>>;
  alignas(64) std::array<std::conditional_t<is_in_registers, floats, lanes>, Rows> sums_;
};

/// Asks memory for a vector's worth of blocks that are multiplied soon. Measured on Zen 4, one row of f32:
/// float weights, whose lines take little time, come at 22 GB/s where the second-level cache is asked, and
/// at 12 to 18 where the first is, which takes on too few lines at once. They are asked for once more: some
/// were dropped. So they come at 26 GB/s of 30 that plain reading comes to.
template <class Architecture, class Layout>
void prefetch_next(const std::byte* codes, const row_segment& segment) noexcept {
  if constexpr (Layout::is_unpacked) return;
  NIBBLE_UNROLL
  for (std::size_t ahead = 0; ahead < simd::lanes<Architecture> * Layout::stride_bytes;
       ahead += simd::line_bytes) {
    if constexpr (Layout::loader::has_scales) {
      simd::prefetch(codes, segment.next_bytes + ahead);
    } else {
      constexpr std::size_t second_bytes = 4096;
      simd::prefetch_to_second_level(codes, segment.next_bytes + ahead);
      simd::prefetch_to_second_level(codes, second_bytes + ahead);
    }
  }
}

/// Adds the products of as many blocks of nibbles as there are lanes, a lane a block, with the first
/// blocks of the Rows rows of x.
template <class Architecture, class Layout, std::size_t Rows>
NIBBLE_IN_PLACE inline void add_lane_blocks(const std::byte* codes,
                                            const simd::vector_pair<Architecture>& scales,
                                            const activation_tile<std::int8_t>& x,
                                            std::array<simd::vector<float, Architecture>, Rows>& totals,
                                            offset_sums<Architecture, Rows>& offset_totals) noexcept {
  constexpr std::size_t unit_elements = simd::joined_blocks<Architecture> * simd::block_codes;
  const auto blocks =
      simd::load_lane_blocks<Layout::stride_bytes>(codes, Architecture{}, Architecture{});
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto sums = simd::load<Architecture>(x.sums + m * x.row_blocks);
    offset_totals.add(m, scales.second, sums);
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto products = simd::lane_block_products<Architecture>(
        blocks, x.values + m * unit_elements, Rows * unit_elements, Architecture{}, Architecture{});
    const auto product_scales = scales.first * simd::load<Architecture>(x.scales + m * x.row_blocks);
    totals[m] = simd::fma(to_float(products), product_scales, totals[m]);
  }
}

/// sums[m] = the products of a segment of nibbles with row m of the Rows rows of x, whose values are
/// bytes, from block `first` on. Blocks are taken as many at a time as there are lanes.
template <class Architecture, class Layout, std::size_t Rows>
void multiply_lane_blocks(const row_segment& segment, activation_tile<std::int8_t> x, std::size_t first,
                          float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t code_bytes = simd::block_codes / 2;  // of a block
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  offset_sums<Architecture, Rows> offset_totals;
  const std::byte* codes = segment.codes;
  x.values += first * Rows * simd::block_codes;
  x.scales += first;
  x.sums += first;
  std::size_t b = 0;
  for (; b + width <= segment.blocks; b += width) {
    prefetch_next<Architecture, Layout>(codes, segment);
    add_lane_blocks<Architecture, Layout>(codes, load_lane_scales<Architecture, Layout>(segment, b), x,
                                          totals, offset_totals);
    codes += width * Layout::stride_bytes;
    x.values += width * Rows * simd::block_codes;
    x.scales += width;
    x.sums += width;
  }
  if (b != segment.blocks) {
    std::array<std::byte, width * Layout::stride_bytes> last{};
    std::memcpy(last.data(), codes, (segment.blocks - b - 1) * Layout::stride_bytes + code_bytes);
    add_lane_blocks<Architecture, Layout>(
        last.data(), load_last_lane_scales<Architecture, Layout>(segment, b), x, totals, offset_totals);
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals[m] + offset_totals.of_row(m), Architecture{}, Architecture{});
  }
}

/// The blocks of a segment one by one, AtOnce of them side by side. Before each vector's worth of
/// blocks use_scales(scales and offsets, first block) is called, where blocks have scales. Then
/// add_block(codes, x, i, sum) is called for each block: x are its activations, block_values of them, i
/// is its place among the vector's worth, and sum, below AtOnce, is the number of the sum to add to.
template <class Architecture, class Layout, std::size_t AtOnce, class Value, class UseScales,
          class AddBlock>
NIBBLE_IN_PLACE inline void for_each_block(const row_segment& segment, const Value* x,
                                           std::size_t block_values, UseScales&& use_scales,
                                           AddBlock&& add_block) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr bool has_scales = Layout::loader::has_scales;
  static_assert(width % AtOnce == 0);
  const std::byte* codes = segment.codes;
  std::size_t b = 0;
  for (; b + width <= segment.blocks; b += width) {
    prefetch_next<Architecture, Layout>(codes, segment);
    if constexpr (has_scales) use_scales(load_lane_scales<Architecture, Layout>(segment, b), b);
    NIBBLE_KEEP_ROLLED
    for (std::size_t i = 0; i < width; i += AtOnce) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < AtOnce; ++j) {
        add_block(codes + j * Layout::stride_bytes, x + j * block_values, i + j, j);
      }
      x += AtOnce * block_values;
      codes += AtOnce * Layout::stride_bytes;
    }
  }
  if (b == segment.blocks) return;
  if constexpr (has_scales) use_scales(load_last_lane_scales<Architecture, Layout>(segment, b), b);
  for (std::size_t i = 0; b + i < segment.blocks; ++i) {
    add_block(codes, x, i, std::size_t{0});
    x += block_values;
    codes += Layout::stride_bytes;
  }
}

/// Sums of Rows rows of activations, AtOnce of each that do not wait for one another.
template <class Architecture, std::size_t Rows, std::size_t AtOnce>
struct parallel_sums {
  using floats = simd::vector<float, Architecture>;

  parallel_sums() noexcept {
    NIBBLE_UNROLL
    for (auto& each : sums) each.fill(floats(0.0F));
  }

  /// All sums of row m.
  [[nodiscard]] floats total(std::size_t m) const noexcept {
    floats total = sums[0][m];
    NIBBLE_UNROLL
    for (std::size_t i = 1; i < AtOnce; ++i) total = total + sums[i][m];
    return total;
  }

  std::array<std::array<floats, Rows>, AtOnce> sums;
};

/// sums[m] = the products of a segment of codes with row m of the Rows rows of quantized activations,
/// from block `first` on, block by block: integers are multiplied and summed up in a block, and their
/// sum is scaled by the weight's scale times the activations'.
template <class Architecture, class Layout, Activation Value, std::size_t Rows>
void multiply_quantized_blocks(const row_segment& segment, const activation_tile<Value>& x,
                               std::size_t first, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t at_once = blocks_at_once<Value>(Rows, true);
  parallel_sums<Architecture, Rows, at_once> totals;
  offset_sums<Architecture, Rows> offset_totals;
  alignas(64) std::array<std::array<float, width>, Rows> product_scales;
  for_each_block<Architecture, Layout, at_once>(
      segment, x.values + first * Rows * simd::block_codes, Rows * simd::block_codes,
      [&](const simd::vector_pair<Architecture>& scales, std::size_t b) NIBBLE_LAMBDA_IN_PLACE {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          const std::size_t at = m * x.row_blocks + first + b;
          (scales.first * simd::load<Architecture>(x.scales + at))
              .store_unaligned(product_scales[m].data());
          offset_totals.add(m, scales.second, simd::load<Architecture>(x.sums + at));
        }
      },
      [&](const std::byte* codes, const Value* from, std::size_t b, std::size_t sum)
          NIBBLE_LAMBDA_IN_PLACE {
            const auto block = load_codes<Architecture, Layout::packing, Value>(codes);
            NIBBLE_UNROLL
            for (std::size_t m = 0; m < Rows; ++m) {
              const auto products = block_products<Architecture>(block, from + m * simd::block_codes);
              auto& to = totals.sums[sum][m];
              to = simd::fma(to_float(products), floats(product_scales[m][b]), to);
            }
          });
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] =
        simd::sum_of_lanes(totals.total(m) + offset_totals.of_row(m), Architecture{}, Architecture{});
  }
}

/// The same for f32 activations of few rows: codes are multiplied and summed up in a block, and their
/// sum is scaled. An offset counts once a block, times the sum of its activations.
template <class Architecture, class Layout, std::size_t Rows>
void multiply_codes_by_f32(const row_segment& segment, const activation_tile<float>& x,
                           std::size_t first, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t at_once = blocks_at_once<float>(Rows, true);
  parallel_sums<Architecture, Rows, at_once> totals;
  offset_sums<Architecture, Rows> offset_totals;
  alignas(64) std::array<float, width> block_scales;
  for_each_block<Architecture, Layout, at_once>(
      segment, x.values + first * Rows * simd::block_codes, Rows * simd::block_codes,
      [&](const simd::vector_pair<Architecture>& scales, std::size_t b) NIBBLE_LAMBDA_IN_PLACE {
        scales.first.store_unaligned(block_scales.data());
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          const std::size_t at = m * x.row_blocks + first + b;
          offset_totals.add(m, scales.second, simd::load<Architecture>(x.sums + at));
        }
      },
      [&](const std::byte* codes, const float* from, std::size_t b, std::size_t sum)
          NIBBLE_LAMBDA_IN_PLACE {
            std::array<floats, Rows> products;
            Layout::loader::each(codes, [&](const floats& code, std::size_t at) NIBBLE_LAMBDA_IN_PLACE {
              NIBBLE_UNROLL
              for (std::size_t m = 0; m < Rows; ++m) {
                const floats activations = simd::load<Architecture>(from + m * simd::block_codes + at);
                products[m] = at == 0 ? activations * code : simd::fma(code, activations, products[m]);
              }
            });
            const floats scale(block_scales[b]);
            NIBBLE_UNROLL
            for (std::size_t m = 0; m < Rows; ++m) {
              auto& to = totals.sums[sum][m];
              to = simd::fma(products[m], scale, to);
            }
          });
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] =
        simd::sum_of_lanes(totals.total(m) + offset_totals.of_row(m), Architecture{}, Architecture{});
  }
}

/// The same for f32 activations of more rows, and for float weights: a block's values are scaled before
/// they are multiplied.
template <class Architecture, class Layout, std::size_t Rows>
void multiply_values_by_f32(const row_segment& segment, const activation_tile<float>& x,
                            std::size_t first, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using loader = typename Layout::loader;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t at_once = blocks_at_once<float>(Rows, loader::has_scales);
  parallel_sums<Architecture, Rows, at_once> totals;
  alignas(64) std::array<float, width> block_scales;
  alignas(64) std::array<float, width> block_offsets;
  for_each_block<Architecture, Layout, at_once>(
      segment, x.values + first * Rows * simd::block_codes, Rows * simd::block_codes,
      [&](const simd::vector_pair<Architecture>& scales, std::size_t) NIBBLE_LAMBDA_IN_PLACE {
        scales.first.store_unaligned(block_scales.data());
        scales.second.store_unaligned(block_offsets.data());
      },
      [&](const std::byte* codes, const float* from, std::size_t b, std::size_t sum)
          NIBBLE_LAMBDA_IN_PLACE {
            const floats scale(loader::has_scales ? block_scales[b] : 0.0F);
            const floats offset(loader::has_scales ? block_offsets[b] : 0.0F);
            loader::each(codes, [&](const floats& code, std::size_t at) NIBBLE_LAMBDA_IN_PLACE {
              const floats value = loader::has_scales ? simd::fma(code, scale, offset) : code;
              NIBBLE_UNROLL
              for (std::size_t m = 0; m < Rows; ++m) {
                auto& to = totals.sums[sum][m];
                to = simd::fma(value, simd::load<Architecture>(from + m * simd::block_codes + at), to);
              }
            });
          });
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals.total(m), Architecture{}, Architecture{});
  }
}

/// The products of a segment, by one of the four functions above:
///   nibbles times bytes, where the instruction set has it    multiply_lane_blocks
///   other codes times quantized activations                  multiply_quantized_blocks
///   codes times f32, up to 3 rows                            multiply_codes_by_f32
///   codes times f32, from 4 rows on; float weights           multiply_values_by_f32
template <class Architecture, class Layout, Activation Value, std::size_t Rows>
void multiply_segment(const row_segment& segment, const activation_tile<Value>& x, std::size_t first,
                      float* sums) noexcept {
  if constexpr (takes_lane_blocks<Architecture, Layout::packing, Value>) {
    multiply_lane_blocks<Architecture, Layout, Rows>(segment, x, first, sums);
  } else if constexpr (!std::same_as<Value, float>) {
    multiply_quantized_blocks<Architecture, Layout, Value, Rows>(segment, x, first, sums);
  } else if constexpr (Layout::loader::has_scales && !multiplies_values(Rows)) {
    multiply_codes_by_f32<Architecture, Layout, Rows>(segment, x, first, sums);
  } else {
    multiply_values_by_f32<Architecture, Layout, Rows>(segment, x, first, sums);
  }
}

template <Activation Value>
using multiply_segment_function = void (*)(const row_segment&, const activation_tile<Value>&,
                                           std::size_t first, float* sums) noexcept;

/// multiply_segment for `rows` rows of activations, 1 to max_small_batch_rows.
template <class Architecture, class Layout, Activation Value>
[[nodiscard]] multiply_segment_function<Value> choose_multiply_segment(std::size_t rows) noexcept {
  return choose_by_rows<multiply_segment_function<Value>, max_small_batch_rows<Architecture, Value>()>(
      rows, []<std::size_t Rows>() { return &multiply_segment<Architecture, Layout, Value, Rows>; });
}

/// Whether products read scales and offsets from the blocks themselves.
template <Codec Codec>
[[nodiscard]] constexpr bool has_scales_in_blocks() noexcept {
  if constexpr (BlockCodec<Codec> && !BitCodec<Codec>) {
    return Codec::has_min && Codec::code_zero == 0 && !NormalScaleCodec<Codec>;
  } else {
    return false;
  }
}

/// The most blocks of a pass. Where products decode to f32 first, decoded blocks and activations share
/// the first-level cache.
template <Codec Codec, Activation Value>
inline constexpr std::size_t pass_limit_blocks = decodes_to_f32_first<Codec, Value>()
                                                     ? 64
                                                     : pass_capacity_blocks;
template <Codec Codec, Activation Value>
using pass_row = weight_row<Codec, Value, pass_limit_blocks<Codec, Value>>;

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr auto segment_layout_of() noexcept {
  constexpr std::size_t stride_bytes = pass_row<Codec, Value>::stride_bytes;
  if constexpr (PlainCodec<Codec>) {
    using loader = float_loader<Architecture, typename Codec::stored_type>;
    return segment_layout<loader, code_packing::signed_bytes, stride_bytes, false, BitCodec<Codec>>{};
  } else if constexpr (decodes_to_f32_first<Codec, Value>()) {
    using loader = float_loader<Architecture, float>;
    return segment_layout<loader, code_packing::signed_bytes, stride_bytes, false, BitCodec<Codec>>{};
  } else {
    constexpr code_packing packing = load_packing_of<Codec, Value>();
    return segment_layout<code_loader<Architecture, packing>, packing, stride_bytes,
                          has_scales_in_blocks<Codec>(), BitCodec<Codec>>{};
  }
}

/// Products of a tile of activations, of at most max_small_batch_rows rows, with some rows of a weight
/// whose rows_are_blocks.
template <class Architecture, Codec Codec, Activation Value>
void multiply_small_batch(const tensor_view& weight, row_range rows, const activation_tile<Value>& x,
                          const product_output& y) noexcept {
  using layout = decltype(segment_layout_of<Architecture, Codec, Value>());
  using row_type = pass_row<Codec, Value>;
  const auto multiply = choose_multiply_segment<Architecture, layout, Value>(x.rows);
  const std::size_t blocks = blocks_in(static_cast<std::size_t>(weight.cols()));
  const std::size_t pass =
      std::min(pass_limit_blocks<Codec, Value>, pass_blocks(x.rows, sizeof(Value)));
  // Memory answers while two rows are multiplied, or 8 KiB of float weights where those are less.
  constexpr std::size_t least_next_bytes = PlainCodec<Codec> ? 8192 : 0;
  const std::size_t next_bytes = std::max(2 * blocks * layout::stride_bytes, least_next_bytes);
  block_scales scales;
  alignas(64) std::array<std::byte, std::max<std::size_t>(1, row_type::memory_bytes)> memory;
  for (std::size_t first = 0; first < blocks; first += pass) {
    const block_range range{first, std::min(pass, blocks - first)};
    for (std::size_t n = 0; n < rows.count; ++n) {
      row_type row(weight, rows.first + n, memory.data());
      if constexpr (!PlainCodec<Codec> && !layout::has_scales_in_blocks) {
        if (!TensorScaleCodec<Codec> || n == 0) {
          row.template load_scales<Architecture>(weight, range, code_bias<Codec, Value>(), scales);
        }
      }
      const auto add_segment = [&](std::size_t skipped, std::size_t count, bool is_first) {
        std::array<float, max_small_batch_rows<Architecture, Value>()> sums;
        multiply({row.codes_of(first + skipped), count, scales.scales.data() + skipped,
                  scales.offsets.data() + skipped, next_bytes},
                 x, first + skipped, sums.data());
        y.put(rows.first + n, sums.data(), x.rows, is_first);
      };
      const std::size_t contiguous = row.contiguous_blocks(range);
      add_segment(0, contiguous, first == 0);
      // The partial last block of an encoding that is not stored in blocks.
      if (contiguous != range.count) add_segment(contiguous, 1, false);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
