#include <nibble/kernel/float_panel_products.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <codec/independent_decoder.hpp>
#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/guarded_memory.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::encoding;
using nibble::tensor_view;
using nibble_test::guarded_memory;
using nibble_test::placed;

/// x in parts of so many columns, each part in memory of just its size.
template <class Architecture, class Codec>
void check(std::size_t m, std::size_t k, std::size_t part_cols) {
  nibble_test::require_kernel_products<Architecture, Codec, float>(
      m, k, {kernel::activation_order_of<Codec>(), 1}, m,
      [=](const tensor_view& w, std::uint64_t first, std::size_t count, const std::vector<float>& x,
          const auto&, const kernel::product_output& y) {
        const auto source = kernel::float_panel_source_of<Architecture>(w);
        for (std::size_t from = 0; from < k; from += part_cols) {
          const std::size_t cols = std::min(part_cols, k - from);
          const guarded_memory<float> memory(m * cols, placed::against_the_page_behind);
          const kernel::interleaved_activations part{m, kernel::float_tile_rows<Architecture>, from,
                                                     cols, memory.span().data()};
          for (std::size_t tile = 0; tile < part.tiles(); ++tile) {
            kernel::interleave_tile(x.data(), k, tile, part);
          }
          kernel::multiply_float_panels<Architecture>(source, w, first, count, part, y);
        }
      });
}

template <class Architecture>
void check_all() {
  constexpr std::size_t panel = kernel::interleaved_cols;
  for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 25U}) {
    for (const std::size_t k : {32U, 1056U}) {
      check<Architecture, nibble::q4>(m, k, 2 * panel);
      check<Architecture, nibble::apr_q4>(m, k, panel);
    }
    for (const std::size_t k : {1U, 256U, 1055U}) {
      check<Architecture, nibble::q4_k>(m, k, panel);
      check<Architecture, nibble::q5_0>(m, k, k);
      check<Architecture, nibble::q6_k>(m, k, 2 * panel);
    }
    for (const std::size_t k : {1U, 33U, 1055U}) {
      check<Architecture, nibble::apr_q4>(m, k, panel);
      check<Architecture, nibble::q8>(m, k, k);
      check<Architecture, nibble::apr_q8>(m, k, panel);
      check<Architecture, nibble::f16>(m, k, panel);
      check<Architecture, nibble::f64>(m, k, panel);
    }
  }
}

TEST_CASE("products of panels of floats with few and many rows lie within their bound",
          "[float_panel_products]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_all<Architecture>(); });
  SUCCEED("every number of rows");
}

/// A panel of every encoding holds what decoding gives, bit for bit, row by row in lanes, and zeros in
/// lanes without a row.
template <class Architecture>
void check_panels() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t most = kernel::float_panel_cols<Architecture>;
  std::vector<float> panel(most * width);
  for (const encoding which : nibble_test::decodable_encodings) {
    for (const std::size_t k : {1U, 31U, 64U, 513U, 800U}) {
      constexpr std::size_t rows = 2 * width - 3;
      const auto bytes = nibble_test::finite_stored_bytes(which, rows, k, 11);
      const nibble_test::independent_decoder expected(nibble::to_string(which), bytes, k);
      const tensor_view w("w", which, {rows, k}, bytes);
      const auto source = kernel::float_panel_source_of<Architecture>(w);
      for (const std::size_t first_row : {std::size_t{0}, width}) {
        const std::size_t own_rows = std::min(width, rows - first_row);
        for (std::size_t first = 0; first < k; first += most) {
          const std::size_t count = std::min(most, k - first);
          kernel::fill_float_panel(source, w, first_row, own_rows, first, count, panel.data(), width);
          for (std::size_t i = 0; i < count * width; ++i) {
            const std::size_t row = i % width;
            const float wanted = row < own_rows ? expected(first_row + row, first + i / width) : 0.0F;
            // A lane of nothing may be -0, and so may scale * 0 where an offset was taken off.
            if (panel[i] != wanted) {
              FAIL(nibble::to_string(which)
                   << " K " << k << " row " << first_row + row << " column " << first + i / width
                   << ": " << panel[i] << " instead of " << wanted);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("a panel of floats holds decoded rows in its lanes", "[float_panel_products]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_panels<Architecture>(); });
  SUCCEED("every encoding");
}

TEST_CASE("interleaved activations are those of x, tile by tile and column by column",
          "[float_panel_products]") {
  constexpr std::size_t stride = 37;
  std::vector<float> x(15 * stride);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  for (const std::size_t rows : {1U, 5U, 6U, 7U, 12U, 13U, 15U}) {
    for (const std::size_t most : {1U, 4U, 6U, 12U}) {
      std::vector<float> values(rows * 11 + 1, -1.0F);
      const kernel::interleaved_activations to{rows, most, 20, 11, values.data()};
      for (std::size_t tile = to.tiles(); tile-- > 0;) {
        kernel::interleave_tile(x.data(), stride, tile, to);
      }
      std::size_t at = 0;
      for (std::size_t m = 0; m < rows; m += to.tile_rows(m)) {
        for (std::size_t k = 0; k < 11; ++k) {
          for (std::size_t row = m; row < m + to.tile_rows(m); ++row, ++at) {
            if (values[at] != x[row * stride + 20 + k]) FAIL("row " << row << " column " << k);
          }
        }
      }
      CHECK(at == rows * 11);
      CHECK(values.back() == -1.0F);
    }
  }
}

}  // namespace
