#pragma once

// Products of many rows of quantized activations, by panels of codes. Loop nest of
// multiply_code_panels, for some weight rows and all prepared activations:
//
//   for each panel of as many weight rows as there are lanes
//     for each 32 blocks of its columns: fill_code_panel unpacks them once         (code_panel.hpp)
//       for each tile of at most code_tile_rows rows of activations
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
#include <utility>

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

/// How a panel keeps the bits of a code: the `low` ones, and those `high` ones above them that lie in
/// another place.
struct panel_code_bits {
  std::uint8_t low = 0;
  std::uint8_t high = 0;
  [[nodiscard]] constexpr std::size_t count() const noexcept { return std::size_t{low} + high; }
  friend constexpr bool operator==(panel_code_bits, panel_code_bits) = default;
};
/// Whether the numbers of a scale and an offset, four bits each, share a byte, the scale's in its lower bits:
/// where they would take a fifth more than all the rest otherwise.
[[nodiscard]] constexpr bool has_number_pairs(panel_code_bits bits) noexcept {
  return bits == panel_code_bits{2, 0};
}

/// Where panel_unit_blocks blocks that share units keep what they have: the units of scales, then of
/// offsets, f16; the numbers of each block's scales, then of its offsets; each block's codes.
struct panel_unit_layout {
  std::size_t lanes;
  panel_code_bits code_bits;
  std::size_t parts;  ///< of a block that have scales of their own
  bool has_offsets;   ///< whether offsets have units and numbers

  /// Of a block's codes, in all lanes.
  [[nodiscard]] constexpr std::size_t codes_bytes() const noexcept {
    return lanes * simd::block_codes * code_bits.count() / 8;
  }
  /// Room for those of offsets is there in any case, so that codes lie at whole cache lines.
  [[nodiscard]] constexpr std::size_t numbers_at() const noexcept {
    return 2 * lanes * sizeof(float16);
  }
  /// From a block's numbers of scales to those of its offsets.
  [[nodiscard]] constexpr std::size_t offsets_at() const noexcept {
    return has_number_pairs(code_bits) ? 0 : parts * lanes;
  }
  /// From one block's numbers to the next one's.
  [[nodiscard]] constexpr std::size_t numbers_bytes() const noexcept {
    return parts * lanes + (has_offsets ? offsets_at() : 0);
  }
  [[nodiscard]] constexpr std::size_t codes_at() const noexcept {
    return numbers_at() + panel_unit_blocks * numbers_bytes();
  }
  [[nodiscard]] constexpr std::size_t size_bytes() const noexcept {
    return codes_at() + panel_unit_blocks * codes_bytes();
  }
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows of activations of a tile, at most: their sums stay in registers. Measured with AVX-512, 48 rows and
/// more: eight are by a twenty-fifth to a sixteenth faster than six, ten no faster.
template <class Architecture>
inline constexpr std::size_t code_tile_rows = simd::lanes<Architecture> == 16 ? 8 : 6;

/// Blocks of a panel, a lane a weight row.
struct panel_blocks {
  const std::byte* codes;    ///< of the first block, as for_each_lane_vector reads them
  const std::byte* scales;   ///< [lanes] of the first block
  const std::byte* offsets;  ///< the same, or null where none are stored
  const std::byte*
      units;  ///< where blocks share units, all of the first ones (panel_unit_layout); or null
  std::size_t codes_bytes;    ///< from one block's codes to the next
  std::size_t scales_bytes;   ///< from one block's scales, or offsets, to the next
  std::size_t units_bytes;    ///< from one such layout to the next
  panel_code_bits code_bits;  ///< of a code as it is stored
  std::int16_t code_zero;     ///< what 16-bit codes that are stored in fewer bits count from
  bool has_offsets;           ///< whether values are more than scale * code
  bool has_halves;            ///< whether the halves of a block have scales, and offsets, of their own
  bool asks_memory;           ///< for later blocks meanwhile: repacked panels do
  panel_scales scale_form;    ///< of scales and offsets
  float code_bias;            ///< where no offsets are stored, they are -code_bias * scale

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
          {8 * sizeof(typename type::code), 0},
          0,
          source.has_offsets,
          source.has_halves,
          false,
          panel_scales::f32,
          source.bias};
}

/// Calls use(codes, place) for every vector of a block's codes: in each lane four bytes, or two words,
/// of its row. `place` is the first one's number in the block. Codes that are stored in fewer bits
/// share vectors: the first four (two) of a lane are in the lowest bits of its bytes (words), the next
/// ones above them; vectors of high bits lie behind all those of low ones. Only those of one of `Parts`
/// equal parts of the block.
template <class Architecture, Activation Value, panel_code_bits Bits, std::size_t Parts, class Use>
NIBBLE_IN_PLACE inline void for_each_lane_vector(const panel_blocks& block, std::size_t part,
                                                 Use&& use) noexcept {
  using panel = code_panel<Architecture, Value>;
  using integers = simd::vector<std::int32_t, Architecture>;
  using lane_vector = simd::vector<typename panel::code, Architecture>;
  constexpr std::size_t unpacked_bits = 8 * sizeof(typename panel::code);
  constexpr std::size_t low_fields = unpacked_bits / Bits.low;
  constexpr std::size_t high_fields = Bits.high == 0 ? 1 : unpacked_bits / Bits.high;
  constexpr std::size_t part_vectors = panel::block_vectors / Parts;
  // Vectors that are unpacked together.
  constexpr std::size_t group = std::min(std::max(low_fields, high_fields), part_vectors);
  constexpr bool counts_from_zero =
      unpacked_bits == 16 && Bits.low != 16 && Bits != panel_code_bits{4, 0};
  const auto mask_of = [](std::uint32_t field) {
    return integers(
        static_cast<std::int32_t>(field * (unpacked_bits == 8 ? 0x01010101U : 0x00010001U)));
  };
  [[maybe_unused]] const integers low_mask = mask_of((1U << Bits.low) - 1U);
  const integers code_mask = mask_of((1U << Bits.count()) - 1U);
  [[maybe_unused]] constexpr Architecture tag{};
  const auto load = [&](std::size_t vector) NIBBLE_LAMBDA_IN_PLACE {
    return simd::load_bytes<std::int32_t, Architecture>(block.codes +
                                                        vector * panel::width * sizeof(std::int32_t));
  };
  constexpr std::size_t groups = part_vectors / group;
  NIBBLE_UNROLL_TWICE
  for (std::size_t g = part * groups; g < (part + 1) * groups; ++g) {
    const std::size_t first = g * group;
    if constexpr (low_fields == 1) {
      use(std::bit_cast<lane_vector>(load(first)), first * panel::lane_codes);
    } else {
      integers lows(0);
      [[maybe_unused]] integers highs(0);
      const auto unpack = [&]<std::size_t N>(
                              std::integral_constant<std::size_t, N>) NIBBLE_LAMBDA_IN_PLACE {
        // A group is some whole vectors, or a part that is less than one.
        const std::size_t low_field = (group < low_fields ? first + N : N) % low_fields;
        if (N % low_fields == 0) {
          lows =
              load(group < low_fields ? first / low_fields : g * (group / low_fields) + N / low_fields);
        }
        integers codes = lows;
        if (low_field != 0) {
          codes = simd::shift_right<Architecture>(codes, static_cast<int>(Bits.low * low_field));
        }
        if constexpr (Bits.high != 0) {
          const std::size_t high_field = (group < high_fields ? first + N : N) % high_fields;
          if (N % high_fields == 0) {
            highs = load(panel::block_vectors / low_fields +
                         (group < high_fields ? first / high_fields
                                              : g * (group / high_fields) + N / high_fields));
          }
          const int shift = static_cast<int>(Bits.high * high_field) - int{Bits.low};
          const integers moved = shift < 0 ? simd::shift_left<Architecture>(highs, -shift)
                                           : simd::shift_right<Architecture>(highs, shift);
          codes = simd::join_bits<Architecture>(codes, moved, low_mask, tag, tag);
        }
        codes = codes & code_mask;
        auto whole = std::bit_cast<lane_vector>(codes);
        if constexpr (counts_from_zero) whole = whole - lane_vector(block.code_zero);
        use(whole, (first + N) * panel::lane_codes);
      };
      [&]<std::size_t... N>(std::index_sequence<N...>) NIBBLE_LAMBDA_IN_PLACE {
        (unpack(std::integral_constant<std::size_t, N>{}), ...);
      }
      (std::make_index_sequence<group>{});
    }
  }
}

/// The scales, or the offsets, of part `part` of a block, a lane a row. `unit` is what numbers are times.
template <class Architecture, panel_code_bits Bits, bool Offsets>
[[nodiscard]] NIBBLE_IN_PLACE inline simd::vector<float, Architecture> load_panel_floats(
    const std::byte* from, std::size_t part, panel_scales form,
    const simd::vector<float, Architecture>& unit) noexcept {
  constexpr Architecture tag{};
  constexpr std::size_t width = simd::lanes<Architecture>;
  if constexpr (has_number_pairs(Bits)) {
    using integers = simd::vector<std::int32_t, Architecture>;
    const integers pairs = simd::load_unsigned_bytes<Architecture>(from + part * width, tag, tag);
    if constexpr (Offsets) return to_float(simd::shift_right<Architecture>(pairs, 4)) * unit;
    return to_float(pairs & integers(15)) * unit;
  }
  switch (form) {
    case panel_scales::numbers:
      return to_float(simd::load_signed_bytes<Architecture>(from + part * width, tag, tag)) * unit;
    case panel_scales::f16:
      return simd::load_float16<Architecture>(from + part * width * sizeof(float16), tag, tag);
    default: return simd::load_bytes<float, Architecture>(from + part * width * sizeof(float));
  }
}

/// sums[Rows][lanes] = the products of a panel with the Rows rows of x: `blocks` are the row's blocks
/// that the panel holds. Each of the `Parts` (1 or 2) parts of a block has scales of its own.
template <class Architecture, Activation Value, bool HasOffsets, panel_code_bits Bits,
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
  // Measured with AVX-512: one row's products with whole bytes are slower for asking, all others faster.
  constexpr bool asks_ahead = Rows > 1 || Bits.count() < 8 || width < 16;
  // Measured from memory, in the second-level cache: with AVX-512 by a third to nine tenths faster than
  // without, with AVX2 up to a fifth. One row's products in 16 lanes ask for lines faster than memory takes
  // them on. Asked a second time they are faster again: with 4 to 6 bits a code by a twentieth to a fifth,
  // with fewer by a fiftieth to a twentieth (Zen 4; 512 to 4096 columns).
  constexpr std::size_t far_bytes = 16384;
  constexpr std::size_t second_bytes = 6144;
  constexpr bool asks_twice = Rows == 1 && width == 16;
  const std::byte* ahead_of = panel.units != nullptr ? panel.units : panel.codes;
  const std::size_t ahead_step_bytes =
      panel.units != nullptr ? panel.units_bytes / panel_unit_blocks : panel.codes_bytes;
  // Of a block whose scales take a line. Asked for in a loop they would take a twentieth of the time.
  constexpr std::size_t block_lines =
      width * simd::block_codes * Bits.count() / 8 / simd::line_bytes + 1;
  for (std::size_t b = blocks.first; b < blocks.first + blocks.count; ++b) {
    if (panel.units != nullptr && b % panel_unit_blocks == 0) {
      const panel_unit_layout layout{width, Bits, Parts, panel.offsets != nullptr};
      scale_unit = simd::load_float16<Architecture>(panel.units, tag, tag);
      panel.scales = panel.units + layout.numbers_at();
      if (panel.offsets != nullptr) {
        offset_unit = simd::load_float16<Architecture>(panel.units + width * sizeof(float16), tag, tag);
        panel.offsets = panel.scales + layout.offsets_at();
      }
      panel.codes = panel.units + layout.codes_at();
      panel.units += panel.units_bytes;
    }
    if (asks_ahead && panel.asks_memory) {
      const auto ask = [&](std::size_t line) NIBBLE_LAMBDA_IN_PLACE {
        simd::prefetch_to_second_level(ahead_of, far_bytes + line * simd::line_bytes);
        if constexpr (asks_twice) {
          simd::prefetch_to_second_level(ahead_of, second_bytes + line * simd::line_bytes);
        }
      };
      NIBBLE_UNROLL
      for (std::size_t line = 0; line < block_lines; ++line) ask(line);
      for (std::size_t line = block_lines; line * simd::line_bytes < ahead_step_bytes; ++line)
        ask(line);
      ahead_of += ahead_step_bytes;
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
      for_each_lane_vector<Architecture, Value, Bits, Parts>(
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
      const floats scales = load_panel_floats<Architecture, Bits, false>(panel.scales, part,
                                                                         panel.scale_form, scale_unit);
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
        // Only words are stored in bits of which there are no loops without offsets.
        if (!has_number_pairs(Bits) && panel.offsets == nullptr &&
            (is_bytes || panel.code_bias != 0.0F)) {
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
        if (has_number_pairs(Bits) || panel.offsets != nullptr) {
          // The pointers to pairs are equal: compilers load them once.
          const std::byte* const from_offsets = has_number_pairs(Bits) ? panel.scales : panel.offsets;
          const floats offsets = load_panel_floats<Architecture, Bits, true>(
              from_offsets, part, panel.scale_form, offset_unit);
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
  const auto choose = [&]<bool HasOffsets, panel_code_bits Bits, std::size_t Parts>() {
    return choose_by_rows<code_tile_function<Value>, code_tile_rows<Architecture>>(
        rows, []<std::size_t Rows>() {
          return &multiply_code_panel<Architecture, Value, HasOffsets, Bits, Parts, Rows>;
        });
  };
  using bits = panel_code_bits;
  // Codes in fewer bits than four, or in two places, of repacked panels alone.
  if (panel.code_bits == bits{4, 1}) return choose.template operator()<true, bits{4, 1}, 1>();
  if (panel.code_bits == bits{4, 2}) return choose.template operator()<true, bits{4, 2}, 2>();
  if (panel.code_bits == bits{2, 1}) return choose.template operator()<true, bits{2, 1}, 2>();
  if (panel.code_bits == bits{2, 0}) return choose.template operator()<true, bits{2, 0}, 2>();
  const auto choose_bits = [&]<bool HasOffsets>() {
    constexpr bits unpacked{8 * sizeof(Value), 0};
    if (panel.has_halves) return choose.template operator()<HasOffsets, unpacked, 2>();
    if (panel.code_bits == bits{4, 0}) return choose.template operator()<HasOffsets, bits{4, 0}, 1>();
    if constexpr (std::same_as<Value, std::int16_t>) {
      if (panel.code_bits == unpacked) return choose.template operator()<HasOffsets, unpacked, 1>();
    }
    return choose.template operator()<HasOffsets, bits{8, 0}, 1>();
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
  alignas(64) std::array<float, code_tile_rows<Architecture> * width> sums;
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
