#include <nibble/checkpoint/e2m1_rows.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/tensor_view.hpp>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::second_scale;

TEST_CASE("4-bit floats under scales of groups and of matrices", "[e2m1_rows]") {
  // OCP Microscaling Formats, E2M1.
  constexpr std::array<float, 8> magnitudes = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  constexpr std::uint64_t experts = 3;
  constexpr std::uint64_t matrix_rows = 5;
  constexpr std::uint64_t cols = 40;
  constexpr std::uint64_t group = 16;  // the last one is short
  const auto codes = nibble_test::random_bytes(experts * matrix_rows * cols / 2, 1);
  const auto scales = nibble_test::gaussian(experts * matrix_rows * 3, 2);
  const std::vector<float> second = {0.3F, 1.7F, 0.011F};
  const nibble::tensor_view scale_tensor("scale", encoding::f32, {experts, matrix_rows, 3},
                                         std::as_bytes(std::span(scales)));
  const nibble::tensor_view second_tensor("second", encoding::f32, {experts},
                                          std::as_bytes(std::span(second)));
  const nibble::shape weight{experts, matrix_rows, cols};
  const std::vector<nibble::scale_block> groups = {{1, group}};
  for (const second_scale how : {second_scale::none, second_scale::factor, second_scale::divisor}) {
    const nibble::e2m1_rows rows{
        codes, nibble::fit_scale_grid("w", weight, scale_tensor, encoding::f32, groups), how,
        nibble::fit_scale_grid("w", weight, second_tensor, encoding::f32, {}), cols};
    for (std::uint64_t first = 0; first < experts * matrix_rows; first += 4) {
      const std::uint64_t count = std::min<std::uint64_t>(4, experts * matrix_rows - first);
      std::vector<float> values(count * cols);
      rows(first, count, values);
      for (std::uint64_t i = 0; i < values.size(); ++i) {
        const std::uint64_t row = first + i / cols;
        const std::uint64_t col = i % cols;
        const auto pair = static_cast<unsigned>(codes[(row * cols + col) / 2]);
        const unsigned code = col % 2 == 0 ? pair % 16 : pair / 16;
        const float magnitude = magnitudes[code % 8];
        float scale = scales[row * 3 + col / group];
        if (how == second_scale::factor) scale = scale * second[row / matrix_rows];
        if (how == second_scale::divisor) scale = scale / second[row / matrix_rows];
        const float expected = (code < 8 ? magnitude : -magnitude) * scale;
        if (values[i] != expected) FAIL("row " << row << " column " << col);
      }
    }
  }
}
