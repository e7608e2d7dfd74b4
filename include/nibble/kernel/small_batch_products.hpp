#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/unpacked_row.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of a few rows of activations with blocks as they lie in the file: a vector runs along a
// weight's row, each block is taken apart once for all activations, and nothing is written but sums.

/// The most rows of activations that row products take at once. Measured: where registers hold no more
/// sums (12 of floats, else 8), some in memory cost less than a second pass over the weight, up to
/// here; of words, that take up more registers themselves, they do not.
template <Activation Value>
inline constexpr std::size_t max_small_batch_rows = std::same_as<Value, float>         ? 15
                                                : std::same_as<Value, std::int8_t> ? 12
                                                                                   : 8;

/// Blocks of a pass: its activations fill half a first-level cache, in which they stay while all weight
/// rows of a task go over them.
[[nodiscard]] constexpr std::size_t pass_blocks(std::size_t rows, std::size_t value_bytes) noexcept {
  constexpr std::size_t pass_bytes = 16384;
  const std::size_t blocks = pass_bytes / (rows * value_bytes * simd::block_codes);
  return std::clamp(blocks / padding_blocks * padding_blocks, padding_blocks, pass_capacity_blocks);
}

/// Part of a weight's row.
struct row_part {
  const std::byte* codes;  ///< of the first block
  std::size_t blocks;
  const float* scales;     ///< of each block, where they are not taken from the blocks
  const float* offsets;    ///< the same
  std::size_t next_bytes;  ///< from here to what is multiplied soon
};

/// How the blocks of parts lie.
template <class Loader, code_packing Packing, std::size_t StrideBytes, bool HasScalesInBlocks>
struct part_layout {
  using loader = Loader;                            ///< takes blocks apart for products with f32
  static constexpr code_packing packing = Packing;  ///< of codes
  static constexpr std::size_t stride_bytes = StrideBytes;  ///< from one block's codes to the next
  /// Whether a scale and an offset of float16 stand before each block's codes.
  static constexpr bool has_scales_in_blocks = HasScalesInBlocks;
};

/// Scales and offsets of as many blocks of a part as there are lanes, from the first-th on.
template <class Architecture, class Layout>
[[nodiscard]] simd::vector_pair<Architecture> load_lane_scales(const row_part& part,
                                                               std::size_t first) noexcept {
  if constexpr (Layout::has_scales_in_blocks) {
    constexpr std::size_t stride_bytes = Layout::stride_bytes;
    const std::byte* const heads = part.codes + first * stride_bytes - 2 * sizeof(float16);
    return simd::widen_float16_pairs(
        simd::load_words_apart<stride_bytes>(heads, Architecture{}, Architecture{}), Architecture{},
        Architecture{});
  } else {
    return {simd::load<Architecture>(part.scales + first),
            simd::load<Architecture>(part.offsets + first)};
  }
}

/// The same for the last blocks of a part, fewer than lanes; zeros in lanes left over.
template <class Architecture, class Layout>
[[nodiscard]] simd::vector_pair<Architecture> load_last_lane_scales(const row_part& part,
                                                                    std::size_t first) noexcept {
  const std::size_t count = part.blocks - first;
  if constexpr (Layout::has_scales_in_blocks) {
    constexpr std::size_t stride_bytes = Layout::stride_bytes;
    const std::byte* const heads = part.codes + first * stride_bytes - 2 * sizeof(float16);
    return simd::widen_float16_pairs(load_partial_headers<Architecture, stride_bytes>(heads, count),
                                     Architecture{}, Architecture{});
  } else {
    std::array<float, simd::lanes<Architecture>> scales{};
    std::array<float, simd::lanes<Architecture>> offsets{};
    std::copy_n(part.scales + first, count, scales.begin());
    std::copy_n(part.offsets + first, count, offsets.begin());
    return {simd::load<Architecture>(scales.data()), simd::load<Architecture>(offsets.data())};
  }
}

/// Takes a block's codes apart into vectors of floats, in the order that its activations are in.
template <class Architecture, code_packing Packing>
struct code_loader {
  static constexpr bool has_scales = true;
  template <class Use>
  static void each(const std::byte* codes, Use&& use) noexcept {
    using integers = simd::vector<std::int32_t, Architecture>;
    constexpr std::size_t width = simd::lanes<Architecture>;
    if constexpr (Packing == code_packing::unsigned_bytes) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < simd::block_codes; j += width) {
        use(to_float(simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{})), j);
      }
    } else if constexpr (Packing == code_packing::signed_bytes) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < simd::block_codes; j += width) {
        use(to_float(simd::load_signed_bytes(codes + j, Architecture{}, Architecture{})), j);
      }
    } else {
      constexpr std::size_t half = simd::block_codes / 2;
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < half; j += width) {
        const integers pairs = simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{});
        use(to_float(pairs & integers(15)), j);
        use(to_float(pairs >> 4), j + half);
      }
    }
  }
};

/// The same for blocks of numbers.
template <class Architecture, class Stored>
struct number_loader {
  static constexpr bool has_scales = false;
  template <class Use>
  static void each(const std::byte* numbers, Use&& use) noexcept {
    constexpr std::size_t width = simd::lanes<Architecture>;
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < simd::block_codes; j += width) {
      const std::byte* const from = numbers + j * sizeof(Stored);
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

/// Blocks whose products are summed up side by side: a sum waits for the one before it, and few rows of
/// activations have few sums. Of numbers without scales, one waits four times a block, else once.
template <Activation Value>
[[nodiscard]] constexpr std::size_t blocks_at_once(std::size_t rows, bool has_scales) noexcept {
  if (rows == 1) return has_scales ? 2 : 4;
  return rows <= (std::same_as<Value, float> ? 5 : 2) ? 2 : 1;
}

/// Whether f32 activations are multiplied with values rather than with codes: scaling a block's 32
/// codes costs less than scaling the sums of as many rows, and takes no registers for them.
[[nodiscard]] constexpr bool multiplies_values(std::size_t rows) noexcept { return rows >= 4; }

/// Whether products of nibbles with bytes are taken of as many blocks at a time as there are lanes.
template <class Architecture, code_packing Packing, Activation Value>
inline constexpr bool takes_groups =
    std::same_as<Value, std::int8_t>&& is_nibbles(Packing) && simd::has_lane_block_products<Architecture>;

/// How row products want the activations to lie.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr activation_layout small_batch_layout() noexcept {
  activation_layout layout{activation_order_of<Codec>(), 1};
  if constexpr (!PlainCodec<Codec>) {
    if (takes_groups<Architecture, packing_of<Codec, Value>(), Value>) {
      layout.joined_blocks = simd::joined_blocks<Architecture>;
    }
  }
  return layout;
}

/// The integer sums of a block's products.
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

/// Sums of offsets times sums of activations, a lane a block: of few rows in registers, of more not,
/// for other sums fill these.
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
      sums_[m] = fma(offsets, activation_sums, sums_[m]);
    } else {
      const floats before = simd::load<Architecture>(sums_[m].data());
      fma(offsets, activation_sums, before).store_unaligned(sums_[m].data());
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

/// Adds the products of a group, as many blocks as there are lanes, with the first blocks of the Rows
/// rows of x.
template <class Architecture, class Layout, std::size_t Rows>
NIBBLE_IN_PLACE inline void add_group(const std::byte* codes,
                                      const simd::vector_pair<Architecture>& scales,
                                      const activation_tile<std::int8_t>& x,
                                      std::array<simd::vector<float, Architecture>, Rows>& totals,
                                      offset_sums<Architecture, Rows>& offset_totals) noexcept {
  constexpr std::size_t unit_elements = simd::joined_blocks<Architecture> * simd::block_codes;
  const auto group =
      simd::load_lane_blocks<Layout::stride_bytes>(codes, Architecture{}, Architecture{});
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto sums = simd::load<Architecture>(x.sums + m * x.row_blocks);
    offset_totals.add(m, scales.second, sums);
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    const auto products = simd::lane_block_products<Architecture>(
        group, x.values + m * unit_elements, Rows * unit_elements, Architecture{}, Architecture{});
    const auto steps = scales.first * simd::load<Architecture>(x.steps + m * x.row_blocks);
    totals[m] = fma(to_float(products), steps, totals[m]);
  }
}

/// Asks memory for a vector's worth of blocks that are multiplied soon.
template <class Architecture, class Layout>
void prefetch_next(const std::byte* codes, const row_part& part) noexcept {
  NIBBLE_UNROLL
  for (std::size_t ahead = 0; ahead < simd::lanes<Architecture> * Layout::stride_bytes; ahead += 64) {
    simd::prefetch(codes, part.next_bytes + ahead);
  }
}

/// sums[m] = the products of a part with the Rows rows of x, from block `first` on: nibbles and bytes,
/// as many blocks at a time as there are lanes.
template <class Architecture, class Layout, std::size_t Rows>
void multiply_groups(const row_part& part, activation_tile<std::int8_t> x, std::size_t first,
                     float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t code_bytes = simd::block_codes / 2;  // of a block
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  offset_sums<Architecture, Rows> offset_totals;
  const std::byte* codes = part.codes;
  x.values += first * Rows * simd::block_codes;
  x.steps += first;
  x.sums += first;
  std::size_t b = 0;
  for (; b + width <= part.blocks; b += width) {
    prefetch_next<Architecture, Layout>(codes, part);
    add_group<Architecture, Layout>(codes, load_lane_scales<Architecture, Layout>(part, b), x, totals,
                                    offset_totals);
    codes += width * Layout::stride_bytes;
    x.values += width * Rows * simd::block_codes;
    x.steps += width;
    x.sums += width;
  }
  if (b != part.blocks) {
    std::array<std::byte, width * Layout::stride_bytes> last{};
    std::memcpy(last.data(), codes, (part.blocks - b - 1) * Layout::stride_bytes + code_bytes);
    add_group<Architecture, Layout>(last.data(), load_last_lane_scales<Architecture, Layout>(part, b),
                                    x, totals, offset_totals);
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    sums[m] = simd::sum_of_lanes(totals[m] + offset_totals.of_row(m), Architecture{}, Architecture{});
  }
}

/// The same, block by block.
template <class Architecture, class Layout, Activation Value, std::size_t Rows>
void multiply_blocks(const row_part& part, const activation_tile<Value>& x, std::size_t first,
                     float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using loader = typename Layout::loader;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr bool has_codes = !std::same_as<Value, float>;
  constexpr bool has_values = !has_codes && multiplies_values(Rows);
  constexpr std::size_t at_once = blocks_at_once<Value>(Rows, has_codes || loader::has_scales);
  constexpr std::size_t block_values = Rows * simd::block_codes;
  static_assert(width % at_once == 0);

  std::array<std::array<floats, Rows>, at_once> totals;
  NIBBLE_UNROLL
  for (auto& each : totals) each.fill(floats(0.0F));
  offset_sums<Architecture, has_values ? 1 : Rows> offset_totals;
  // What a code, or a product of codes, of 1 stands for in each of a vector's worth of blocks.
  alignas(64) std::array<std::array<float, width>, has_codes ? Rows : 2> steps;

  const auto add_block = [&](const std::byte* codes, const Value* from, std::size_t b,
                             std::array<floats, Rows>& to) {
    if constexpr (has_codes) {
      const auto block = load_codes<Architecture, Layout::packing, Value>(codes);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        const auto products = block_products<Architecture>(block, from + m * simd::block_codes);
        to[m] = fma(to_float(products), floats(steps[m][b]), to[m]);
      }
    } else if constexpr (loader::has_scales && !has_values) {
      std::array<floats, Rows> products;
      loader::each(codes, [&](const floats& code, std::size_t at) {
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          const floats activations = simd::load<Architecture>(from + m * simd::block_codes + at);
          products[m] = at == 0 ? activations * code : fma(code, activations, products[m]);
        }
      });
      const floats scale(steps[0][b]);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) to[m] = fma(products[m], scale, to[m]);
    } else {
      const floats scale(loader::has_scales ? steps[0][b] : 0.0F);
      const floats offset(loader::has_scales ? steps[1][b] : 0.0F);
      loader::each(codes, [&](const floats& code, std::size_t at) {
        const floats value = loader::has_scales ? fma(code, scale, offset) : code;
        NIBBLE_UNROLL
        for (std::size_t m = 0; m < Rows; ++m) {
          to[m] = fma(value, simd::load<Architecture>(from + m * simd::block_codes + at), to[m]);
        }
      });
    }
  };

  const auto use_scales = [&](const simd::vector_pair<Architecture>& scales, std::size_t b) {
    if constexpr (!has_codes) scales.first.store_unaligned(steps[0].data());
    if constexpr (has_values) {
      scales.second.store_unaligned(steps[1].data());
    } else {
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        const std::size_t at = m * x.row_blocks + first + b;
        if constexpr (has_codes) {
          (scales.first * simd::load<Architecture>(x.steps + at)).store_unaligned(steps[m].data());
        }
        offset_totals.add(m, scales.second, simd::load<Architecture>(x.sums + at));
      }
    }
  };

  const Value* from = x.values + first * block_values;
  const std::byte* codes = part.codes;
  std::size_t b = 0;
  for (; b + width <= part.blocks; b += width) {
    prefetch_next<Architecture, Layout>(codes, part);
    if constexpr (loader::has_scales) use_scales(load_lane_scales<Architecture, Layout>(part, b), b);
    NIBBLE_KEEP_ROLLED
    for (std::size_t i = 0; i < width; i += at_once) {
      NIBBLE_UNROLL
      for (std::size_t j = 0; j < at_once; ++j) {
        add_block(codes + j * Layout::stride_bytes, from + j * block_values, i + j, totals[j]);
      }
      from += at_once * block_values;
      codes += at_once * Layout::stride_bytes;
    }
  }
  if (b != part.blocks) {
    if constexpr (loader::has_scales) {
      use_scales(load_last_lane_scales<Architecture, Layout>(part, b), b);
    }
    for (std::size_t i = 0; b + i < part.blocks; ++i) {
      add_block(codes, from, i, totals[0]);
      from += block_values;
      codes += Layout::stride_bytes;
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    floats total = totals[0][m];
    NIBBLE_UNROLL
    for (std::size_t i = 1; i < at_once; ++i) total = total + totals[i][m];
    if constexpr (!has_values) total = total + offset_totals.of_row(m);
    sums[m] = simd::sum_of_lanes(total, Architecture{}, Architecture{});
  }
}

/// Whichever of the two suits.
template <class Architecture, class Layout, Activation Value, std::size_t Rows>
void multiply_part(const row_part& part, const activation_tile<Value>& x, std::size_t first,
                   float* sums) noexcept {
  if constexpr (takes_groups<Architecture, Layout::packing, Value>) {
    multiply_groups<Architecture, Layout, Rows>(part, x, first, sums);
  } else {
    multiply_blocks<Architecture, Layout, Value, Rows>(part, x, first, sums);
  }
}

template <Activation Value>
using multiply_part_function = void (*)(const row_part&, const activation_tile<Value>&, std::size_t,
                                        float*) noexcept;

/// multiply_part for `rows` rows of activations, 1 to max_small_batch_rows.
template <class Architecture, class Layout, Activation Value>
[[nodiscard]] multiply_part_function<Value> choose_multiply_part(std::size_t rows) noexcept {
  return [rows]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<multiply_part_function<Value>, max_small_batch_rows<Value>> functions = {
        &multiply_part<Architecture, Layout, Value, I + 1>...};
    return functions[rows - 1];
  }
  (std::make_index_sequence<max_small_batch_rows<Value>>{});
}

/// Whether products read scales and offsets where they lie, before each block's codes, as they are.
template <Codec Codec>
[[nodiscard]] constexpr bool has_scales_in_blocks() noexcept {
  if constexpr (BlockCodec<Codec> && !BitCodec<Codec>) {
    return Codec::has_min && Codec::code_zero == 0 && !NormalScaleCodec<Codec>;
  } else {
    return false;
  }
}

/// The most blocks of a pass: a decoded pass and its activations share the first-level cache.
template <Codec Codec, Activation Value>
inline constexpr std::size_t pass_limit_blocks = decodes_to_f32_first<Codec, Value>() ? 64 : pass_capacity_blocks;
template <Codec Codec, Activation Value>
using pass_row = typename row_view<Codec, Value, pass_limit_blocks<Codec, Value>>::type;

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr auto part_layout_of() noexcept {
  constexpr std::size_t stride_bytes = pass_row<Codec, Value>::stride_bytes;
  if constexpr (PlainCodec<Codec>) {
    using loader = number_loader<Architecture, typename Codec::stored_type>;
    return part_layout<loader, code_packing::signed_bytes, stride_bytes, false>{};
  } else if constexpr (decodes_to_f32_first<Codec, Value>()) {
    return part_layout<number_loader<Architecture, float>, code_packing::signed_bytes, stride_bytes,
                       false>{};
  } else {
    // Nibbles come apart alike wherever they lie: the activations' order makes the difference.
    constexpr code_packing own = packing_of<Codec, Value>();
    constexpr code_packing packing = is_nibbles(own) ? code_packing::nibble_halves : own;
    return part_layout<code_loader<Architecture, packing>, packing, stride_bytes,
                       has_scales_in_blocks<Codec>()>{};
  }
}

/// Products of a tile of x_rows activations, at most max_small_batch_rows, with rows first_row .. first_row
/// + row_count of a weight whose rows_are_blocks.
template <class Architecture, Codec Codec, Activation Value>
void multiply_small_batch(const tensor_view& weight, std::uint64_t first_row, std::size_t row_count,
                   const activation_tile<Value>& x, std::size_t x_rows,
                   const product_output& y) noexcept {
  using layout = decltype(part_layout_of<Architecture, Codec, Value>());
  using row_type = pass_row<Codec, Value>;
  const auto multiply = choose_multiply_part<Architecture, layout, Value>(x_rows);
  const auto cols = static_cast<std::size_t>(weight.cols());
  const std::size_t blocks = (cols + simd::block_codes - 1) / simd::block_codes;
  const std::size_t pass = std::min(pass_limit_blocks<Codec, Value>, pass_blocks(x_rows, sizeof(Value)));
  // Memory answers while two rows are multiplied; what was taken apart before is at hand.
  const std::size_t next_bytes = BitCodec<Codec> ? 0 : 2 * blocks * layout::stride_bytes;
  block_scales scales;
  alignas(64) std::array<std::byte, std::max<std::size_t>(1, row_type::memory_bytes)> memory;
  for (std::size_t first = 0; first < blocks; first += pass) {
    const std::size_t count = std::min(pass, blocks - first);
    for (std::size_t n = 0; n < row_count; ++n) {
      row_type row(weight, first_row + n, memory.data());
      if constexpr (!PlainCodec<Codec> && !layout::has_scales_in_blocks) {
        if (!TensorScaleCodec<Codec> || n == 0) {
          row.template load_scales<Architecture>(weight, first, count, code_bias<Codec, Value>(),
                                                 scales);
        }
      }
      const std::size_t whole = row.whole_blocks(first, count);
      std::array<float, max_small_batch_rows<Value>> sums;
      multiply({row.codes_of(first), whole, scales.scales.data(), scales.offsets.data(), next_bytes}, x,
               first, sums.data());
      y.put(first_row + n, sums.data(), x_rows, first == 0);
      if (whole != count) {
        multiply({row.codes_of(first + whole), 1, scales.scales.data() + whole,
                  scales.offsets.data() + whole, next_bytes},
                 x, first + whole, sums.data());
        y.put(first_row + n, sums.data(), x_rows, false);
      }
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
