#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/checkpoint/e2m1_rows.hpp>
#include <nibble/checkpoint/scale_grid.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The shape of a weight whose 4-bit codes lie two a byte along its last dimension. Throws bad_scheme where
/// `codes` are no matrices of u8.
[[nodiscard]] inline shape shape_of_nibbles(std::string_view weight, const tensor_view& codes) {
  const auto stored = codes.shape().dimensions();
  if (!codes.has_encoding() || codes.encoding() != encoding::u8 || stored.size() < 2) {
    weight_composer::refuse(weight, codes.name(),
                            join_text({codes.dtype_text(), " of ", codes.shape().to_string()}),
                            "u8 of rows x columns / 2");
  }
  std::vector<std::uint64_t> sizes(stored.begin(), stored.end());
  sizes.back() *= 2;
  return shape(std::span<const std::uint64_t>(sizes));
}

/// Adds a weight of 4-bit floats: `codes` as shape_of_nibbles() takes them, one scale a group of
/// `group_size` columns, read as `as`, and where there is one a second scale for a whole matrix or for all.
/// Throws bad_scheme.
inline void add_e2m1_weight(weight_composer& to, std::string name, std::string_view scheme,
                            const tensor_view& codes, const tensor_view& scales, encoding as,
                            std::uint64_t group_size, const tensor_view* second,
                            second_scale has_second) {
  const shape dimensions = shape_of_nibbles(name, codes);
  const scale_block group{1, group_size};
  const scale_grid grid = fit_scale_grid(name, dimensions, scales, as, {&group, 1});
  if (grid.block != group && scales.elements() != 1) {
    weight_composer::refuse(
        name, scales.name(), scales.shape().to_string(),
        join_text({"one scale a group of ", group_size, " columns of ", dimensions.to_string()}));
  }
  scale_grid of_matrix;
  if (second != nullptr) {
    of_matrix = fit_scale_grid(name, dimensions, *second, second->encoding(), {});
    if (of_matrix.row_stride != 0 || of_matrix.col_stride != 0) {
      weight_composer::refuse(name, second->name(), second->shape().to_string(),
                              join_text({"one scale a matrix of ", dimensions.to_string()}));
    }
  }
  to.add(std::move(name), scheme, dimensions, codes, {&scales, second},
         e2m1_rows{codes.bytes(), grid, has_second, of_matrix, dimensions.cols()});
}

/// Composes NVFP4 as ModelOpt has it: "weight", U8 of [n, k / 2], with "weight_scale", F8_E4M3 of
/// [n, k / 16], and "weight_scale_2", one; names of experts' tensors without ".weight" likewise. A U8
/// matrix called weight without them is an error. Throws bad_scheme.
inline void compose_nvfp4(weight_composer& to, std::uint64_t group_size) {
  constexpr std::string_view scheme = "nvfp4";
  for (const tensor_view& codes : to.stored()) {
    if (!to.is_free(codes) || !codes.has_encoding() || codes.encoding() != encoding::u8) continue;
    std::string name(codes.name());
    const bool has_scales =
        to.find(name + "_scale_2") != nullptr || to.find(name + "_scale") != nullptr;
    if (!has_scales && !name.ends_with(".weight")) continue;
    const tensor_view& scales = to.require(name, name + "_scale", scheme);
    const tensor_view& second = to.require(name, name + "_scale_2", scheme);
    add_e2m1_weight(to, std::move(name), scheme, codes, scales, scales.encoding(), group_size, &second,
                    second_scale::factor);
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
