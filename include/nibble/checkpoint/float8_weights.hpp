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

#include <nibble/checkpoint/scale_grid.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float8.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What a checkpoint says of its weights in 8-bit floats.
struct float8_rules {
  bool has_scales = false;  ///< a weight without a scale is an error
  /// Blocks that may share a scale, where scales are neither one nor one a row.
  std::vector<scale_block> blocks{};
};

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a weight in 8-bit floats: value = code * scale, in f32.
struct float8_rows {
  std::span<const std::byte> codes;
  const std::array<float, 256>* values_of_codes;
  std::optional<scale_grid> grid;  ///< nothing: the codes' values are the weight
  std::uint64_t cols;

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    const std::array<float, 256>& decoded = *values_of_codes;
    for (std::uint64_t i = 0; i < row_count; ++i) {
      const std::byte* const from = codes.data() + (first_row + i) * cols;
      float* const to = values.data() + i * cols;
      const auto decode = [&](std::uint64_t first, std::uint64_t end, float scale) {
        for (std::uint64_t col = first; col < end; ++col) {
          to[col] = decoded[static_cast<std::uint8_t>(from[col])] * scale;
        }
      };
      if (!grid) {
        for (std::uint64_t col = 0; col < cols; ++col) {
          to[col] = decoded[static_cast<std::uint8_t>(from[col])];
        }
        continue;
      }
      grid->for_each_run(first_row + i, cols,
                         [&](std::uint64_t first, std::uint64_t end, std::uint64_t place) {
                           decode(first, end, grid->scales[place]);
                         });
    }
  }
};

/// The scale of the weight called `name`, as programs call it: weight_scale_inv (DeepSeek), weight_scale,
/// scale_weight (ComfyUI), scale beside weight (DeepSeek's own files). Null where there is none.
[[nodiscard]] inline const tensor_view* find_float8_scale(const weight_composer& from,
                                                          std::string_view name) {
  for (const std::string_view ending : {"_scale_inv", "_scale"}) {
    if (const auto* const found = from.find(join_text({name, ending}))) return found;
  }
  if (const auto module = without_ending(name, "weight")) {
    for (const std::string_view part : {"scale_weight", "scale"}) {
      if (const auto* const found = from.find(join_text({*module, part}))) return found;
    }
  }
  return nullptr;
}

/// Composes every tensor in 8-bit floats that is not a part of another weight (F8_E4M3 and so on): with
/// its scale where it has one, and by itself where no weight of the checkpoint has. What inverse scales
/// are called is a name alone: all are factors.
///
/// Throws bad_scheme where a scale is missing or fits no rule.
inline void compose_float8(weight_composer& to, const float8_rules& rules) {
  const auto codes_of = [&](const tensor_view& tensor) -> const std::array<float, 256>* {
    if (!tensor.has_encoding() || !to.is_free(tensor)) return nullptr;
    return float8_values(tensor.encoding());
  };
  const auto is_scale = [](std::string_view name) {
    return name.ends_with("_scale") || name.ends_with("_scale_inv") || name.ends_with(".scale") ||
           name.ends_with(".scale_weight");
  };
  bool has_scales = rules.has_scales;
  for (const tensor_view& tensor : to.stored()) {
    if (codes_of(tensor) == nullptr || is_scale(tensor.name())) continue;
    has_scales = has_scales || find_float8_scale(to, tensor.name()) != nullptr;
  }
  for (const tensor_view& tensor : to.stored()) {
    const auto* const values = codes_of(tensor);
    if (values == nullptr || is_scale(tensor.name())) continue;
    const tensor_view* const scales = find_float8_scale(to, tensor.name());
    std::string name(tensor.name());
    if (scales == nullptr && has_scales) {
      weight_composer::refuse(
          name, "scale", join_text({tensor.dtype_text(), " of ", tensor.shape().to_string(), " alone"}),
          "a scale (weight_scale, weight_scale_inv or scale_weight)");
    }
    std::optional<scale_grid> grid;
    if (scales != nullptr) {
      std::vector<scale_block> blocks = rules.blocks;
      // These names and this shape mean the blocks that their programs have.
      const bool is_of_blocks = scales->name().ends_with("_inv") || scales->shape().rank() == 4;
      if (blocks.empty() && is_of_blocks) blocks.push_back({128, 128});
      // Exponents of two are stored as bytes, too.
      const encoding stored = scales->encoding();
      grid = fit_scale_grid(name, tensor.shape(), *scales,
                            stored == encoding::u8 ? encoding::f8_e8m0 : stored, blocks);
    }
    to.add(std::move(name), "fp8", tensor.shape(), tensor, {scales},
           float8_rows{tensor.bytes(), values, grid, tensor.cols()});
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
