#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/activations.hpp>
#include <nibble/compute/bit_blocks.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/product_output.hpp>
#include <nibble/compute/weight_blocks.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of many rows of activations: as many weight rows as a vector has lanes are expanded together
// into a panel that stays in cache, each row in a lane of its own, and every activation is multiplied
// with all of them at once.

/// Elements of a row that a panel of floats and one of codes hold: a panel and the activations that
/// pass over it stay in the first-level cache.
inline constexpr std::size_t float_panel_cols = 256;
inline constexpr std::size_t code_panel_blocks = 32;

/// Rows of activations a tile, and groups of weight rows: their sums fill the registers.
template <class Architecture>
inline constexpr std::size_t float_tile_rows = simd::lanes<Architecture> == 16 ? 12 : 6;
inline constexpr std::size_t float_tile_groups = 2;
inline constexpr std::size_t code_tile_rows = 6;

/// What a tile sums up: [rows][groups][lanes].
template <class Architecture, std::size_t MostRows, std::size_t Groups>
using tile_sums = std::array<float, MostRows * Groups * simd::lanes<Architecture>>;

/// sums = x[Rows][count] * panel[Groups][count][lanes].
template <class Architecture, std::size_t Groups, std::size_t Rows>
void multiply_float_panel(const float* x, std::size_t x_stride, const float* panel, std::size_t count,
                          float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::array<std::array<floats, Groups>, Rows> totals;
  NIBBLE_UNROLL
  for (auto& row : totals) row.fill(floats(0.0F));
  for (std::size_t k = 0; k < count; ++k) {
    std::array<floats, Groups> weights;
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) {
      weights[g] = simd::load<Architecture>(panel + (g * float_panel_cols + k) * width);
    }
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      const floats activation(x[m * x_stride + k]);
      NIBBLE_UNROLL
      for (std::size_t g = 0; g < Groups; ++g) {
        totals[m][g] = fma(activation, weights[g], totals[m][g]);
      }
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) {
    NIBBLE_UNROLL
    for (std::size_t g = 0; g < Groups; ++g) {
      totals[m][g].store_unaligned(sums + (m * Groups + g) * width);
    }
  }
}

template <class Architecture>
using float_tile_function = void (*)(const float*, std::size_t, const float*, std::size_t,
                                     float*) noexcept;

/// multiply_float_panel for `rows` rows of activations and one group or float_tile_groups of them.
template <class Architecture>
[[nodiscard]] float_tile_function<Architecture> choose_float_tile(std::size_t rows,
                                                                  bool is_one_group) noexcept {
  return [=]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<float_tile_function<Architecture>, sizeof...(I)> one = {
        &multiply_float_panel<Architecture, 1, I + 1>...};
    constexpr std::array<float_tile_function<Architecture>, sizeof...(I)> all = {
        &multiply_float_panel<Architecture, float_tile_groups, I + 1>...};
    return is_one_group ? one[rows - 1] : all[rows - 1];
  }
  (std::make_index_sequence<float_tile_rows<Architecture>>{});
}

/// Decodes elements first .. first + count of `rows` weight rows, at most one for each lane, into
/// panel[count][lanes]; lanes without a row become zeros.
template <class Architecture>
void fill_float_panel(const run_decoder& decoder, const tensor_view& weight, std::uint64_t first_row,
                      std::size_t rows, std::size_t first, std::size_t count, float* panel) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  alignas(64) std::array<std::array<float, float_panel_cols>, width> decoded;
  const std::size_t padded = (count + width - 1) / width * width;
  NIBBLE_UNROLL
  for (std::size_t n = 0; n < width; ++n) {
    if (n >= rows) {
      std::fill_n(decoded[n].begin(), padded, 0.0F);
      continue;
    }
    const auto [run, start] = position_of_row(decoder.of, weight, first_row + n);
    decoder.decode_run(run, start + first, count, decoded[n].data());
    std::fill_n(decoded[n].begin() + static_cast<std::ptrdiff_t>(count), padded - count, 0.0F);
  }
  for (std::size_t k = 0; k < padded; k += width) {
    simd::square<Architecture> square;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < width; ++n) {
      square[n] = std::bit_cast<integers>(simd::load<Architecture>(decoded[n].data() + k));
    }
    simd::transpose<Architecture>(square, Architecture{}, Architecture{});
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < width; ++i) {
      std::bit_cast<simd::vector<float, Architecture>>(square[i]).store_unaligned(panel +
                                                                                  (k + i) * width);
    }
  }
}

/// Products of x_rows rows of f32 activations with rows first_row .. first_row + row_count of any
/// weight.
template <class Architecture>
void multiply_float_panels(const run_decoder& decoder, const tensor_view& weight,
                           std::uint64_t first_row, std::size_t row_count, const float* x,
                           std::size_t x_stride, std::size_t x_rows, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t most_rows = float_tile_rows<Architecture>;
  constexpr std::size_t tile_cols = width * float_tile_groups;
  alignas(64) std::array<float, tile_cols * float_panel_cols> panel;
  alignas(64) tile_sums<Architecture, most_rows, float_tile_groups> sums;
  const auto cols = static_cast<std::size_t>(weight.cols());
  for (std::size_t n = 0; n < row_count; n += tile_cols) {
    const std::size_t tile_count = std::min(tile_cols, row_count - n);
    const bool is_one_group = tile_count <= width;
    for (std::size_t first = 0; first < cols; first += float_panel_cols) {
      const std::size_t count = std::min(float_panel_cols, cols - first);
      for (std::size_t g = 0; g * width < tile_count; ++g) {
        fill_float_panel<Architecture>(decoder, weight, first_row + n + g * width,
                                       std::min(width, tile_count - g * width), first, count,
                                       panel.data() + g * float_panel_cols * width);
      }
      for (std::size_t m = 0; m < x_rows;) {
        const std::size_t rows = tile_rows_at(m, x_rows, most_rows);
        const auto multiply = choose_float_tile<Architecture>(rows, is_one_group);
        multiply(x + m * x_stride + first, x_stride, panel.data(), count, sums.data());
        const std::size_t row_sums = is_one_group ? width : tile_cols;
        for (std::size_t i = 0; i < rows; ++i) {
          y.put_row(m + i, first_row + n, sums.data() + i * row_sums, tile_count, first == 0);
        }
        m += rows;
      }
    }
  }
}

/// Codes of one panel, a lane a weight row: for every block its quads of bytes, or pairs of words.
template <class Architecture, Activation Value>
struct code_panel {
  static constexpr std::size_t width = simd::lanes<Architecture>;
  using code = std::conditional_t<std::same_as<Value, std::int8_t>, std::uint8_t, std::int16_t>;
  static constexpr std::size_t lane_codes = 4 / sizeof(code);
  /// Vectors a block.
  static constexpr std::size_t block_vectors = simd::block_codes / lane_codes;

  alignas(64) std::array<code, code_panel_blocks * simd::block_codes * width> codes;
  alignas(64) std::array<float, code_panel_blocks * width> scales;
  alignas(64) std::array<float, code_panel_blocks * width> offsets;
};

/// Codes of as many rows as a vector has lanes, each row's blocks stride_bytes apart.
template <class Architecture>
struct square_of_rows {
  std::array<const std::byte*, simd::lanes<Architecture>> codes;
  std::size_t stride_bytes;
};

/// Takes `count` blocks of codes apart into a panel, from `lane` on.
template <class Architecture, code_packing Packing, Activation Value>
void store_codes(const square_of_rows<simd::block_architecture<Architecture>>& rows, std::size_t count,
                 std::size_t lane, code_panel<Architecture, Value>& to) noexcept {
  using panel = code_panel<Architecture, Value>;
  using tag = simd::block_architecture<Architecture>;
  using block = decltype(load_codes<tag, Packing, Value>(nullptr));
  constexpr std::size_t square_rows = simd::lanes<tag>;
  constexpr std::size_t parts = std::tuple_size_v<block>;
  for (std::size_t b = 0; b < count; ++b) {
    std::array<simd::square<tag>, parts> squares;
    NIBBLE_UNROLL
    for (std::size_t n = 0; n < square_rows; ++n) {
      const block codes = load_codes<tag, Packing, Value>(rows.codes[n] + b * rows.stride_bytes);
      NIBBLE_UNROLL
      for (std::size_t part = 0; part < parts; ++part) {
        squares[part][n] = std::bit_cast<simd::vector<std::int32_t, tag>>(codes[part]);
      }
    }
    NIBBLE_UNROLL
    for (std::size_t part = 0; part < parts; ++part) {
      simd::transpose<tag>(squares[part], tag{}, tag{});
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < square_rows; ++i) {
        const std::size_t at = b * panel::block_vectors + part * square_rows + i;
        std::bit_cast<typename block::value_type>(squares[part][i])
            .store_unaligned(to.codes.data() + (at * panel::width + lane) * panel::lane_codes);
      }
    }
  }
}

/// The codes of a panel's blocks of one row, where they do not lie in the file as they are wanted, and
/// those of the row's last block.
inline constexpr std::size_t panel_row_bytes = (code_panel_blocks + 1) * simd::block_codes;

/// Scales and offsets of `count` blocks of a row, zeros up to padding_blocks, and where their codes
/// lie: in the weight or in `memory`, of panel_row_bytes.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] const std::byte* load_panel_row(const tensor_view& weight, std::uint64_t row,
                                              std::size_t first, std::size_t count,
                                              block_scales& scales, std::byte* memory) noexcept {
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  constexpr float shift = shift_of<Codec, Value>();
  if constexpr (BlockCodec<Codec>) {
    static_assert(row_type::memory_bytes <= panel_row_bytes);
    row_type own(weight, row, memory);
    own.template load_scales<Architecture>(weight, first, count, shift, scales);
    return own.codes_of(first);
  } else {
    static_assert(row_type::memory_bytes == simd::block_codes);
    const row_type own(weight, row, memory + code_panel_blocks * simd::block_codes);
    own.template load_scales<Architecture>(weight, first, count, shift, scales);
    if (own.whole_blocks(first, count) == count) return own.codes_of(first);
    for (std::size_t b = 0; b < count; ++b) {
      std::memcpy(memory + b * simd::block_codes, own.codes_of(first + b), simd::block_codes);
    }
    return memory;
  }
}

/// What panels are filled with, of any encoding: what is built on it is compiled once, and not for
/// each.
template <class Architecture, Activation Value>
struct panel_source {
  const std::byte* (*load_row)(const tensor_view&, std::uint64_t, std::size_t, std::size_t,
                               block_scales&, std::byte*) noexcept;
  void (*store_codes)(const square_of_rows<simd::block_architecture<Architecture>>&, std::size_t,
                      std::size_t, code_panel<Architecture, Value>&) noexcept;
  std::size_t stride_bytes;  ///< from one block's codes to the next, as load_row leaves them
  bool has_offsets;          ///< whether values are not just scale * code
};
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr panel_source<Architecture, Value> panel_source_of() noexcept {
  using row_type = typename row_view<Codec, Value, code_panel_blocks>::type;
  // Nibbles come apart alike wherever they lie: the activations' order makes the difference.
  constexpr code_packing own = packing_of<Codec, Value>();
  constexpr code_packing packing = is_nibbles(own) ? code_packing::nibble_halves : own;
  return {&load_panel_row<Architecture, Codec, Value>, &store_codes<Architecture, packing, Value>,
          row_type::stride_bytes, row_type::has_offsets(shift_of<Codec, Value>())};
}

/// Takes `count` blocks of `rows` weight rows apart, at most one for each lane, into a panel. A lane
/// without a row has scales and offsets of zero.
template <class Architecture, Activation Value>
void fill_code_panel(const panel_source<Architecture, Value>& source, const tensor_view& weight,
                     std::uint64_t first_row, std::size_t rows, std::size_t first, std::size_t count,
                     code_panel<Architecture, Value>& to) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t square_rows = simd::lanes<simd::block_architecture<Architecture>>;
  square_of_rows<simd::block_architecture<Architecture>> square{{}, source.stride_bytes};
  alignas(64) std::array<std::array<std::byte, panel_row_bytes>, square_rows> memory;
  block_scales scales;
  for (std::size_t lane = 0; lane < width; lane += square_rows) {
    for (std::size_t n = 0; n < square_rows; ++n) {
      const std::size_t row = std::min(lane + n, rows - 1);
      square.codes[n] =
          source.load_row(weight, first_row + row, first, count, scales, memory[n].data());
      if (lane + n >= rows) {
        scales.scales.fill(0.0F);
        scales.offsets.fill(0.0F);
      }
      for (std::size_t b = 0; b < count; ++b) {
        to.scales[b * width + lane + n] = scales.scales[b];
        to.offsets[b * width + lane + n] = scales.offsets[b];
      }
    }
    source.store_codes(square, count, lane, to);
  }
}

/// Blocks of a panel, a lane a weight row.
struct panel_blocks {
  const std::byte* codes;     ///< of each block, as each_lane_codes says
  const float* scales;        ///< [lanes] of each block
  const float* offsets;       ///< the same, where there are any
  std::size_t codes_bytes;    ///< from one block's codes to the next
  std::size_t scales_floats;  ///< from one block's scales, or offsets, to the next
  std::size_t code_bits;      ///< of a code as it is stored
  std::int16_t code_zero;     ///< that 16-bit codes stored as 8 bits count from
  bool has_offsets;

  /// Those from the count-th on.
  [[nodiscard]] panel_blocks from(std::size_t count) const noexcept {
    panel_blocks rest = *this;
    rest.codes += count * codes_bytes;
    rest.scales += count * scales_floats;
    rest.offsets += count * scales_floats;
    return rest;
  }
};

template <class Architecture, Activation Value>
[[nodiscard]] panel_blocks blocks_of(const code_panel<Architecture, Value>& panel,
                                     bool has_offsets) noexcept {
  using type = code_panel<Architecture, Value>;
  return {reinterpret_cast<const std::byte*>(panel.codes.data()),
          panel.scales.data(),
          panel.offsets.data(),
          simd::block_codes * type::width * sizeof(typename type::code),
          type::width,
          8 * sizeof(typename type::code),
          0,
          has_offsets};
}

/// Calls use(codes, place) with a block's codes in turn, quads of bytes or pairs of words in each lane,
/// and the place of the first in the block. Stored in fewer bits, a lane has the first quad's codes, or
/// pair's, in the lowest bits of its bytes, or words, and the next ones' above them.
template <class Architecture, Activation Value, std::size_t CodeBits, class Use>
NIBBLE_IN_PLACE inline void each_lane_codes(const panel_blocks& of, Use&& use) noexcept {
  using panel = code_panel<Architecture, Value>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using lane_vector = simd::vector<typename panel::code, Architecture>;
  constexpr std::size_t own_bits = 8 * sizeof(typename panel::code);
  constexpr std::size_t fields = own_bits / CodeBits;
  constexpr bool counts_from_zero = own_bits == 16 && CodeBits == 8;
  constexpr auto field_mask = static_cast<std::uint32_t>((1U << CodeBits) - 1);
  const integers mask(
      static_cast<std::int32_t>(own_bits == 8 ? field_mask * 0x01010101U : field_mask * 0x00010001U));
  NIBBLE_UNROLL_TWICE
  for (std::size_t v = 0; v < panel::block_vectors / fields; ++v) {
    const std::byte* const from = of.codes + v * panel::width * sizeof(std::int32_t);
    const std::size_t at = v * fields * panel::lane_codes;
    if constexpr (fields == 1) {
      use(simd::load_bytes<typename panel::code, Architecture>(from), at);
    } else {
      const integers stored = simd::load_bytes<std::int32_t, Architecture>(from);
      NIBBLE_UNROLL
      for (std::size_t n = 0; n < fields; ++n) {
        const integers shifted = n == 0 ? stored : stored >> static_cast<int>(CodeBits * n);
        auto codes = std::bit_cast<lane_vector>(shifted & mask);
        if constexpr (counts_from_zero) codes = codes - lane_vector(of.code_zero);
        use(codes, at + n * panel::lane_codes);
      }
    }
  }
}

/// sums[Rows][lanes] = the products of blocks with the Rows rows of x, from block `first` on.
template <class Architecture, Activation Value, bool HasOffsets, std::size_t CodeBits, std::size_t Rows>
void multiply_code_panel(panel_blocks panel, std::size_t blocks, const activation_tile<Value>& x,
                         std::size_t first, float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using lane_vector = simd::vector<typename code_panel<Architecture, Value>::code, Architecture>;
  constexpr bool is_bytes = std::same_as<Value, std::int8_t>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr Architecture tag{};
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  for (std::size_t b = first; b < first + blocks; ++b) {
    std::array<const Value*, Rows> from;
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) from[m] = x.values + (b * Rows + m) * simd::block_codes;
    using products_type = std::conditional_t<is_bytes, simd::quad_sums<Architecture>,
                                             simd::vector<std::int32_t, Architecture>>;
    std::array<products_type, Rows> products;
    products.fill(products_type(0));
    each_lane_codes<Architecture, Value, CodeBits>(
        panel, [&](const lane_vector& codes, std::size_t at) {
          NIBBLE_UNROLL
          for (std::size_t m = 0; m < Rows; ++m) {
            if constexpr (is_bytes) {
              products[m] = simd::add_quads<Architecture>(products[m], codes, from[m] + at, tag, tag);
            } else {
              products[m] = simd::add_pairs<Architecture>(products[m], codes, from[m] + at, tag, tag);
            }
          }
        });
    const floats scales = simd::load<Architecture>(panel.scales);
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) {
      floats block_sums;
      if constexpr (is_bytes) {
        block_sums = to_float(simd::total_of_quads<Architecture>(products[m], tag, tag));
      } else {
        block_sums = to_float(products[m]);
      }
      // Codes times a scale near f32's largest number are infinite; times a step they are activations.
      totals[m] = fma(block_sums * floats(x.steps[m * x.row_blocks + b]), scales, totals[m]);
    }
    if constexpr (HasOffsets) {
      const floats offsets = simd::load<Architecture>(panel.offsets);
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        totals[m] = fma(offsets, floats(x.sums[m * x.row_blocks + b]), totals[m]);
      }
    }
    panel.codes += panel.codes_bytes;
    panel.scales += panel.scales_floats;
    panel.offsets += panel.scales_floats;
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

template <Activation Value>
using code_tile_function = void (*)(panel_blocks, std::size_t, const activation_tile<Value>&,
                                    std::size_t, float*) noexcept;

/// multiply_code_panel for `rows` rows of activations.
template <class Architecture, Activation Value>
[[nodiscard]] code_tile_function<Value> choose_code_tile(std::size_t rows,
                                                         const panel_blocks& of) noexcept {
  const auto choose = [&]<bool HasOffsets, std::size_t CodeBits>() {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      constexpr std::array<code_tile_function<Value>, sizeof...(I)> functions = {
          &multiply_code_panel<Architecture, Value, HasOffsets, CodeBits, I + 1>...};
      return functions[rows - 1];
    }
    (std::make_index_sequence<code_tile_rows>{});
  };
  const auto choose_bits = [&]<bool HasOffsets>() {
    if (of.code_bits == 4) return choose.template operator()<HasOffsets, 4>();
    if constexpr (std::same_as<Value, std::int16_t>) {
      if (of.code_bits == 16) return choose.template operator()<HasOffsets, 16>();
    }
    return choose.template operator()<HasOffsets, 8>();
  };
  return of.has_offsets ? choose_bits.template operator()<true>()
                        : choose_bits.template operator()<false>();
}

/// Products of coded activations, in tiles of at most code_tile_rows, with `count` blocks, from block
/// `first` on, of weight rows first_row .. first_row + lanes, one for each lane or fewer.
template <class Architecture, Activation Value>
void multiply_panel_blocks(const panel_blocks& panel, std::size_t first, std::size_t count,
                           std::uint64_t first_row, std::size_t lanes,
                           const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  alignas(64) std::array<float, code_tile_rows * width> sums;
  for (std::size_t m = 0; m < x.rows;) {
    const std::size_t rows = x.tile_rows(m);
    const auto multiply = choose_code_tile<Architecture, Value>(rows, panel);
    multiply(panel, count, x.tile(m), first, sums.data());
    for (std::size_t i = 0; i < rows; ++i) {
      y.put_row(m + i, first_row, sums.data() + i * width, lanes, first == 0);
    }
    m += rows;
  }
}

/// Products of coded activations with rows first_row .. first_row + row_count of a weight whose
/// rows_are_blocks.
template <class Architecture, Activation Value>
void multiply_code_panels(const panel_source<Architecture, Value>& source, const tensor_view& weight,
                          std::uint64_t first_row, std::size_t row_count,
                          const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto cols = static_cast<std::size_t>(weight.cols());
  const std::size_t blocks = (cols + simd::block_codes - 1) / simd::block_codes;
  code_panel<Architecture, Value> panel;
  for (std::size_t n = 0; n < row_count; n += width) {
    const std::size_t lanes = std::min(width, row_count - n);
    for (std::size_t first = 0; first < blocks; first += code_panel_blocks) {
      const std::size_t count = std::min(code_panel_blocks, blocks - first);
      fill_code_panel(source, weight, first_row + n, lanes, first, count, panel);
      multiply_panel_blocks<Architecture>(blocks_of(panel, source.has_offsets), first, count,
                                          first_row + n, lanes, x, y);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
