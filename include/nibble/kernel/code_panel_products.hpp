#pragma once

// Products of many rows of quantized activations, by panels of codes. Loop nest of
// multiply_code_panels, for some weight rows and all prepared activations:
//
//   for each panel of as many weight rows as there are lanes
//     for each 32 blocks of its columns: fill_code_panel unpacks them once         (code_panel.hpp)
//       for each tile of at most 6 rows of activations
//         for each block                                                  multiply_code_panel
//           for each vector of its codes: four bytes, or two words, of each lane's row
//             for each row of the tile, unrolled to the end
//               multiply with four, or two, activations in all lanes, and add to the row's integers
//           scale the integers, and add them to the row's sums: once, or once for each half
//
// Integers of a block and sums, two vectors for each row of the tile, stay in registers. The panel and
// the activations of 32 blocks stay in the first-level cache. A lane is a weight row, so that no sum is
// taken across lanes. Repacked weights enter at multiply_panel_blocks, with panels that were made
// before.

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// How the scales and offsets of a panel's blocks are kept.
enum class panel_scales : std::uint8_t {
  f32,
  f16,
  numbers,  ///< signed bytes, times a unit of f16 that panel_unit_blocks of a row share
};
/// Blocks that share a unit.
inline constexpr std::size_t panel_unit_blocks = 8;

/// Where panel_unit_blocks blocks that share units keep what they have: the units of scales, then of
/// offsets, f16; the numbers of each block's scales, then of its offsets; each block's codes.
struct panel_unit_layout {
  std::size_t lanes;
  std::size_t codes_bytes;  ///< of a block's codes, in all lanes

  [[nodiscard]] constexpr std::size_t numbers_at() const noexcept {
    return 2 * lanes * sizeof(float16);
  }
  [[nodiscard]] constexpr std::size_t codes_at() const noexcept {
    return numbers_at() + panel_unit_blocks * 2 * lanes;
  }
  [[nodiscard]] constexpr std::size_t size_bytes() const noexcept {
    return codes_at() + panel_unit_blocks * codes_bytes;
  }
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows of activations of a tile, at most: their sums fill the registers.
inline constexpr std::size_t code_tile_rows = 6;

/// Blocks of a panel, a lane a weight row.
struct panel_blocks {
  const std::byte* codes;    ///< of the first block, as for_each_lane_vector reads them
  const std::byte* scales;   ///< [lanes] of the first block
  const std::byte* offsets;  ///< the same, or null where none are stored
  const std::byte*
      units;  ///< where blocks share units, all of the first ones (panel_unit_layout); or null
  std::size_t codes_bytes;   ///< from one block's codes to the next
  std::size_t scales_bytes;  ///< from one block's scales, or offsets, to the next
  std::size_t units_bytes;   ///< from one such layout to the next
  std::size_t ahead_bytes;   ///< from a block's codes to those that memory is asked for meanwhile; or 0
  std::size_t code_bits;     ///< of a code as it is stored
  std::int16_t code_zero;    ///< what 16-bit codes that are stored in 8 bits count from
  bool has_offsets;          ///< whether values are more than scale * code
  bool has_halves;           ///< whether the halves of a block have scales, and offsets, of their own
  panel_scales scale_form;   ///< of scales and offsets
  float code_bias;           ///< where no offsets are stored, they are -code_bias * scale

  /// The blocks from number `count` on; where they share units, a multiple of panel_unit_blocks.
  [[nodiscard]] panel_blocks from(std::size_t count) const noexcept {
    panel_blocks rest = *this;
    rest.codes += count * codes_bytes;
    rest.scales += count * scales_bytes;
    if (offsets != nullptr) rest.offsets += count * scales_bytes;
    if (units != nullptr) rest.units += count / panel_unit_blocks * units_bytes;
    return rest;
  }
};

/// The blocks of a panel that was filled.
template <class Architecture, Activation Value>
[[nodiscard]] panel_blocks blocks_of(const code_panel<Architecture, Value>& panel,
                                     const code_panel_source<Architecture, Value>& source) noexcept {
  using type = code_panel<Architecture, Value>;
  return {reinterpret_cast<const std::byte*>(panel.codes.data()),
          reinterpret_cast<const std::byte*>(panel.scales.data()),
          source.bias == 0.0F ? reinterpret_cast<const std::byte*>(panel.offsets.data()) : nullptr,
          nullptr,
          simd::block_codes * type::width * sizeof(typename type::code),
          (source.has_halves ? 2 : 1) * type::width * sizeof(float),
          0,
          0,
          8 * sizeof(typename type::code),
          0,
          source.has_offsets,
          source.has_halves,
          panel_scales::f32,
          source.bias};
}

/// Calls use(codes, place) for every vector of a block's codes: in each lane four bytes, or two words,
/// of its row. `place` is the first one's number in the block. Codes that are stored in fewer bits
/// share a vector: the first four (two) of a lane are in the lowest bits of its bytes (words), the next
/// ones above them. Only those of one of `Parts` equal parts of the block.
template <class Architecture, Activation Value, std::size_t CodeBits, std::size_t Parts, class Use>
NIBBLE_IN_PLACE inline void for_each_lane_vector(const panel_blocks& block, std::size_t part,
                                                 Use&& use) noexcept {
  using panel = code_panel<Architecture, Value>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using lane_vector = simd::vector<typename panel::code, Architecture>;
  constexpr std::size_t unpacked_bits = 8 * sizeof(typename panel::code);
  constexpr std::size_t fields = unpacked_bits / CodeBits;
  constexpr bool counts_from_zero = unpacked_bits == 16 && CodeBits == 8;
  constexpr auto field_mask = static_cast<std::uint32_t>((1U << CodeBits) - 1);
  const integers mask(static_cast<std::int32_t>(unpacked_bits == 8 ? field_mask * 0x01010101U
                                                                   : field_mask * 0x00010001U));
  constexpr std::size_t part_vectors = panel::block_vectors / fields / Parts;
  NIBBLE_UNROLL_TWICE
  for (std::size_t v = part * part_vectors; v < (part + 1) * part_vectors; ++v) {
    const std::byte* const from = block.codes + v * panel::width * sizeof(std::int32_t);
    const std::size_t at = v * fields * panel::lane_codes;
    if constexpr (fields == 1) {
      use(simd::load_bytes<typename panel::code, Architecture>(from), at);
    } else {
      const integers stored = simd::load_bytes<std::int32_t, Architecture>(from);
      NIBBLE_UNROLL
      for (std::size_t n = 0; n < fields; ++n) {
        const integers shifted =
            n == 0 ? stored : simd::shift_right<Architecture>(stored, static_cast<int>(CodeBits * n));
        auto codes = std::bit_cast<lane_vector>(shifted & mask);
        if constexpr (counts_from_zero) codes = codes - lane_vector(block.code_zero);
        use(codes, at + n * panel::lane_codes);
      }
    }
  }
}

/// The scales, or the offsets, of part `part` of a block, a lane a row. `unit` is what numbers are times.
template <class Architecture>
[[nodiscard]] NIBBLE_IN_PLACE inline simd::vector<float, Architecture> load_panel_floats(
    const std::byte* from, std::size_t part, panel_scales form,
    const simd::vector<float, Architecture>& unit) noexcept {
  constexpr Architecture tag{};
  constexpr std::size_t width = simd::lanes<Architecture>;
  switch (form) {
    case panel_scales::numbers:
      return to_float(simd::load_signed_bytes<Architecture>(from, tag, tag)) * unit;
    case panel_scales::f16:
      return simd::load_float16<Architecture>(from + part * width * sizeof(float16), tag, tag);
    default: return simd::load_bytes<float, Architecture>(from + part * width * sizeof(float));
  }
}

/// sums[Rows][lanes] = the products of a panel with the Rows rows of x: `blocks` are the row's blocks
/// that the panel holds. Each of the `Parts` (1 or 2) parts of a block has scales of its own.
template <class Architecture, Activation Value, bool HasOffsets, std::size_t CodeBits,
          std::size_t Parts, std::size_t Rows>
void multiply_code_panel(panel_blocks panel, block_range blocks, const activation_tile<Value>& x,
                         float* sums) noexcept {
  using floats = simd::vector<float, Architecture>;
  using lane_vector = simd::vector<typename code_panel<Architecture, Value>::code, Architecture>;
  constexpr bool is_bytes = std::same_as<Value, std::int8_t>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr Architecture tag{};
  std::array<floats, Rows> totals;
  totals.fill(floats(0.0F));
  floats scale_unit(0.0F);
  floats offset_unit(0.0F);
  for (std::size_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
    if (panel.units != nullptr && b % panel_unit_blocks == 0) {
      const panel_unit_layout layout{width, panel.codes_bytes};
      scale_unit = simd::load_float16<Architecture>(panel.units, tag, tag);
      offset_unit = simd::load_float16<Architecture>(panel.units + width * sizeof(float16), tag, tag);
      panel.scales = panel.units + layout.numbers_at();
      panel.offsets = panel.scales + width;
      panel.codes = panel.units + layout.codes_at();
      panel.units += panel.units_bytes;
    }
    if (panel.ahead_bytes != 0) {
      for (std::size_t line = 0; line < panel.codes_bytes; line += simd::line_bytes) {
        simd::prefetch(panel.codes, panel.ahead_bytes + line);
      }
    }
    std::array<const Value*, Rows> from;
    NIBBLE_UNROLL
    for (std::size_t m = 0; m < Rows; ++m) from[m] = x.values + (b * Rows + m) * simd::block_codes;
    using products_type = std::conditional_t<is_bytes, simd::quad_sums<Architecture>,
                                             simd::vector<std::int32_t, Architecture>>;
    NIBBLE_UNROLL
    for (std::size_t part = 0; part < Parts; ++part) {
      std::array<products_type, Rows> products;
      products.fill(products_type(0));
      for_each_lane_vector<Architecture, Value, CodeBits, Parts>(
          panel, part, [&](const lane_vector& codes, std::size_t at) NIBBLE_LAMBDA_IN_PLACE {
            NIBBLE_UNROLL
            for (std::size_t m = 0; m < Rows; ++m) {
              if constexpr (is_bytes) {
                products[m] = simd::add_quads<Architecture>(products[m], codes, from[m] + at, tag, tag);
              } else {
                products[m] = simd::add_pairs<Architecture>(products[m], codes, from[m] + at, tag, tag);
              }
            }
          });
      const floats scales =
          load_panel_floats<Architecture>(panel.scales, part, panel.scale_form, scale_unit);
      std::array<floats, Rows> sums_of_part;
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        if constexpr (is_bytes) {
          sums_of_part[m] = to_float(simd::total_of_quads<Architecture>(products[m], tag, tag));
        } else {
          sums_of_part[m] = to_float(products[m]);
        }
        // The scale of the activations comes first: sums of codes, times a weight's scale near f32's
        // largest number, would be infinite.
        sums_of_part[m] = sums_of_part[m] * floats(x.scales[m * x.row_blocks + b]);
      }
      const auto x_sum = [&](std::size_t m) NIBBLE_LAMBDA_IN_PLACE {
        const std::size_t block = m * x.row_blocks + b;
        return floats(Parts == 1 ? x.sums[block] : x.half_sums[2 * block + part]);
      };
      if constexpr (HasOffsets) {
        if (panel.offsets == nullptr) {
          NIBBLE_UNROLL
          for (std::size_t m = 0; m < Rows; ++m) {
            sums_of_part[m] = without_bias(sums_of_part[m], x_sum(m), panel.code_bias);
          }
        }
      }
      NIBBLE_UNROLL
      for (std::size_t m = 0; m < Rows; ++m) {
        totals[m] = simd::fma(sums_of_part[m], scales, totals[m]);
      }
      if constexpr (HasOffsets) {
        if (panel.offsets != nullptr) {
          const floats offsets =
              load_panel_floats<Architecture>(panel.offsets, part, panel.scale_form, offset_unit);
          NIBBLE_UNROLL
          for (std::size_t m = 0; m < Rows; ++m) {
            totals[m] = simd::fma(offsets, x_sum(m), totals[m]);
          }
        }
      }
    }
    panel.codes += panel.codes_bytes;
    panel.scales += panel.scales_bytes;
    if constexpr (HasOffsets) {
      if (panel.offsets != nullptr) panel.offsets += panel.scales_bytes;
    }
  }
  NIBBLE_UNROLL
  for (std::size_t m = 0; m < Rows; ++m) totals[m].store_unaligned(sums + m * width);
}

template <Activation Value>
using code_tile_function = void (*)(panel_blocks, block_range, const activation_tile<Value>&,
                                    float* sums) noexcept;

/// multiply_code_panel for `rows` rows of activations, 1 to code_tile_rows.
template <class Architecture, Activation Value>
[[nodiscard]] code_tile_function<Value> choose_code_tile(std::size_t rows,
                                                         const panel_blocks& panel) noexcept {
  const auto choose = [&]<bool HasOffsets, std::size_t CodeBits, std::size_t Parts>() {
    return choose_by_rows<code_tile_function<Value>, code_tile_rows>(rows, []<std::size_t Rows>() {
      return &multiply_code_panel<Architecture, Value, HasOffsets, CodeBits, Parts, Rows>;
    });
  };
  const auto choose_bits = [&]<bool HasOffsets>() {
    constexpr std::size_t unpacked_bits = 8 * sizeof(Value);
    if (panel.has_halves) return choose.template operator()<HasOffsets, unpacked_bits, 2>();
    if (panel.code_bits == 4) return choose.template operator()<HasOffsets, 4, 1>();
    if constexpr (std::same_as<Value, std::int16_t>) {
      if (panel.code_bits == 16) return choose.template operator()<HasOffsets, 16, 1>();
    }
    return choose.template operator()<HasOffsets, 8, 1>();
  };
  return panel.has_offsets ? choose_bits.template operator()<true>()
                           : choose_bits.template operator()<false>();
}

/// Products of quantized activations, in tiles of at most code_tile_rows, with a panel. `blocks` are
/// the blocks of a row that the panel holds, `rows` the weight rows in its lanes, one each or fewer.
template <class Architecture, Activation Value>
void multiply_panel_blocks(const panel_blocks& panel, block_range blocks, row_range rows,
                           const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  alignas(64) std::array<float, code_tile_rows * width> sums;
  for_each_tile(x.rows, x.max_tile_rows, [&](std::size_t m, std::size_t tile_rows) {
    const auto multiply = choose_code_tile<Architecture, Value>(tile_rows, panel);
    multiply(panel, blocks, x.tile(m), sums.data());
    for (std::size_t i = 0; i < tile_rows; ++i) {
      y.put_row(m + i, rows.first, sums.data() + i * width, rows.count, blocks.first == 0);
    }
  });
}

/// Products of quantized activations with some rows of a weight whose rows_are_blocks.
template <class Architecture, Activation Value>
void multiply_code_panels(const code_panel_source<Architecture, Value>& source,
                          const tensor_view& weight, row_range rows,
                          const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  const std::size_t blocks = blocks_in(static_cast<std::size_t>(weight.cols()));
  code_panel<Architecture, Value> panel;
  for (std::size_t n = 0; n < rows.count; n += width) {
    const row_range lanes{rows.first + n, std::min(width, rows.count - n)};
    for (std::size_t first = 0; first < blocks; first += code_panel_blocks) {
      const block_range range{first, std::min(code_panel_blocks, blocks - first)};
      fill_code_panel(source, {weight, lanes, range}, panel);
      multiply_panel_blocks<Architecture>(blocks_of(panel, source), range, lanes, x, y);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
