#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/checkpoint/element_reader.hpp>
#include <nibble/checkpoint/float8_weights.hpp>
#include <nibble/checkpoint/gptq.hpp>
#include <nibble/checkpoint/nvfp4_weights.hpp>
#include <nibble/checkpoint/packed_codes.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/scale_grid.hpp>
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

/// What a config of compressed-tensors says of the weights of one of its groups of modules. Which modules
/// are meant does not have to be known: the shapes of a weight's tensors fit the rule that made them.
struct compressed_tensors_rule {
  unsigned bits = 8;
  bool is_float = false;
  bool is_symmetric = true;
  std::optional<scale_block> block{};  ///< that shares a scale; nothing: one scale, or one a row
};

/// All rules of a config: of its groups, whatever their names.
struct compressed_tensors_rules {
  std::vector<compressed_tensors_rule> groups{};
  bool is_dense = false;  ///< weights are stored as floats, their scales beside them

  /// Reads "config_groups" of config.json's quantization_config. Throws bad_metadata, unsupported_feature
  /// (formats, of all or of one group, and sparsity that are not known here).
  template <class Json>
  [[nodiscard]] static compressed_tensors_rules of(const Json& config) {
    compressed_tensors_rules rules;
    require_format(text_member(config, "format"), "quantization_config.format");
    const auto sparsity = config.find("sparsity_config");
    if (sparsity != config.end() && sparsity->is_object()) {
      require_format(text_member(*sparsity, "format"), "quantization_config.sparsity_config.format");
    }
    rules.is_dense = text_member(config, "format") == "dense";
    const auto groups = config.find("config_groups");
    if (groups == config.end() || !groups->is_object()) {
      throw error(error_code::bad_metadata, {.field = "quantization_config.config_groups",
                                             .found = "none",
                                             .expected = "groups of modules"});
    }
    for (const auto& [name, group] : groups->items()) {
      if (!group.is_object()) continue;
      const std::string field = join_text({"quantization_config.config_groups.", name});
      require_format(text_member(group, "format"), field + ".format");
      const auto weights = group.find("weights");
      if (weights == group.end() || !weights->is_object()) continue;  // activations alone
      rules.groups.push_back(rule_of(*weights, field));
    }
    return rules;
  }

 private:
  static void require_format(const std::optional<std::string>& format, std::string field) {
    constexpr std::array<std::string_view, 9> known = {
        "dense",          "int-quantized",        "float-quantized",      "naive-quantized",
        "pack-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized",
        "mixed-precision"};
    if (!format || std::find(known.begin(), known.end(), *format) != known.end()) return;
    throw error(error_code::unsupported_feature,
                {.field = std::move(field),
                 .found = join_text({"weights of the format '", *format, "'"}),
                 .expected = "int, float, pack, nvfp4-pack, mxfp4-pack or mxfp8-quantized"});
  }

  template <class Json>
  [[nodiscard]] static compressed_tensors_rule rule_of(const Json& weights, const std::string& field) {
    compressed_tensors_rule rule;
    const std::uint64_t bits = count_member(weights, "num_bits").value_or(8);
    if (bits == 0 || bits > 8) {
      throw error(
          error_code::bad_metadata,
          {.field = field + ".weights.num_bits", .found = std::to_string(bits), .expected = "1 to 8"});
    }
    rule.bits = static_cast<unsigned>(bits);
    rule.is_float = text_member(weights, "type") == "float";
    rule.is_symmetric = flag_member(weights, "symmetric").value_or(true);
    if (const auto group = count_member(weights, "group_size"); group && *group != 0) {
      rule.block = scale_block{1, *group};
    }
    const auto structure = weights.find("block_structure");
    if (structure == weights.end() || structure->is_null()) return rule;
    // "128x128" in its first versions, [128, 128] now.
    std::string text =
        structure->is_string() ? structure->template get<std::string>() : structure->dump();
    std::vector<std::uint64_t> sizes;
    bool is_in_number = false;
    for (const char each : text) {
      const bool is_digit = each >= '0' && each <= '9';
      if (is_digit && !is_in_number) sizes.push_back(0);
      if (is_digit && sizes.back() < (1U << 30U)) {
        sizes.back() = sizes.back() * 10 + static_cast<std::uint64_t>(each - '0');
      }
      is_in_number = is_digit;
    }
    if (sizes.size() != 2 || sizes[0] == 0 || sizes[1] == 0) {
      throw error(error_code::bad_metadata, {.field = field + ".weights.block_structure",
                                             .found = std::move(text),
                                             .expected = "two sizes above 0"});
    }
    rule.block = scale_block{sizes[0], sizes[1]};
    return rule;
  }
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a weight in whole numbers: value = scale * (code - zero), both signed.
struct compressed_integer_rows {
  std::span<const std::byte> bytes{};  ///< codes as i8, where they are not packed
  packed_codes packed{};               ///< otherwise: rows of words, each code more by half the range
  std::uint64_t row_words = 0;         ///< 0: not packed
  scale_grid grid{};
  std::span<const std::byte> byte_zeros{};      ///< i8, one a scale; empty: none
  packed_codes packed_zeros{};                  ///< packed along the rows; empty: none
  std::span<const std::byte> groups_of_cols{};  ///< i32: the groups of columns that were put in order
  std::uint64_t cols = 0;

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    for (std::uint64_t i = 0; i < row_count; ++i) {
      const std::uint64_t row = first_row + i;
      float* const to = values.data() + i * cols;
      const auto decode = [&](std::uint64_t first, std::uint64_t end, std::uint64_t place) {
        const float scale = grid.scales[place];
        const std::int32_t zero = zero_of(row, place);
        for (std::uint64_t col = first; col < end; ++col) {
          to[col] = scale * static_cast<float>(code_of(row, col) - zero);
        }
      };
      if (groups_of_cols.empty()) {
        grid.for_each_run(row, cols, decode);
        continue;
      }
      const std::uint64_t first_place =
          row / grid.matrix_rows * grid.matrix_stride + row % grid.matrix_rows * grid.row_stride;
      for (std::uint64_t col = 0; col < cols; ++col) {
        const auto group =
            load_number<std::uint32_t>(groups_of_cols, static_cast<std::size_t>(col) * 4);
        decode(col, col + 1, first_place + group);
      }
    }
  }

  [[nodiscard]] std::int32_t code_of(std::uint64_t row, std::uint64_t col) const noexcept {
    if (row_words == 0) {
      return load_number<std::int8_t>(bytes, static_cast<std::size_t>(row * cols + col));
    }
    return static_cast<std::int32_t>(packed.at(row * row_words, 1, col)) -
           static_cast<std::int32_t>(1U << (packed.bits - 1U));
  }

  [[nodiscard]] std::int32_t zero_of(std::uint64_t row, std::uint64_t place) const noexcept {
    if (!byte_zeros.empty()) {
      return load_number<std::int8_t>(byte_zeros, static_cast<std::size_t>(place));
    }
    if (packed_zeros.words.empty()) return 0;
    // A matrix has [rows * bits / 32, groups] words.
    const std::uint64_t groups = grid.row_stride;
    const std::uint64_t words = divide_round_up(grid.matrix_rows * packed_zeros.bits, 32) * groups;
    const std::uint64_t first = row / grid.matrix_rows * words + place % groups;
    return static_cast<std::int32_t>(packed_zeros.at(first, groups, row % grid.matrix_rows)) -
           static_cast<std::int32_t>(1U << (packed_zeros.bits - 1U));
  }
};

namespace compressed_tensors {

/// The shape in a "weight_shape". Throws bad_scheme.
[[nodiscard]] inline shape stored_shape(std::string_view weight, const tensor_view& part) {
  const bool is_wide = part.has_encoding() && part.encoding() == encoding::i64;
  const bool is_narrow = part.has_encoding() && part.encoding() == encoding::i32;
  if ((!is_wide && !is_narrow) || part.elements() < 2 || part.elements() > shape::max_rank) {
    weight_composer::refuse(weight, part.name(),
                            join_text({part.dtype_text(), " of ", part.shape().to_string()}),
                            "the sizes of a matrix in i64 or i32");
  }
  std::vector<std::uint64_t> sizes;
  for (std::size_t i = 0; i < part.elements(); ++i) {
    const std::int64_t size = is_wide ? load_number<std::int64_t>(part.bytes(), 8 * i)
                                      : std::int64_t{load_number<std::int32_t>(part.bytes(), 4 * i)};
    if (size < 0) weight_composer::refuse(weight, part.name(), "a size below 0", "sizes");
    sizes.push_back(static_cast<std::uint64_t>(size));
  }
  return shape(std::span<const std::uint64_t>(sizes));
}

/// `dimensions` with other sizes for the last two.
[[nodiscard]] inline shape with_last(const shape& dimensions, std::uint64_t rows, std::uint64_t cols) {
  std::vector<std::uint64_t> sizes(dimensions.dimensions().begin(), dimensions.dimensions().end());
  sizes[sizes.size() - 2] = rows;
  sizes[sizes.size() - 1] = cols;
  return shape(std::span<const std::uint64_t>(sizes));
}

/// Scales, zero points and groups of a weight of whole numbers; codes are left to the caller. Takes those of
/// `rules` that say the same bits, or any where `bits` is 0: codes are bytes. Throws bad_scheme.
[[nodiscard]] inline compressed_integer_rows fit_integer_rows(const weight_composer& to,
                                                              const std::string& name,
                                                              const shape& dimensions, unsigned bits,
                                                              const compressed_tensors_rules& rules,
                                                              std::vector<const tensor_view*>& parts) {
  std::vector<scale_block> blocks;
  bool is_symmetric = true;
  for (const compressed_tensors_rule& rule : rules.groups) {
    if (rule.is_float || (bits != 0 && rule.bits != bits)) continue;
    is_symmetric = is_symmetric && rule.is_symmetric;
    if (rule.block) blocks.push_back(*rule.block);
  }
  const tensor_view& scales = to.require(name, name + "_scale", "compressed-tensors");
  compressed_integer_rows rows{
      .grid = fit_scale_grid(name, dimensions, scales, scales.encoding(), blocks),
      .cols = dimensions.cols()};
  parts.push_back(&scales);
  const std::uint64_t matrix_rows = rows.grid.matrix_rows;
  const tensor_view* const zeros = to.find(name + "_zero_point");
  if (zeros == nullptr && !is_symmetric && rules.groups.size() == 1) {
    weight_composer::refuse(name, name + "_zero_point", "no tensor of that name",
                            "zero points, for codes are not symmetric");
  }
  if (zeros != nullptr) {
    parts.push_back(zeros);
    const bool is_packed = bits != 0 && zeros->has_encoding() && zeros->encoding() == encoding::i32;
    if (is_packed) {
      const std::uint64_t groups = std::max<std::uint64_t>(1, rows.grid.row_stride);
      weight_composer::require_shape(
          name, *zeros, encoding::i32,
          with_last(dimensions, divide_round_up(matrix_rows * bits, 32), groups));
      if (rows.grid.row_stride == 0 || rows.grid.block.rows != 1) {
        weight_composer::refuse(name, zeros->name(), "packed zero points", "scales a row or a group");
      }
      rows.packed_zeros = {zeros->bytes(), bits};
    } else {
      weight_composer::require_shape(
          name, *zeros, encoding::i8,
          scales.elements() == zeros->elements() ? zeros->shape() : scales.shape());
      rows.byte_zeros = zeros->bytes();
    }
  }
  const tensor_view* const order = to.find(name + "_g_idx");
  if (order != nullptr) {
    parts.push_back(order);
    weight_composer::require_shape(name, *order, encoding::i32, {dimensions.cols()});
    constexpr std::int32_t not_used = -1;
    const bool is_used =
        order->elements() != 0 && load_number<std::int32_t>(order->bytes(), 0) != not_used;
    if (is_used && rows.grid.block.rows == 1 && rows.grid.col_stride == 1) {
      require_groups(name, *order, rows.grid.row_stride);
      rows.groups_of_cols = order->bytes();
    }
  }
  return rows;
}

inline void add(weight_composer& to, const std::string& name, const shape& dimensions,
                const tensor_view& codes, const std::vector<const tensor_view*>& parts,
                compressed_integer_rows rows) {
  const auto part = [&](std::size_t i) { return i < parts.size() ? parts[i] : nullptr; };
  to.add(name, "compressed-tensors", dimensions, codes, {part(0), part(1), part(2), part(3)},
         std::move(rows));
}

/// "weight_packed" of whole numbers, [n, k * bits / 32] words, with "weight_shape".
inline void compose_packed(weight_composer& to, const compressed_tensors_rules& rules,
                           const tensor_view& codes, const std::string& name) {
  const tensor_view& sizes = to.require(name, name + "_shape", "compressed-tensors");
  const shape dimensions = stored_shape(name, sizes);
  std::string expected;
  for (const compressed_tensors_rule& rule : rules.groups) {
    if (rule.is_float) continue;
    const auto row_bits = checked_multiply(dimensions.cols(), rule.bits);
    if (!row_bits) continue;
    const std::uint64_t words = divide_round_up(*row_bits, 32);
    const shape packed = with_last(dimensions, dimensions[dimensions.rank() - 2], words);
    if (codes.shape() != packed) {
      expected += join_text({expected.empty() ? "" : " or ", packed.to_string(), " for ", rule.bits,
                             " bits of ", dimensions.to_string()});
      continue;
    }
    std::vector<const tensor_view*> parts{&sizes};
    compressed_integer_rows rows = fit_integer_rows(to, name, dimensions, rule.bits, rules, parts);
    rows.packed = {codes.bytes(), rule.bits};
    rows.row_words = words;
    add(to, name, dimensions, codes, parts, std::move(rows));
    return;
  }
  weight_composer::refuse(name, codes.name(), codes.shape().to_string(),
                          expected.empty() ? "a group of whole numbers in config_groups" : expected);
}

}  // namespace compressed_tensors

/// Composes what compressed-tensors writes: pack-quantized (weight_packed, weight_shape), int-quantized (I8
/// weight), float-quantized and mxfp8 (F8 weight), nvfp4- and mxfp4-pack-quantized (U8 weight_packed), each
/// with weight_scale and where it has them weight_zero_point, weight_g_idx and weight_global_scale. Throws
/// bad_scheme.
///
/// The rules are those of its compressors (src/compressed_tensors/compressors/) and of
/// quantization/lifecycle/forward.py; words are packed densely (pack_to_int32).
inline void compose_compressed_tensors(weight_composer& to, const compressed_tensors_rules& rules) {
  constexpr std::string_view scheme = "compressed-tensors";
  for (const tensor_view& codes : to.stored()) {
    if (!to.is_free(codes) || !codes.has_encoding()) continue;
    if (const auto name = without_ending(codes.name(), "_packed")) {
      if (codes.encoding() == encoding::i32) {
        compressed_tensors::compose_packed(to, rules, codes, *name);
      } else if (codes.encoding() == encoding::u8) {
        const tensor_view& scales = to.require(*name, *name + "_scale", scheme);
        const tensor_view* const second = to.find(*name + "_global_scale");
        const bool is_mx = scales.has_encoding() && scales.encoding() == encoding::u8;
        if (!is_mx && second == nullptr) {
          static_cast<void>(to.require(*name, *name + "_global_scale", "nvfp4"));
        }
        add_e2m1_weight(to, *name, is_mx ? "mxfp4" : "nvfp4", codes, scales,
                        is_mx ? encoding::f8_e8m0 : scales.encoding(), is_mx ? 32 : 16,
                        is_mx ? nullptr : second, is_mx ? second_scale::none : second_scale::divisor);
      }
      continue;
    }
    const bool is_weight =
        codes.name().ends_with(".weight") || to.find(std::string(codes.name()) + "_scale");
    if (codes.encoding() == encoding::i8 && is_weight && codes.shape().rank() >= 2 &&
        !codes.name().ends_with("_zero_point")) {
      const std::string name(codes.name());
      std::vector<const tensor_view*> parts;
      compressed_integer_rows rows =
          compressed_tensors::fit_integer_rows(to, name, codes.shape(), 0, rules, parts);
      rows.bytes = codes.bytes();
      compressed_tensors::add(to, name, codes.shape(), codes, parts, std::move(rows));
    }
  }
  float8_rules floats{.has_scales = true};
  for (const compressed_tensors_rule& rule : rules.groups) {
    if (rule.is_float && rule.block) floats.blocks.push_back(*rule.block);
  }
  compose_float8(to, floats);
  if (!rules.is_dense) return;
  for (const tensor_view& tensor : to.stored()) {
    const bool is_beside =
        tensor.name().ends_with(".weight_scale") || tensor.name().ends_with(".weight_zero_point");
    if (is_beside && to.is_free(tensor)) to.leave_out(tensor, "weights are stored as floats");
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
