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
#include <nibble/core/little_endian.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What an AWQ checkpoint says of all its weights.
struct awq_rules {
  std::uint64_t group_size = 128;  ///< inputs that share a scale; 0: all

  /// As config.json's quantization_config has them. Throws bad_metadata, unsupported_feature (layouts other
  /// than gemm's).
  template <class Json>
  [[nodiscard]] static awq_rules of(const Json& config) {
    std::uint64_t bits = count_member(config, "bits").value_or(0);
    if (bits == 0) bits = count_member(config, "w_bit").value_or(0);
    if (bits != 4) {
      throw error(error_code::bad_metadata, {.field = "quantization_config.bits",
                                             .found = std::to_string(bits),
                                             .expected = "4, which AWQ has alone"});
    }
    std::string layout = text_member(config, "version").value_or("gemm");
    for (char& each : layout) {
      if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
    }
    if (layout != "gemm") {
      throw error(
          error_code::unsupported_feature,
          {.field = "quantization_config.version", .found = std::move(layout), .expected = "gemm"});
    }
    awq_rules rules;
    rules.group_size =
        count_member(config, "group_size").value_or(count_member(config, "q_group_size").value_or(0));
    return rules;
  }
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of an AWQ weight: with g = j / group_size,
///
///   value[i, j] = scales[g, i] * (code[j, i] - zero[g, i])
///
/// Codes and zero points are packed along the outputs, eight a word; from the lowest nibble up a word has
/// the outputs 0 2 4 6 1 3 5 7.
struct awq_rows {
  std::span<const std::byte> codes;  ///< qweight, [inputs, outputs / 8]
  std::span<const std::byte> zeros;  ///< qzeros, [groups, outputs / 8]
  element_reader scales;             ///< [groups, outputs]
  std::uint64_t group_size;
  std::uint64_t groups;
  std::uint64_t inputs;
  std::uint64_t outputs;

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    constexpr std::uint64_t tile_rows = 16;
    std::vector<float> tile_scales(static_cast<std::size_t>(groups * tile_rows));
    std::vector<float> tile_zeros(tile_scales.size());
    for (std::uint64_t done = 0; done < row_count; done += tile_rows) {
      const std::uint64_t rows = std::min(tile_rows, row_count - done);
      const std::uint64_t output = first_row + done;
      for (std::uint64_t group = 0; group < groups; ++group) {
        for (std::uint64_t i = 0; i < rows; ++i) {
          const auto at = static_cast<std::size_t>(group * tile_rows + i);
          tile_scales[at] = scales[group * outputs + output + i];
          tile_zeros[at] = static_cast<float>(code_at(zeros, group, output + i));
        }
      }
      for (std::uint64_t input = 0; input < inputs; ++input) {
        const auto first = static_cast<std::size_t>(input / group_size * tile_rows);
        for (std::uint64_t i = 0; i < rows; ++i) {
          const auto code = static_cast<float>(code_at(codes, input, output + i));
          const std::size_t at = first + static_cast<std::size_t>(i);
          values[static_cast<std::size_t>((done + i) * inputs + input)] =
              tile_scales[at] * (code - tile_zeros[at]);
        }
      }
    }
  }

  /// The nibble of an output in a row of words.
  [[nodiscard]] std::uint32_t code_at(std::span<const std::byte> words, std::uint64_t row,
                                      std::uint64_t output) const noexcept {
    constexpr std::array<unsigned, 8> nibble_of_output = {0, 4, 1, 5, 2, 6, 3, 7};
    const std::uint64_t word = row * (outputs / 8) + output / 8;
    return (load_number<std::uint32_t>(words, static_cast<std::size_t>(word) * 4) >>
            (4U * nibble_of_output[output % 8])) &
           15U;
  }
};

/// Composes every "qweight" with "qzeros" and "scales" beside it into "weight", [outputs, inputs]. Throws
/// bad_scheme. The rule is AutoAWQ's (dequantize_gemm of awq/utils/packing_utils.py).
inline void compose_awq(weight_composer& to, const awq_rules& rules) {
  constexpr std::string_view scheme = "awq";
  for (const tensor_view& codes : to.stored()) {
    const auto module = without_ending(codes.name(), ".qweight");
    if (!module || !to.is_free(codes)) continue;
    const std::string name = *module + ".weight";
    const tensor_view& zeros = to.require(name, *module + ".qzeros", scheme);
    const tensor_view& scales = to.require(name, *module + ".scales", scheme);
    if (!scales.has_encoding() || !element_reader::can_read(scales.encoding()) ||
        scales.shape().rank() != 2) {
      weight_composer::refuse(name, scales.name(),
                              join_text({scales.dtype_text(), " of ", scales.shape().to_string()}),
                              "scales in floats, groups x outputs");
    }
    const std::uint64_t outputs = scales.shape()[1];
    const std::uint64_t inputs = codes.shape().rank() == 2 ? codes.shape()[0] : 0;
    weight_composer::require_shape(name, codes, encoding::i32, {inputs, divide_round_up(outputs, 8)});
    const std::uint64_t group_size =
        std::max<std::uint64_t>(1, rules.group_size == 0 ? inputs : rules.group_size);
    const std::uint64_t groups = divide_round_up(inputs, group_size);
    if (outputs % 8 != 0) {
      weight_composer::refuse(name, scales.name(), scales.shape().to_string(), "outputs by eights");
    }
    weight_composer::require_shape(name, zeros, encoding::i32, {groups, outputs / 8});
    weight_composer::require_shape(name, scales, scales.encoding(), {groups, outputs});
    to.add(name, scheme, {outputs, inputs}, codes, {&zeros, &scales},
           awq_rows{codes.bytes(), zeros.bytes(), element_reader(scales), group_size, groups, inputs,
                    outputs});
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
