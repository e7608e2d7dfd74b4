#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// A weight's codes in the order in which products of coded activations take them: those of as many
/// rows as vectors have lanes side by side, nibbles as nibbles, with f32 scales and offsets. In memory
/// alone, for the instruction set that made it; never in a file.
struct repacked_panels {
  std::size_t lanes = 0;            ///< weight rows a panel; 0: nothing was repacked
  std::size_t lane_code_bytes = 0;  ///< of a code as products see it: 1 or 2
  std::size_t code_bits = 0;        ///< of a code as it is stored: 4 or 8
  std::int16_t code_zero = 0;       ///< that 2-byte codes stored in 8 bits count from
  std::size_t blocks = 0;           ///< of a row
  bool has_offsets = false;
  std::size_t size_bytes = 0;  ///< of memory
  std::unique_ptr<std::byte[]> memory{};
  std::byte* start =
      nullptr;  ///< in memory, aligned to 64 bytes; [panels][blocks]: codes, scales, offsets

  /// A block's bytes of codes in one lane.
  [[nodiscard]] std::size_t lane_bytes() const noexcept { return simd::block_codes * code_bits / 8; }
  /// One block's bytes in all lanes.
  [[nodiscard]] std::size_t block_bytes() const noexcept {
    return lanes * (lane_bytes() + (has_offsets ? 2 : 1) * sizeof(float));
  }
};

/// A weight with a second copy of its codes, in memory, for products in one mode: as repack() makes it.
class repacked_weight {
 public:
  repacked_weight(const tensor_view& weight, matmul_mode mode, repacked_panels panels)
      : weight_(weight), mode_(mode), panels_(std::move(panels)) {}

  /// The weight that was repacked. Products in other modes are taken from its bytes.
  [[nodiscard]] const tensor_view& weight() const noexcept { return weight_; }
  [[nodiscard]] matmul_mode mode() const noexcept { return mode_; }
  /// Memory held besides the weight's; 0 where another order of its codes is of no use.
  [[nodiscard]] std::size_t size_bytes() const noexcept { return panels_.size_bytes; }
  /// For kernels.
  [[nodiscard]] const repacked_panels& panels() const noexcept { return panels_; }

 private:
  tensor_view weight_;
  matmul_mode mode_;
  repacked_panels panels_;
};

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

/// The blocks of the panel that starts at a multiple of lanes.
[[nodiscard]] inline panel_blocks blocks_of(const repacked_panels& of,
                                            std::uint64_t first_row) noexcept {
  const std::size_t block_bytes = of.block_bytes();
  const std::byte* const codes =
      of.start + static_cast<std::size_t>(first_row) / of.lanes * of.blocks * block_bytes;
  const auto* const scales = reinterpret_cast<const float*>(codes + of.lanes * of.lane_bytes());
  // Measured, from a third-level cache: processors ask too late by themselves.
  constexpr std::size_t ahead_bytes = 3072;
  return {codes,       scales,       scales + of.lanes, block_bytes,   block_bytes / sizeof(float),
          ahead_bytes, of.code_bits, of.code_zero,      of.has_offsets};
}

/// Writes one block of a panel to `to`, block_bytes of it.
template <class Architecture, Activation Value>
void store_panel_block(const code_panel<Architecture, Value>& from, std::size_t block,
                       const repacked_panels& form, std::byte* to) noexcept {
  using panel = code_panel<Architecture, Value>;
  constexpr std::size_t width = panel::width;
  const auto* const codes = from.codes.data() + block * simd::block_codes * width;
  const std::size_t fields = 8 * sizeof(typename panel::code) / form.code_bits;
  for (std::size_t v = 0; v < panel::block_vectors; v += fields) {
    for (std::size_t lane = 0; lane < width; ++lane) {
      std::array<typename panel::code, panel::lane_codes> joined{};
      for (std::size_t n = 0; n < fields; ++n) {
        const auto* const own = codes + ((v + n) * width + lane) * panel::lane_codes;
        for (std::size_t i = 0; i < panel::lane_codes; ++i) {
          const auto counted = static_cast<std::uint32_t>(own[i] + form.code_zero);
          joined[i] = static_cast<typename panel::code>(static_cast<std::uint32_t>(joined[i]) |
                                                        counted << (form.code_bits * n));
        }
      }
      std::memcpy(to, joined.data(), sizeof(joined));
      to += sizeof(joined);
    }
  }
  std::memcpy(to, from.scales.data() + block * width, width * sizeof(float));
  if (!form.has_offsets) return;
  std::memcpy(to + width * sizeof(float), from.offsets.data() + block * width, width * sizeof(float));
}

/// Repacks a weight whose rows_are_blocks, for products with Value.
template <class Architecture, Activation Value>
[[nodiscard]] repacked_panels make_panels(const code_panel_source<Architecture, Value>& source,
                                          const stored_codes& codes, const tensor_view& weight,
                                          executor* on) {
  using panel_type = code_panel<Architecture, Value>;
  constexpr std::size_t width = panel_type::width;
  const auto cols = static_cast<std::size_t>(weight.cols());
  repacked_panels made{.lanes = width,
                       .lane_code_bytes = sizeof(typename panel_type::code),
                       .code_bits = codes.bits,
                       .code_zero = codes.zero,
                       .blocks = (cols + simd::block_codes - 1) / simd::block_codes,
                       .has_offsets = source.has_offsets};
  // No product overflows: a stored row takes a byte and more, and is in memory.
  const auto panels = static_cast<std::size_t>(divide_round_up(weight.rows(), width));
  const std::size_t panel_bytes = made.blocks * made.block_bytes();
  constexpr std::size_t alignment = 64;
  made.size_bytes = panels * panel_bytes + alignment;
  made.memory = std::make_unique<std::byte[]>(made.size_bytes);
  const auto address = reinterpret_cast<std::uintptr_t>(made.memory.get());
  made.start = made.memory.get() + (alignment - address % alignment) % alignment;
  run_tasks(on, panels, [&](std::size_t n) {
    panel_type panel;
    const std::uint64_t first_row = std::uint64_t{n} * width;
    const auto lanes =
        static_cast<std::size_t>(std::min<std::uint64_t>(width, weight.rows() - first_row));
    for (std::size_t first = 0; first < made.blocks; first += code_panel_blocks) {
      const std::size_t count = std::min(code_panel_blocks, made.blocks - first);
      fill_code_panel(source, {weight, {first_row, lanes}, {first, count}}, panel);
      for (std::size_t b = 0; b < count; ++b) {
        store_panel_block(panel, b, made,
                          made.start + n * panel_bytes + (first + b) * made.block_bytes());
      }
    }
  });
  return made;
}

/// Products of coded activations, in tiles of at most code_tile_rows, with rows first_row .. first_row
/// + row_count of a repacked weight, from a panel's start on.
template <class Architecture, Activation Value>
void multiply_repacked(const repacked_panels& panels, std::uint64_t first_row, std::size_t row_count,
                       const prepared_activations<Value>& x, const product_output& y) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  // One pass over a panel for one tile; what several pass over stays in the first-level cache.
  constexpr std::size_t most_bytes = 24 * 1024;
  const std::size_t pass = x.rows <= code_tile_rows ? panels.blocks : most_bytes / panels.block_bytes();
  for (std::size_t n = 0; n < row_count; n += width) {
    const panel_blocks panel = blocks_of(panels, first_row + n);
    for (std::size_t first = 0; first < panels.blocks; first += pass) {
      multiply_panel_blocks<Architecture>(
          panel.from(first), {first, std::min(pass, panels.blocks - first)},
          {first_row + n, std::min(width, row_count - n)}, x, y);
    }
  }
}

/// repack(), by one architecture's kernels.
template <class Architecture>
[[nodiscard]] repacked_weight make_repacked(const tensor_view& weight, matmul_mode mode, executor* on) {
  using panel_architecture = simd::integer_architecture<Architecture>;
  repacked_panels made;
  visit_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
    if (!rows_are_blocks<Codec>(weight)) return;
    const auto make = [&]<Activation Value>(Value) {
      if constexpr (has_code_products<Architecture, Codec, Value>()) {
        made = make_panels(code_panel_source_of<panel_architecture, Codec, Value>(),
                           stored_codes_of<Codec, Value>(), weight, on);
      }
    };
    switch (activation_format_for<Architecture, Codec>(weight, mode)) {
      case activation_format::int8_codes: make(std::int8_t{}); break;
      case activation_format::int16_codes: make(std::int16_t{}); break;
      default: break;
    }
  });
  return {weight, mode, std::move(made)};
}

}  // namespace kernel

/// A copy of a weight in the order that products in `mode` (int16 or int8) take it in, for hosts that
/// trade memory for speed: 6 bits a weight where codes are nibbles, else 10, and one less where values
/// are just scale * code. The work is spread over `on` where it is not null.
///
/// `weight`'s bytes are to outlive the copy. In exact mode, and for weights that have no products of
/// codes in this one, there is nothing to gain: size_bytes() is 0 then, and products are taken from the
/// weight. They are, too, where kernels for another instruction set multiply than those that repacked.
/// Results lie within the bounds of matmul() and may differ from those without repacking, within them.
///
/// Throws unsupported_encoding.
template <class Architecture = default_architecture>
[[nodiscard]] repacked_weight repack(const tensor_view& weight, matmul_mode mode,
                                     executor* on = nullptr) {
  if constexpr (PickedAtRunTime<Architecture>) {
    require_codec(weight.encoding(), weight.name());
    return Architecture::kernels().repack(weight, mode, on);
  } else {
    return kernel::make_repacked<Architecture>(weight, mode, on);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
