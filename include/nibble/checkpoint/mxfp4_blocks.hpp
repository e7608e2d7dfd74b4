#pragma once

#include <array>
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

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Composes MXFP4 as gpt-oss has it: "NAME_blocks", U8 of [..., n, k / 32, 16], with the exponents
/// "NAME_scales", U8 of [..., n, k / 32], into "NAME", [..., n, k]; "NAME.blocks" with "NAME.scales" too,
/// as its original files spell it. The rule is gpt_oss/torch/weights.py's; an exponent of 255 is NaN, as
/// OCP says. `is_required`: blocks without scales are an error. Throws bad_scheme.
inline void compose_mxfp4_blocks(weight_composer& to, bool is_required) {
  constexpr std::uint64_t group = 32;
  constexpr std::uint64_t group_bytes = 16;
  struct names {
    std::string_view blocks;
    std::string_view scales;
  };
  constexpr std::array<names, 2> spellings = {{{"_blocks", "_scales"}, {".blocks", ".scales"}}};
  for (const tensor_view& codes : to.stored()) {
    for (const names& spelling : spellings) {
      const auto name = without_ending(codes.name(), spelling.blocks);
      if (!name || !to.is_free(codes)) continue;
      const std::string scales_name = *name + std::string(spelling.scales);
      if (!is_required && to.find(scales_name) == nullptr) continue;
      const tensor_view& scales = to.require(*name, scales_name, "mxfp4");
      const auto stored = codes.shape().dimensions();
      const bool is_u8 = codes.has_encoding() && codes.encoding() == encoding::u8;
      const bool has_blocks = stored.size() >= 3 && stored.back() == group_bytes;
      if (!is_u8 || !has_blocks) {
        if (!is_required) continue;
        weight_composer::refuse(*name, codes.name(),
                                join_text({codes.dtype_text(), " of ", codes.shape().to_string()}),
                                "u8 of rows x groups x 16");
      }
      weight_composer::require_shape(*name, scales, encoding::u8,
                                     shape(stored.first(stored.size() - 1)));
      std::vector<std::uint64_t> sizes(stored.begin(), stored.end() - 1);
      sizes.back() *= group;
      const shape dimensions{std::span<const std::uint64_t>(sizes)};
      const scale_block block{1, group};
      to.add(*name, "mxfp4", dimensions, codes, {&scales},
             e2m1_rows{codes.bytes(),
                       fit_scale_grid(*name, dimensions, scales, encoding::f8_e8m0, {&block, 1}),
                       second_scale::none,
                       {},
                       dimensions.cols()});
    }
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
