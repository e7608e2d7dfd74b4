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
//   where blocks share units (q4_k, q5_k): units and numbers are copied as the weight has them
//
// To multiply, for every panel of a task's rows:
//
//   for every pass of blocks: the whole panel for one tile of activations, else 24 KiB of it, which
//   stay in the first-level cache while the tiles pass over them
//     for every tile of at most code_tile_rows rows: multiply_panel_blocks, sums in registers

namespace nibble {

/// A weight's codes in the order in which products of quantized activations take them: as many rows as
/// vectors have lanes side by side, nibbles as nibbles, with scales and offsets in f16 where the weight
/// has them so, else in f32. In memory alone, for the instruction set that made it; never in a file.
struct repacked_panels {
  std::size_t lanes = 0;            ///< weight rows a panel; 0: nothing was repacked
  std::size_t lane_code_bytes = 0;  ///< of a code as products see it: 1 or 2
  std::size_t code_bits = 0;        ///< of a code as it is stored: 4 or 8
  std::int16_t code_zero = 0;       ///< that 2-byte codes stored in 8 bits count from
  std::size_t blocks = 0;           ///< of a row
  std::size_t panels = 0;
  bool has_offsets = false;     ///< whether values are more than scale * code
  bool stores_offsets = false;  ///< else they are -code_bias * scale
  panel_scales scale_form{};    ///< of scales and offsets
  float code_bias = 0.0F;       ///< by which codes are larger than values / scale
  /// [panels][blocks]: codes, scales, offsets; or, where blocks share units, panel_unit_layouts of blocks.
  weight_memory::part memory{};

  /// A block's bytes of codes in one lane.
  [[nodiscard]] std::size_t lane_bytes() const noexcept { return simd::block_codes * code_bits / 8; }
  /// Of a scale, or an offset.
  [[nodiscard]] std::size_t scale_bytes() const noexcept {
    switch (scale_form) {
      case panel_scales::numbers: return 1;
      case panel_scales::f16: return sizeof(float16);
      default: return sizeof(float);
    }
  }
  /// One block's bytes in all lanes, but for units.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return lanes * (lane_bytes() + (stores_offsets ? 2 : 1) * scale_bytes());
  }
  [[nodiscard]] bool has_units() const noexcept { return scale_form == panel_scales::numbers; }
  [[nodiscard]] panel_unit_layout unit_layout() const noexcept { return {lanes, lanes * lane_bytes()}; }
  [[nodiscard]] std::size_t panel_bytes() const noexcept {
    if (!has_units()) return blocks * block_bytes();
    return (blocks + panel_unit_blocks - 1) / panel_unit_blocks * unit_layout().size_bytes();
  }
  /// From a panel's start to the codes of a block.
  [[nodiscard]] std::size_t codes_at(std::size_t block) const noexcept {
    if (!has_units()) return block * block_bytes();
    const panel_unit_layout layout = unit_layout();
    return block / panel_unit_blocks * layout.size_bytes() + layout.codes_at() +
           block % panel_unit_blocks * layout.codes_bytes;
  }
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// How a weight's codes, as products with Value see them, and its scales are kept in repacked panels.
struct stored_codes {
  std::size_t bits;         ///< of a code
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

/// Whether a block's scale and offset are each a number times a unit that panel_unit_blocks share, as they
/// are stored.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr bool keeps_numbers() noexcept {
  if constexpr (BitCodec<Codec>) {
    return Codec::has_min && sub_blocks<Codec> == panel_unit_blocks &&
           sub_block_elements<Codec>() == simd::block_codes && code_bias<Codec, Value>() == 0.0F;
  } else {
    return false;
  }
}

/// stored_codes::store_numbers of a codec that keeps_numbers.
template <class Architecture, BitCodec Codec>
void store_block_numbers(const std::byte* stored, const panel_unit_layout& layout, std::size_t lane,
                         std::byte* to) noexcept {
  const auto header = header_of_block<Codec>(stored);
  const std::array units = {Codec::stored_scale(header), Codec::stored_min(header)};
  const std::array numbers = {load_scale_numbers<Architecture, Codec>(header),
                              Codec::min_numbers(header)};
  for (std::size_t of = 0; of < units.size(); ++of) {
    std::memcpy(to + (of * layout.lanes + lane) * sizeof(float16), &units[of], sizeof(float16));
    for (std::size_t b = 0; b < panel_unit_blocks; ++b) {
      to[layout.numbers_at() + (2 * b + of) * layout.lanes + lane] =
          static_cast<std::byte>(numbers[of][b]);
    }
  }
}

template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr stored_codes stored_codes_of() noexcept {
  const auto stored_in = [](std::size_t bits, int zero) -> stored_codes {
    stored_codes stored{bits, static_cast<std::int16_t>(zero), panel_scales::f32, true, 0.0F, nullptr};
    if constexpr (keeps_half_scales<Architecture, Codec, Value>()) {
      stored.scale_form = panel_scales::f16;
      stored.stores_offsets = Codec::has_min;
      stored.bias = code_bias<Codec, Value>() + static_cast<float>(Codec::code_zero);
    } else if constexpr (keeps_numbers<Codec, Value>()) {
      stored.scale_form = panel_scales::numbers;
      stored.store_numbers = &store_block_numbers<Architecture, Codec>;
    }
    return stored;
  };
  constexpr code_packing packing = packing_of<Codec, Value>();
  if constexpr (BitCodec<Codec>) {
    constexpr bool has_nibbles = !has_code_values<Codec> && largest_byte_code<Codec>() <= 15;
    if (has_nibbles && (std::same_as<Value, std::int8_t> || Codec::code_zero == 0)) {
      return stored_in(4, 0);
    }
  } else if (is_nibbles(packing)) {
    return stored_in(4, 0);
  }
  const bool is_signed = std::same_as<Value, std::int16_t> && packing == code_packing::signed_bytes;
  return stored_in(8, is_signed ? 128 : 0);
}

/// The blocks of the panel whose first weight row is first_row, a multiple of lanes.
[[nodiscard]] inline panel_blocks blocks_of(const repacked_panels& panels,
                                            std::uint64_t first_row) noexcept {
  const bool has_units = panels.has_units();
  const panel_unit_layout layout = panels.unit_layout();
  const std::byte* const codes = panels.memory.bytes().data() + static_cast<std::size_t>(first_row) /
                                                                    panels.lanes * panels.panel_bytes();
  const std::byte* const scales = codes + layout.codes_bytes;
  // Measured: processors with AVX2 alone ask too late by themselves, even from a third-level cache. With
  // AVX-512 a panel is multiplied a tenth to a fifth faster without, but for nibbles that share units: out
  // of cache those are a tenth faster with.
  const bool is_dense = has_units && panels.code_bits == 4;
  const std::size_t ahead_bytes = panels.lanes < 16 ? 3072 : is_dense ? 8192 : 0;
  return {codes,
          scales,
          panels.stores_offsets ? scales + panels.lanes * panels.scale_bytes() : nullptr,
          has_units ? codes : nullptr,
          has_units ? layout.codes_bytes : panels.block_bytes(),
          has_units ? 2 * panels.lanes : panels.block_bytes(),
          has_units ? layout.size_bytes() : 0,
          ahead_bytes,
          panels.code_bits,
          panels.code_zero,
          panels.has_offsets,
          false,
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
  const std::size_t fields = 8 * sizeof(typename panel::code) / format.code_bits;
  for (std::size_t v = 0; v < panel::block_vectors; v += fields) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      std::array<typename panel::code, panel::lane_codes> joined{};
      for (std::size_t n = 0; n < fields; ++n) {
        const auto* const field = codes + ((v + n) * width + lane) * panel::lane_codes;
        for (std::size_t i = 0; i < panel::lane_codes; ++i) {
          const auto counted = static_cast<std::uint32_t>(field[i] + format.code_zero);
          joined[i] = static_cast<typename panel::code>(static_cast<std::uint32_t>(joined[i]) |
                                                        counted << (format.code_bits * n));
        }
      }
      std::memcpy(to, joined.data(), sizeof(joined));
      to += sizeof(joined);
    }
  }
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
  const std::size_t pass = x.rows <= code_tile_rows ? panels.blocks
                                                    : most_bytes / panels.block_bytes() /
                                                          panel_unit_blocks * panel_unit_blocks;
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
