#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

// Panels that are stored once and multiplied many times. To repack, for every panel of as many weight
// rows as a vector has lanes (tasks of the executor):
//
//   code_panel_blocks blocks of its rows are unpacked into a code_panel, in the first-level cache
//     each block is stored: codes, then scales, then offsets
//
// To multiply, for every panel of a task's rows:
//
//   for every pass of blocks: the whole panel for one tile of activations, else 24 KiB of it, which
//   stay in the first-level cache while the tiles pass over them
//     for every tile of at most code_tile_rows rows: multiply_panel_blocks, sums in registers

namespace nibble {

/// A weight's codes in the order in which products of quantized activations take them: as many rows as
/// vectors have lanes side by side, nibbles as nibbles, with f32 scales and offsets. In memory alone,
/// for the instruction set that made it; never in a file.
struct repacked_panels {
  std::size_t lanes = 0;            ///< weight rows a panel; 0: nothing was repacked
  std::size_t lane_code_bytes = 0;  ///< of a code as products see it: 1 or 2
  std::size_t code_bits = 0;        ///< of a code as it is stored: 4 or 8
  std::int16_t code_zero = 0;       ///< that 2-byte codes stored in 8 bits count from
  std::size_t blocks = 0;           ///< of a row
  std::size_t panels = 0;
  bool has_offsets = false;
  std::size_t size_bytes = 0;  ///< of memory
  std::unique_ptr<std::byte[]> memory{};
  /// In memory, aligned to 64 bytes; [panels][blocks]: codes, scales, offsets.
  std::byte* start = nullptr;

  /// A block's bytes of codes in one lane.
  [[nodiscard]] std::size_t lane_bytes() const noexcept { return simd::block_codes * code_bits / 8; }
  /// One block's bytes in all lanes.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return lanes * (lane_bytes() + (has_offsets ? 2 : 1) * sizeof(float));
  }
  [[nodiscard]] std::size_t panel_bytes() const noexcept { return blocks * block_bytes(); }
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The bits that hold the codes which products with Value see, and the zero that they count from then.
struct stored_codes {
  std::size_t bits;
  std::int16_t zero;
};
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr stored_codes stored_codes_of() noexcept {
  constexpr code_packing packing = packing_of<Codec, Value>();
  if constexpr (BitCodec<Codec>) {
    constexpr bool has_nibbles = !has_code_values<Codec> && largest_byte_code<Codec>() <= 15;
    if (has_nibbles && (std::same_as<Value, std::int8_t> || Codec::code_zero == 0)) return {4, 0};
  } else if (is_nibbles(packing)) {
    return {4, 0};
  }
  const bool is_signed = std::same_as<Value, std::int16_t> && packing == code_packing::signed_bytes;
  return {8, static_cast<std::int16_t>(is_signed ? 128 : 0)};
}

/// The blocks of the panel whose first weight row is first_row, a multiple of lanes.
[[nodiscard]] inline panel_blocks blocks_of(const repacked_panels& panels,
                                            std::uint64_t first_row) noexcept {
  const std::size_t block_bytes = panels.block_bytes();
  const std::byte* const codes =
      panels.start + static_cast<std::size_t>(first_row) / panels.lanes * panels.panel_bytes();
  const auto* const scales = reinterpret_cast<const float*>(codes + panels.lanes * panels.lane_bytes());
  // Measured, from a third-level cache: processors ask too late by themselves.
  constexpr std::size_t ahead_bytes = 3072;
  return {codes,
          scales,
          scales + panels.lanes,
          block_bytes,
          block_bytes / sizeof(float),
          ahead_bytes,
          panels.code_bits,
          panels.code_zero,
          panels.has_offsets,
          false};
}

/// Writes one block of a panel to `to`, block_bytes of it.
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
  std::memcpy(to, from.scales.data() + block * width, width * sizeof(float));
  if (!format.has_offsets) return;
  std::memcpy(to + width * sizeof(float), from.offsets.data() + block * width, width * sizeof(float));
}

/// Memory for a weight's panels, none of them stored yet.
template <class Architecture, Activation Value>
[[nodiscard]] repacked_panels allocate_panels(const tensor_view& weight, const stored_codes& codes,
                                              bool has_offsets) {
  using panel_type = code_panel<Architecture, Value>;
  constexpr std::size_t width = panel_type::width;
  repacked_panels panels{.lanes = width,
                         .lane_code_bytes = sizeof(typename panel_type::code),
                         .code_bits = codes.bits,
                         .code_zero = codes.zero,
                         .blocks = blocks_in(static_cast<std::size_t>(weight.cols())),
                         .panels = static_cast<std::size_t>(divide_round_up(weight.rows(), width)),
                         .has_offsets = has_offsets};
  // No product overflows: a stored row takes a byte and more, and is in memory.
  constexpr std::size_t alignment = 64;
  panels.size_bytes = panels.panels * panels.panel_bytes() + alignment;
  panels.memory = std::make_unique<std::byte[]>(panels.size_bytes);
  const auto address = reinterpret_cast<std::uintptr_t>(panels.memory.get());
  panels.start = panels.memory.get() + (alignment - address % alignment) % alignment;
  return panels;
}

/// Repacks the rows of panel `index` of a weight whose rows_are_blocks. Panels may be stored at once,
/// by several threads.
template <class Architecture, Activation Value>
void store_panel(const code_panel_source<Architecture, Value>& source, const tensor_view& weight,
                 std::size_t index, const repacked_panels& to) noexcept {
  constexpr std::size_t width = code_panel<Architecture, Value>::width;
  code_panel<Architecture, Value> panel;
  const std::uint64_t first_row = std::uint64_t{index} * width;
  const auto rows = static_cast<std::size_t>(std::min<std::uint64_t>(width, weight.rows() - first_row));
  for (std::size_t first = 0; first < to.blocks; first += code_panel_blocks) {
    const std::size_t count = std::min(code_panel_blocks, to.blocks - first);
    fill_code_panel(source, {weight, {first_row, rows}, {first, count}}, panel);
    for (std::size_t b = 0; b < count; ++b) {
      store_panel_block(panel, b, to,
                        to.start + index * to.panel_bytes() + (first + b) * to.block_bytes());
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
  const std::size_t pass = x.rows <= code_tile_rows ? panels.blocks : most_bytes / panels.block_bytes();
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
