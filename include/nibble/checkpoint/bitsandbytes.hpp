#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/checkpoint/element_reader.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble {

/// What a "quant_state.bitsandbytes__nf4" says, a JSON object in bytes.
struct bitsandbytes_state {
  nibble::shape shape{};
  std::uint64_t block_size = 0;         ///< elements that share a scale
  std::uint64_t nested_block_size = 0;  ///< scales that share one of their own; 0: scales are f32
  float nested_offset = 0.0F;           ///< added to each scale that is decoded

  /// Reads it. Throws bad_scheme, naming the tensor, and what parsing throws.
  template <class Json>
  [[nodiscard]] static bitsandbytes_state of(std::string_view weight, const tensor_view& stored) {
    constexpr std::size_t most_bytes = 1U << 16U;
    const auto refuse = [&](std::string found) {
      weight_composer::refuse(weight, stored.name(), std::move(found),
                              "shape, blocksize and what is nested, as JSON");
    };
    if (stored.bytes().size() > most_bytes) refuse(join_text({stored.bytes().size(), " bytes"}));
    const std::string_view text(reinterpret_cast<const char*>(stored.bytes().data()),
                                stored.bytes().size());
    Json object;
    try {
      memory_budget budget(text.size());
      object = parse_json_object<Json>(text, "JSON", budget);
    } catch (const error& problem) {
      refuse(problem.what());
    }
    bitsandbytes_state state;
    const auto sizes = object.find("shape");
    if (sizes == object.end() || !sizes->is_array()) refuse("no shape");
    std::vector<std::uint64_t> dimensions;
    for (const Json& each : *sizes) {
      if (!each.is_number_unsigned()) refuse(join_text({"shape ", sizes->dump()}));
      dimensions.push_back(each.template get<std::uint64_t>());
    }
    state.shape = nibble::shape(std::span<const std::uint64_t>(dimensions));
    state.block_size = count_member(object, "blocksize").value_or(0);
    if (state.block_size == 0) refuse("no blocksize");
    if (!object.contains("nested_blocksize")) return state;
    state.nested_block_size = count_member(object, "nested_blocksize").value_or(0);
    const auto offset = object.find("nested_offset");
    if (state.nested_block_size == 0 || offset == object.end() || !offset->is_number()) {
      refuse("nested scales without nested_blocksize or nested_offset");
    }
    state.nested_offset = offset->template get<float>();
    return state;
  }
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a weight in 4-bit codes of bitsandbytes: value = level[code] * scale, in blocks of the flattened
/// tensor, two codes a byte, the first in the upper nibble. Scales may be codes of 8 bits themselves:
/// scale = nested_level[code] * nested_scale + offset, each step rounded to f32.
struct bitsandbytes_rows {
  std::span<const std::byte> codes;
  element_reader levels;         ///< 16
  element_reader scales;         ///< one a block
  element_reader nested_levels;  ///< 256
  element_reader nested_scales;  ///< one a nested block of scales
  bitsandbytes_state state;
  std::uint64_t cols;

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    std::array<float, 16> level{};
    for (std::size_t i = 0; i < level.size(); ++i) level[i] = levels[i];
    const std::uint64_t begin = first_row * cols;
    const std::uint64_t end = begin + row_count * cols;
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t block = at / state.block_size;
      const std::uint64_t block_end = std::min(end, (block + 1) * state.block_size);
      const float scale = scale_of(block);
      for (; at < block_end; ++at) {
        const auto pair = static_cast<std::uint8_t>(codes[static_cast<std::size_t>(at / 2)]);
        values[static_cast<std::size_t>(at - begin)] =
            level[at % 2 == 0 ? pair >> 4U : pair & 15U] * scale;
      }
    }
  }

  [[nodiscard]] float scale_of(std::uint64_t block) const noexcept {
    if (state.nested_block_size == 0) return scales[block];
    const auto code = static_cast<std::uint64_t>(scales[block]);
    // The product of two f32 is exact in f64, and no compiler joins its rounding with the sum's.
    const double product = static_cast<double>(nested_levels[code]) *
                           static_cast<double>(nested_scales[block / state.nested_block_size]);
    return static_cast<float>(product) + state.nested_offset;
  }
};

/// Rows of a weight in bytes of bitsandbytes: value = code * scale / 127, as its reference has it: a product
/// with the scale and one with f32's 1 / 127, each rounded.
struct bitsandbytes_byte_rows {
  std::span<const std::byte> codes;
  element_reader scales;  ///< one a row
  std::uint64_t cols;

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    constexpr float reciprocal = 7.874015718698502e-3F;
    for (std::uint64_t i = 0; i < row_count; ++i) {
      const float scale = scales[first_row + i];
      const auto from = static_cast<std::size_t>((first_row + i) * cols);
      const auto to = static_cast<std::size_t>(i * cols);
      for (std::size_t col = 0; col < cols; ++col) {
        const auto code = static_cast<float>(static_cast<std::int8_t>(codes[from + col]));
        values[to + col] = code * scale * reciprocal;
      }
    }
  }
};

/// Composes every tensor NAME that has a "NAME.quant_state.bitsandbytes__nf4" (or __fp4) beside it, with
/// "NAME.absmax", "NAME.quant_map" and where scales are nested "NAME.nested_absmax" and
/// "NAME.nested_quant_map". Throws bad_scheme.
///
/// The rule is bitsandbytes' (dequantize_4bit of functional.py), with the levels that the file has.
template <class Json>
void compose_bitsandbytes_nibbles(weight_composer& to) {
  for (const tensor_view& described : to.stored()) {
    for (const std::string_view kind : {"nf4", "fp4"}) {
      const auto found =
          without_ending(described.name(), join_text({".quant_state.bitsandbytes__", kind}));
      if (!found || !to.is_free(described)) continue;
      const std::string& name = *found;
      const std::string scheme = join_text({"bitsandbytes ", kind});
      const auto state = bitsandbytes_state::of<Json>(name, described);
      const tensor_view& codes = to.require(name, name, scheme);
      const tensor_view& levels = to.require(name, name + ".quant_map", scheme);
      const tensor_view& scales = to.require(name, name + ".absmax", scheme);
      const std::uint64_t elements = state.shape.elements();
      const std::uint64_t blocks = divide_round_up(elements, state.block_size);
      if (codes.bytes().size() != divide_round_up(elements, 2)) {
        weight_composer::refuse(name, codes.name(),
                                join_text({codes.dtype_text(), " of ", codes.shape().to_string()}),
                                join_text({divide_round_up(elements, 2), " bytes for a weight of ",
                                           state.shape.to_string()}));
      }
      weight_composer::require_shape(name, levels, encoding::f32, {16});
      const bool is_nested = state.nested_block_size != 0;
      weight_composer::require_shape(name, scales, is_nested ? encoding::u8 : encoding::f32, {blocks});
      const tensor_view* nested_levels = nullptr;
      const tensor_view* nested_scales = nullptr;
      if (is_nested) {
        nested_levels = &to.require(name, name + ".nested_quant_map", scheme);
        nested_scales = &to.require(name, name + ".nested_absmax", scheme);
        weight_composer::require_shape(name, *nested_levels, encoding::f32, {256});
        weight_composer::require_shape(name, *nested_scales, encoding::f32,
                                       {divide_round_up(blocks, state.nested_block_size)});
      }
      to.add(name, scheme, state.shape, codes,
             {&described, &levels, &scales, nested_levels, nested_scales},
             bitsandbytes_rows{codes.bytes(), element_reader(levels), element_reader(scales),
                               is_nested ? element_reader(*nested_levels) : element_reader(),
                               is_nested ? element_reader(*nested_scales) : element_reader(), state,
                               state.shape.cols()});
    }
  }
}

/// Composes every I8 matrix "weight" that has "SCB" beside it, one scale a row. Throws bad_scheme.
/// The rule is bitsandbytes' (int8_vectorwise_dequant of _ops.py).
inline void compose_bitsandbytes_bytes(weight_composer& to) {
  constexpr std::string_view scheme = "bitsandbytes int8";
  for (const tensor_view& scales : to.stored()) {
    const auto module = without_ending(scales.name(), ".SCB");
    if (!module || !to.is_free(scales)) continue;
    const std::string name = *module + ".weight";
    const tensor_view& codes = to.require(name, name, scheme);
    if (codes.shape().rank() != 2) {
      weight_composer::refuse(name, codes.name(), codes.shape().to_string(), "a matrix");
    }
    weight_composer::require_shape(name, codes, encoding::i8, codes.shape());
    weight_composer::require_shape(name, scales, encoding::f32, {codes.shape()[0]});
    const tensor_view* const order = to.find(*module + ".weight_format");
    for (std::size_t i = 0; order != nullptr && i < order->bytes().size(); ++i) {
      if (order->bytes()[i] == std::byte{0}) continue;
      weight_composer::refuse(name, order->name(), "another order than that of rows", "0, rows");
    }
    to.add(name, scheme, codes.shape(), codes, {&scales, order},
           bitsandbytes_byte_rows{codes.bytes(), element_reader(scales), codes.cols()});
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
