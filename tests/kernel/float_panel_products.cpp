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
void check_float_panel(std::size_t m, std::size_t k, std::size_t part_cols) {
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
          kernel::multiply_float_panels<Architecture>(source, w, {first, count}, part, y);
        }
      });
}

template <class Architecture>
void check_float_panels() {
  constexpr std::size_t panel = kernel::interleaved_cols;
  for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 6U, 7U, 11U, 12U, 13U, 25U}) {
    for (const std::size_t k : {32U, 1056U}) {
      check_float_panel<Architecture, nibble::q4>(m, k, 2 * panel);
      check_float_panel<Architecture, nibble::apr_q4>(m, k, panel);
    }
    for (const std::size_t k : {1U, 256U, 1055U}) {
      check_float_panel<Architecture, nibble::q4_k>(m, k, panel);
      check_float_panel<Architecture, nibble::q5_0>(m, k, k);
      check_float_panel<Architecture, nibble::q6_k>(m, k, 2 * panel);
    }
    for (const std::size_t k : {1U, 33U, 1055U}) {
      check_float_panel<Architecture, nibble::apr_q4>(m, k, panel);
      check_float_panel<Architecture, nibble::q8>(m, k, k);
      check_float_panel<Architecture, nibble::apr_q8>(m, k, panel);
      check_float_panel<Architecture, nibble::f16>(m, k, panel);
      check_float_panel<Architecture, nibble::f64>(m, k, panel);
    }
  }
}

TEST_CASE("products of panels of floats with few and many rows lie within their bound",
          "[float_panel_products]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_float_panels<Architecture>(); });
  SUCCEED("every number of rows");
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
