#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Products of many rows of coded activations: every activation is multiplied with all rows of a panel
// at once.

/// Rows of activations a tile: their sums fill the registers.
inline constexpr std::size_t code_tile_rows = 6;

/// Blocks of a panel, a lane a weight row.
struct panel_blocks {
  const std::byte* codes;     ///< of each block, as each_lane_codes says
  const float* scales;        ///< [lanes] of each block
  const float* offsets;       ///< the same, where there are any
  std::size_t codes_bytes;    ///< from one block's codes to the next
  std::size_t scales_floats;  ///< from one block's scales, or offsets, to the next
  std::size_t ahead_bytes;    ///< from a block's codes to what is asked of memory meanwhile
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
          0,
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
    for (std::size_t line = 0; line < panel.codes_bytes; line += simd::line_bytes) {
      simd::prefetch(panel.codes, panel.ahead_bytes + line);
    }
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
void multiply_code_panels(const code_panel_source<Architecture, Value>& source, const tensor_view& weight,
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
