#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/weight_memory.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

// Panels that are stored once and multiplied many times. To repack, for every panel of as many weight
// rows as a vector has lanes (tasks of the executor):
//
//   code_panel_blocks blocks of its rows are unpacked into a code_panel, in the first-level cache
//     each block is stored: codes, then scales, then offsets; of those that share units, codes alone
//   where blocks share units (k-quants): units and numbers are copied as the weight has them
//
// To multiply, for every panel of a task's rows:
//
//   for every pass of blocks: the whole panel for one tile of activations, else 24 KiB of it, which
//   stay in the first-level cache while the tiles pass over them
//     for every tile of at most code_tile_rows rows: multiply_panel_blocks, sums in registers

namespace nibble {

/// A weight's codes in the order in which products of quantized activations take them: as many rows as
/// vectors have lanes side by side, in few bits, with scales and offsets as the weight has them or in f32.
/// In memory alone, for the instruction set that made it; never in a file.
struct repacked_panels {
  std::size_t lanes = 0;            ///< weight rows a panel; 0: nothing was repacked
  std::size_t lane_code_bytes = 0;  ///< of a code as products see it: 1 or 2
  panel_code_bits code_bits{};      ///< of a code as it is stored
  std::size_t parts = 1;            ///< of a block that have scales of their own: 1 or 2
  std::int16_t code_zero = 0;       ///< that 2-byte codes stored in fewer bits count from
  std::size_t blocks = 0;           ///< of a row
  std::size_t panels = 0;
  bool has_offsets = false;     ///< whether values are more than scale * code
  bool stores_offsets = false;  ///< else they are -code_bias * scale
  panel_scales scale_form{};    ///< of scales and offsets
  float code_bias = 0.0F;       ///< by which codes are larger than values / scale
  /// [panels][blocks]: codes, scales, offsets; or, where blocks share units, panel_unit_layouts of blocks.
  weight_memory::part memory{};

  /// A block's bytes of codes in one lane.
  [[nodiscard]] std::size_t lane_bytes() const noexcept {
    return simd::block_codes * code_bits.count() / 8;
  }
  /// Of a scale, or an offset, where blocks share no units.
  [[nodiscard]] std::size_t scale_bytes() const noexcept {
    return scale_form == panel_scales::f16 ? sizeof(float16) : sizeof(float);
  }
  [[nodiscard]] bool has_units() const noexcept { return scale_form == panel_scales::numbers; }
  [[nodiscard]] panel_unit_layout unit_layout() const noexcept {
    return {lanes, code_bits, parts, stores_offsets};
  }
  /// One block's bytes in all lanes, but for units.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    if (has_units()) return lanes * lane_bytes() + unit_layout().numbers_bytes();
    return lanes * (lane_bytes() + (stores_offsets ? 2 : 1) * scale_bytes());
  }
  [[nodiscard]] std::size_t panel_bytes() const noexcept {
    if (!has_units()) return blocks * block_bytes();
    return (blocks + panel_unit_blocks - 1) / panel_unit_blocks * unit_layout().size_bytes();
  }
  /// From a panel's start to the codes of a block.
  [[nodiscard]] std::size_t codes_at(std::size_t block) const noexcept {
    if (!has_units()) return block * block_bytes();
    const panel_unit_layout layout = unit_layout();
    return block / panel_unit_blocks * layout.size_bytes() + layout.codes_at() +
           block % panel_unit_blocks * layout.codes_bytes();
  }
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// How a weight's codes, as products with Value see them, and its scales are kept in repacked panels.
struct stored_codes {
  panel_code_bits bits;     ///< of a code
  std::size_t parts;        ///< of a block that have scales of their own
  std::int16_t zero;        ///< what codes in fewer bits than products see count from
  panel_scales scale_form;  ///< that holds scales, and offsets that are stored, without loss
  bool stores_offsets;      ///< else they are -bias * scale, where there are any
  float bias;               ///< by which codes are larger than values / scale
  /// Where blocks share units: writes those and the numbers of one stored block into a lane. Else null.
  void (*store_numbers)(const std::byte* stored, const panel_unit_layout&, std::size_t lane,
                        std::byte* to) noexcept;
};

/// Whether a block's scale is one f16, and its offset is another one or follows from the scale. Vectors
/// of fewer lanes keep f32: f16 was not measured there.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool keeps_half_scales() noexcept {
  if constexpr (simd::lanes<Architecture> < 8 || !BlockCodec<Codec> || BitCodec<Codec> ||
                ScalarCodec<Codec>) {
    return false;
  } else {
    return !Codec::has_min || code_bias<Codec, Value>() + static_cast<float>(Codec::code_zero) == 0.0F;
  }
}

/// stored_codes::store_numbers of a codec that keeps_numbers.
template <class Architecture, BitCodec Codec>
void store_block_numbers(const std::byte* stored, const panel_unit_layout& layout, std::size_t lane,
                         std::byte* to) noexcept {
  const auto header = header_of_block<Codec>(stored);
  const auto store = [&](std::size_t of, float16 unit, const sub_block_numbers& numbers) {
    std::memcpy(to + (of * layout.lanes + lane) * sizeof(float16), &unit, sizeof(float16));
    std::byte* const start = to + layout.numbers_at() + of * layout.offsets_at() + lane;
    for (std::size_t i = 0; i < sub_blocks<Codec>; ++i) {
      std::byte& number =
          start[i / layout.parts * layout.numbers_bytes() + i % layout.parts * layout.lanes];
      const auto own = static_cast<std::byte>(numbers[i]);
      number = of == 1 && has_number_pairs(layout.code_bits) ? number | own << 4 : own;
    }
  };
  store(0, Codec::stored_scale(header), load_scale_numbers<Architecture, Codec>(header));
  if constexpr (Codec::has_min) store(1, Codec::stored_min(header), Codec::min_numbers(header));
}

/// The bits in which panels keep an encoding's codes, where it has any.
template <Codec Codec>
[[nodiscard]] constexpr panel_code_bits panel_bits_of() noexcept {
  if constexpr (PlainCodec<Codec> || ScalarCodec<Codec>) {
    return {};
  } else if constexpr (!BitCodec<Codec>) {
    return is_nibbles(Codec::packing) ? panel_code_bits{4, 0} : panel_code_bits{8, 0};
  } else if constexpr (has_code_values<Codec>) {
    return {8, 0};
  } else if constexpr (largest_byte_code<Codec>() <= 3 && keeps_numbers<Codec>()) {
    return {2, 0};
  } else if constexpr (largest_byte_code<Codec>() <= 7 && keeps_numbers<Codec>()) {
    return {2, 1};
  } else if constexpr (largest_byte_code<Codec>() <= 15) {
    return {4, 0};
  } else if constexpr (largest_byte_code<Codec>() <= 31) {
    return {4, 1};
  } else if constexpr (keeps_numbers<Codec>()) {
    return {4, 2};
  } else {
    return {8, 0};
  }
}

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr stored_codes stored_codes_of() noexcept {
  stored_codes stored{panel_bits_of<Codec>(), 1, 0, panel_scales::f32, true, 0.0F, nullptr};
  constexpr float bias = bias_alone<Codec, Value>();
  if constexpr (keeps_half_scales<Architecture, Codec, Value>()) {
    stored.scale_form = panel_scales::f16;
    stored.stores_offsets = Codec::has_min;
    stored.bias = bias;
  } else if constexpr (keeps_numbers<Codec>()) {
    stored.parts = sub_blocks<Codec> / panel_unit_blocks;
    stored.scale_form = panel_scales::numbers;
    if constexpr (has_number_pairs(panel_bits_of<Codec>())) static_assert(Codec::largest_number <= 15);
    stored.stores_offsets = Codec::has_min;
    stored.bias = bias;
    stored.store_numbers = &store_block_numbers<Architecture, Codec>;
  }
  if constexpr (std::same_as<Value, std::int16_t> &&
                packing_of<Codec, Value>() == code_packing::signed_bytes) {
    stored.zero = 128;
    if constexpr (BitCodec<Codec>) {
      if constexpr (!has_code_values<Codec>) stored.zero = static_cast<std::int16_t>(Codec::code_zero);
    }
    // Nibbles count from zero alone.
    if (stored.zero != 0 && stored.bits == panel_code_bits{4, 0}) {
      stored.bits = {8, 0};
    }
  }
  return stored;
}

/// The blocks of the panel whose first weight row is first_row, a multiple of lanes.
[[nodiscard]] inline panel_blocks blocks_of(const repacked_panels& panels,
                                            std::uint64_t first_row) noexcept {
  const bool has_units = panels.has_units();
  const panel_unit_layout layout = panels.unit_layout();
  const std::byte* const codes = panels.memory.bytes().data() + static_cast<std::size_t>(first_row) /
                                                                    panels.lanes * panels.panel_bytes();
  const std::byte* const scales = codes + layout.codes_bytes();
  return {codes,
          scales,
          panels.stores_offsets ? scales + panels.lanes * panels.scale_bytes() : nullptr,
          has_units ? codes : nullptr,
          has_units ? layout.codes_bytes() : panels.block_bytes(),
          has_units ? layout.numbers_bytes() : panels.block_bytes(),
          has_units ? layout.size_bytes() : 0,
          panels.code_bits,
          panels.code_zero,
          panels.has_offsets,
          panels.parts == 2,
          true,
          panels.scale_form,
          panels.code_bias};
}

/// Writes one block of a panel to `to`: its codes and, where it shares no units, its scales and offsets.
template <class Architecture, Activation Value>
void store_panel_block(const code_panel<Architecture, Value>& from, std::size_t block,
                       const repacked_panels& format, std::byte* to) noexcept {
  using panel = code_panel<Architecture, Value>;
  constexpr std::size_t width = panel::width;
  const auto* const codes = from.codes.data() + block * simd::block_codes * width;
  const auto store_bits = [&](std::size_t bits, std::size_t shift) {
    const std::size_t fields = 8 * sizeof(typename panel::code) / bits;
    const std::uint32_t mask = (1U << bits) - 1U;
    for (std::size_t v = 0; v < panel::block_vectors; v += fields) {
      for (std::size_t lane = 0; lane < width; ++lane) {
        std::array<typename panel::code, panel::lane_codes> joined{};
        for (std::size_t n = 0; n < fields; ++n) {
          const auto* const field = codes + ((v + n) * width + lane) * panel::lane_codes;
          for (std::size_t i = 0; i < panel::lane_codes; ++i) {
            const auto counted = static_cast<std::uint32_t>(field[i] + format.code_zero);
            joined[i] = static_cast<typename panel::code>(static_cast<std::uint32_t>(joined[i]) |
                                                          (counted >> shift & mask) << (bits * n));
          }
        }
        std::memcpy(to, joined.data(), sizeof(joined));
        to += sizeof(joined);
      }
    }
  };
  store_bits(format.code_bits.low, 0);
  if (format.code_bits.high != 0) store_bits(format.code_bits.high, format.code_bits.low);
  if (format.has_units()) return;
  const auto store_floats = [&](const float* floats) {
    for (std::size_t lane = 0; lane < width; ++lane, to += format.scale_bytes()) {
      if (format.scale_form == panel_scales::f16) {
        const float16 half = to_float16(floats[lane]);
        std::memcpy(to, &half, sizeof(half));
      } else {
        std::memcpy(to, floats + lane, sizeof(float));
      }
    }
  };
  store_floats(from.scales.data() + block * width);
  if (format.stores_offsets) store_floats(from.offsets.data() + block * width);
}

/// Memory for a weight's panels, none of them stored yet: of `memory`, or its own where that is null.
template <class Architecture, Activation Value>
[[nodiscard]] repacked_panels allocate_panels(const tensor_view& weight, const stored_codes& codes,
                                              bool has_offsets, weight_memory* memory) {
  using panel_type = code_panel<Architecture, Value>;
  constexpr std::size_t width = panel_type::width;
  repacked_panels panels{.lanes = width,
                         .lane_code_bytes = sizeof(typename panel_type::code),
                         .code_bits = codes.bits,
                         .parts = codes.parts,
                         .code_zero = codes.zero,
                         .blocks = blocks_in(static_cast<std::size_t>(weight.cols())),
                         .panels = static_cast<std::size_t>(divide_round_up(weight.rows(), width)),
                         .has_offsets = has_offsets,
                         .stores_offsets = has_offsets && codes.stores_offsets,
                         .scale_form = codes.scale_form,
                         .code_bias = codes.bias};
  // No product overflows: a stored row takes a byte and more, and is in memory.
  const std::size_t size_bytes = panels.panels * panels.panel_bytes();  // every one is stored
  panels.memory = memory == nullptr ? weight_memory::part(size_bytes) : memory->take(size_bytes);
  return panels;
}

/// Repacks the rows of panel `index` of a weight whose rows_are_blocks. Panels may be stored at once,
/// by several threads.
template <class Architecture, Activation Value>
void store_panel(const code_panel_source<Architecture, Value>& source, const stored_codes& codes,
                 const tensor_view& weight, std::size_t index, const repacked_panels& to) noexcept {
  constexpr std::size_t width = code_panel<Architecture, Value>::width;
  code_panel<Architecture, Value> panel;
  const std::uint64_t first_row = std::uint64_t{index} * width;
  const auto rows = static_cast<std::size_t>(std::min<std::uint64_t>(width, weight.rows() - first_row));
  std::byte* const start = to.memory.bytes().data() + index * to.panel_bytes();
  // Units of lanes without a row, and codes of blocks that a row does not have.
  if (to.has_units()) std::memset(start, 0, to.panel_bytes());
  for (std::size_t first = 0; first < to.blocks; first += code_panel_blocks) {
    const std::size_t count = std::min(code_panel_blocks, to.blocks - first);
    fill_code_panel(source, {weight, {first_row, rows}, {first, count}}, panel);
    for (std::size_t b = 0; b < count; ++b) {
      store_panel_block(panel, b, to, start + to.codes_at(first + b));
    }
  }
  if (!to.has_units()) return;
  const panel_unit_layout layout = to.unit_layout();
  for (std::size_t lane = 0; lane < rows; ++lane) {
    const std::byte* stored = position_of_row(weight, first_row + lane).start;
    for (std::size_t at = 0; at < to.panel_bytes(); at += layout.size_bytes()) {
      codes.store_numbers(stored, layout, lane, start + at);
      stored += describe(weight.encoding()).block_bytes;
    }
  }
}

/// Products of quantized activations, in tiles of at most code_tile_rows, with some rows of a repacked
/// weight, the first of which is a panel's first.
template <class Architecture, Activation Value>
void multiply_repacked(const repacked_panels& panels, row_range rows,
                       const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  // One pass over a panel for one tile; what several pass over stays in the first-level cache.
  constexpr std::size_t most_bytes = 24 * 1024;
  const std::size_t pass =
      x.rows <= code_tile_rows<Architecture>
          ? panels.blocks
          : most_bytes / panels.block_bytes() / panel_unit_blocks * panel_unit_blocks;
  for (std::size_t n = 0; n < rows.count; n += width) {
    const panel_blocks panel = blocks_of(panels, rows.first + n);
    for (std::size_t first = 0; first < panels.blocks; first += pass) {
      multiply_panel_blocks<Architecture>(panel.from(first),
                                          {first, std::min(pass, panels.blocks - first)},
                                          {rows.first + n, std::min(width, rows.count - n)}, x, y);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
