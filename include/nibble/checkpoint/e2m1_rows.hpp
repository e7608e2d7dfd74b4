#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/checkpoint/scale_grid.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/float8.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// What the scales of a weight's groups are multiplied or divided by before they scale its codes.
enum class second_scale : std::uint8_t { none, factor, divisor };

/// Rows of a weight in 4-bit floats, OCP E2M1, two a byte, the first in the lower nibble:
///
///   value = code * scale                 MXFP4
///   value = code * (scale * second)      NVFP4; each product is rounded to f32
///   value = code * (scale / second)      NVFP4 of compressed-tensors
struct e2m1_rows {
  std::span<const std::byte> codes;
  scale_grid grid;          ///< of groups
  second_scale has_second;  ///< how `second` is used
  scale_grid second;        ///< of whole matrices
  std::uint64_t cols;       ///< even

  void operator()(std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) const {
    constexpr auto decoded = [] {
      std::array<float, 16> table{};
      for (std::uint32_t code = 0; code < 16; ++code) {
        table[code] = small_float_value(e2m1_layout, code);
      }
      return table;
    }();
    for (std::uint64_t i = 0; i < row_count; ++i) {
      const std::uint64_t row = first_row + i;
      const std::byte* const from = codes.data() + row * (cols / 2);
      float* const to = values.data() + i * cols;
      const float other = has_second == second_scale::none
                              ? 1.0F
                              : second.scales[row / second.matrix_rows * second.matrix_stride];
      grid.for_each_run(row, cols, [&](std::uint64_t first, std::uint64_t end, std::uint64_t place) {
        float scale = grid.scales[place];
        if (has_second == second_scale::factor) scale *= other;
        if (has_second == second_scale::divisor) scale /= other;
        for (std::uint64_t col = first; col < end; ++col) {
          const auto pair = static_cast<std::uint8_t>(from[col / 2]);
          to[col] = decoded[col % 2 == 0 ? pair & 15U : pair >> 4U] * scale;
        }
      });
    }
  }
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
