#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/checkpoint/element_reader.hpp>
#include <nibble/checkpoint/packed_codes.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/little_endian.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What a GPTQ checkpoint says of all its weights.
struct gptq_rules {
  unsigned bits = 4;
  std::uint64_t group_size = 128;  ///< inputs that share a scale; 0: all
  bool is_symmetric = false;       ///< every zero point is half the range
  bool stores_zero_less_one =
      true;  ///< the first format, "gptq"; the second, "gptq_v2", stores it as it is

  /// As config.json's quantization_config has them. Throws bad_metadata, unsupported_feature (formats that
  /// kernels shuffle).
  template <class Json>
  [[nodiscard]] static gptq_rules of(const Json& config) {
    gptq_rules rules;
    const std::uint64_t bits = count_member(config, "bits").value_or(0);
    if (bits != 2 && bits != 3 && bits != 4 && bits != 8) {
      throw error(error_code::bad_metadata, {.field = "quantization_config.bits",
                                             .found = std::to_string(bits),
                                             .expected = "2, 3, 4 or 8"});
    }
    rules.bits = static_cast<unsigned>(bits);
    rules.group_size = count_member(config, "group_size").value_or(0);  // -1: all
    rules.is_symmetric = flag_member(config, "sym").value_or(false);
    std::string format = text_member(config, "checkpoint_format").value_or("");
    if (format.empty()) format = text_member(config, "format").value_or("gptq");
    if (flag_member(config, "is_marlin_format").value_or(false)) format = "marlin";
    if (format != "gptq" && format != "gptq_v2") {
      throw error(error_code::unsupported_feature, {.field = "quantization_config.checkpoint_format",
                                                    .found = std::move(format),
                                                    .expected = "gptq or gptq_v2"});
    }
    rules.stores_zero_less_one = format == "gptq";
    return rules;
  }
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a GPTQ weight: with g for the group of input j,
///
///   value[i, j] = scales[g, i] * (code[j, i] - zero[g, i])
///
/// Codes are packed along the inputs, zero points along the outputs. What is stored is a row an input;
/// the weight is a row an output, so a few outputs are decoded at a time.
struct gptq_rows {
  packed_codes codes;                           ///< qweight, [inputs * bits / 32, outputs]
  packed_codes zeros;                           ///< qzeros, [groups, outputs * bits / 32]
  element_reader scales;                        ///< [groups, outputs]
  std::span<const std::byte> groups_of_inputs;  ///< g_idx, i32; empty: group_size inputs in turn
  std::uint64_t group_size;
  std::uint64_t groups;
  std::uint64_t inputs;
  std::uint64_t outputs;
  std::uint32_t stored_less;  ///< than the zero point

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    constexpr std::uint64_t tile_rows = 16;  // a line of the cache holds as many words
    std::vector<float> tile_scales(static_cast<std::size_t>(groups * tile_rows));
    std::vector<float> tile_zeros(tile_scales.size());
    const std::uint64_t zero_words = divide_round_up(outputs * zeros.bits, 32);
    const std::uint32_t mask = (1U << zeros.bits) - 1U;
    for (std::uint64_t done = 0; done < row_count; done += tile_rows) {
      const std::uint64_t rows = std::min(tile_rows, row_count - done);
      const std::uint64_t output = first_row + done;
      for (std::uint64_t group = 0; group < groups; ++group) {
        for (std::uint64_t i = 0; i < rows; ++i) {
          const auto at = static_cast<std::size_t>(group * tile_rows + i);
          tile_scales[at] = scales[group * outputs + output + i];
          const std::uint32_t stored = zeros.at(group * zero_words, 1, output + i);
          tile_zeros[at] = static_cast<float>((stored + stored_less) & mask);
        }
      }
      for (std::uint64_t input = 0; input < inputs; ++input) {
        const auto first = static_cast<std::size_t>(group_of(input) * tile_rows);
        for (std::uint64_t i = 0; i < rows; ++i) {
          const auto code = static_cast<float>(codes.at(output + i, outputs, input));
          const std::size_t at = first + static_cast<std::size_t>(i);
          values[static_cast<std::size_t>((done + i) * inputs + input)] =
              tile_scales[at] * (code - tile_zeros[at]);
        }
      }
    }
  }

  [[nodiscard]] std::uint64_t group_of(std::uint64_t input) const noexcept {
    if (groups_of_inputs.empty()) return input / group_size;
    return load_number<std::uint32_t>(groups_of_inputs, static_cast<std::size_t>(input) * 4);
  }
};

/// Whether symmetric codes show by their zero points which format they have, whatever its name: all of the
/// first group are half the range (gptq_v2) or one less (gptq). Nothing where neither.
[[nodiscard]] inline std::optional<bool> stores_zero_less_one(const packed_codes& zeros,
                                                              std::uint64_t outputs) noexcept {
  const std::uint32_t half = 1U << (zeros.bits - 1U);
  bool is_half = true;
  bool is_less = true;
  for (std::uint64_t i = 0; i < outputs; ++i) {
    const std::uint32_t stored = zeros.at(0, 1, i);
    is_half = is_half && stored == half;
    is_less = is_less && stored + 1U == half;
  }
  if (is_half == is_less) return std::nullopt;
  return is_less;
}

/// Throws bad_scheme where an index of `part`, i32, is no group.
inline void require_groups(std::string_view weight, const tensor_view& part, std::uint64_t groups) {
  for (std::uint64_t i = 0; i < part.elements(); ++i) {
    const auto group = load_number<std::uint32_t>(part.bytes(), static_cast<std::size_t>(i) * 4);
    if (group < groups) continue;
    weight_composer::refuse(weight, part.name(), join_text({"group ", group, " of input ", i}),
                            join_text({"one of ", groups, " groups"}));
  }
}

/// Composes every "qweight" with "qzeros", "scales" and "g_idx" beside it into "weight", [outputs, inputs].
/// Throws bad_scheme.
///
/// The rule is GPTQModel's (dequantize_gptq of utils/model_dequant.py): zero points of the first format are
/// one more than stored, within their bits.
inline void compose_gptq(weight_composer& to, const gptq_rules& rules) {
  constexpr std::string_view scheme = "gptq";
  for (const tensor_view& codes : to.stored()) {
    const auto module = without_ending(codes.name(), ".qweight");
    if (!module || !to.is_free(codes)) continue;
    const std::string name = *module + ".weight";
    const tensor_view& zeros = to.require(name, *module + ".qzeros", scheme);
    const tensor_view& scales = to.require(name, *module + ".scales", scheme);
    const tensor_view* const order = to.find(*module + ".g_idx");
    if (codes.shape().rank() != 2 || codes.shape()[0] * rules.bits == 0 ||
        codes.shape()[0] > std::numeric_limits<std::uint32_t>::max() ||
        codes.shape()[0] * 32 % rules.bits != 0) {
      weight_composer::refuse(name, codes.name(), codes.shape().to_string(),
                              join_text({"codes of ", rules.bits, " bits, inputs x outputs"}));
    }
    const std::uint64_t inputs = codes.shape()[0] * 32 / rules.bits;
    const std::uint64_t outputs = codes.shape()[1];
    const std::uint64_t group_size = rules.group_size == 0 ? inputs : rules.group_size;
    const std::uint64_t groups = divide_round_up(inputs, group_size);
    weight_composer::require_shape(name, codes, encoding::i32, codes.shape());
    weight_composer::require_shape(name, zeros, encoding::i32,
                                   {groups, divide_round_up(outputs * rules.bits, 32)});
    if (!scales.has_encoding() || !element_reader::can_read(scales.encoding())) {
      weight_composer::refuse(name, scales.name(), scales.dtype_text(), "scales in floats");
    }
    weight_composer::require_shape(name, scales, scales.encoding(), {groups, outputs});
    std::span<const std::byte> groups_of_inputs;
    if (order != nullptr && order->elements() != 0) {
      weight_composer::require_shape(name, *order, encoding::i32, {inputs});
      require_groups(name, *order, groups);
      groups_of_inputs = order->bytes();
    }
    const packed_codes packed_zeros{zeros.bytes(), rules.bits};
    bool is_less = rules.stores_zero_less_one;
    if (rules.is_symmetric) is_less = stores_zero_less_one(packed_zeros, outputs).value_or(is_less);
    to.add(name, scheme, {outputs, inputs}, codes, {&zeros, &scales, order},
           gptq_rows{.codes = {codes.bytes(), rules.bits},
                     .zeros = packed_zeros,
                     .scales = element_reader(scales),
                     .groups_of_inputs = groups_of_inputs,
                     .group_size = group_size,
                     .groups = groups,
                     .inputs = inputs,
                     .outputs = outputs,
                     .stored_less = is_less ? 1U : 0U});
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
