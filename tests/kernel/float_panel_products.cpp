#include <nibble/kernel/float_panel_products.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <codec/independent_decoder.hpp>
#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>
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
          const kernel::interleaved_activations<float> part{m, kernel::float_tile_rows<Architecture>,
                                                            from, cols, memory.span().data()};
          for (std::size_t tile = 0; tile < part.tiles(); ++tile) {
            kernel::interleave_tile<Architecture>(x.data(), k, tile, part);
          }
          kernel::multiply_float_panels<Architecture, float>(source, w, {first, count}, part, y);
        }
      });
}

template <class Architecture>
void check_float_panels() {
  constexpr std::size_t panel = kernel::interleaved_cols<float>;
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
      const kernel::interleaved_activations<float> to{rows, most, 20, 11, values.data()};
      for (std::size_t tile = to.tiles(); tile-- > 0;) {
        kernel::interleave_tile<simd::best_architecture>(x.data(), stride, tile, to);
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

/// Pairs of bf16, of weights that are bf16: activations lose as much as by int8's codes at most.
template <class Architecture>
void check_bfloat16_panels() {
  for (const std::size_t m : {1U, 2U, 5U, 6U, 7U, 12U, 13U, 25U}) {
    for (const std::size_t k : {1U, 2U, 31U, 33U, 1024U, 1055U, 2081U}) {
      constexpr std::size_t panel = kernel::interleaved_cols<kernel::bfloat16_pair>;
      for (const std::size_t part_cols : {panel, 3 * panel}) {
        nibble_test::require_kernel_products<Architecture, nibble::bf16, std::int8_t>(
            m, k, {}, m,
            [=](const tensor_view& w, std::uint64_t first, std::size_t count,
                const std::vector<float>& x, const auto&, const kernel::product_output& y) {
              for (std::size_t from = 0; from < k; from += part_cols) {
                const std::size_t cols = std::min(part_cols, k - from);
                const guarded_memory<kernel::bfloat16_pair> memory(m * ((cols + 1) / 2),
                                                                   placed::against_the_page_behind);
                const kernel::interleaved_activations<kernel::bfloat16_pair> part{
                    m, kernel::float_tile_rows<Architecture>, from, cols, memory.span().data()};
                for (std::size_t tile = 0; tile < part.tiles(); ++tile) {
                  kernel::interleave_tile<Architecture>(x.data(), k, tile, part);
                }
                kernel::multiply_float_panels<Architecture, kernel::bfloat16_pair>(
                    {}, w, {first, count}, part, y);
              }
            });
      }
    }
  }
}

TEST_CASE("products of panels of bf16 with few and many rows lie within int8's bound",
          "[float_panel_products]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_bfloat16_panels<Architecture>(); });
  SUCCEED("every number of rows");
}

TEST_CASE("activations in pairs are x rounded to bf16, tile by tile and pair by pair",
          "[float_panel_products]") {
  constexpr std::size_t stride = 1400;
  const auto x = nibble_test::gaussian(7 * stride, 3, 1.0F);
  for (const std::size_t rows : {1U, 4U, 7U}) {
    for (const std::size_t cols : {1U, 10U, 11U, 511U, 512U, 513U, 1331U}) {
      constexpr std::size_t most = 4;
      const std::size_t pairs = (cols + 1) / 2;
      std::vector<kernel::bfloat16_pair> values(rows * pairs + 1, -1);
      const kernel::interleaved_activations<kernel::bfloat16_pair> to{rows, most, 20, cols,
                                                                      values.data()};
      for (std::size_t tile = to.tiles(); tile-- > 0;) {
        kernel::interleave_tile<simd::best_architecture>(x.data(), stride, tile, to);
      }
      std::size_t at = 0;
      for (std::size_t m = 0; m < rows; m += to.tile_rows(m)) {
        for (std::size_t k = 0; k < cols; k += 2) {
          for (std::size_t row = m; row < m + to.tile_rows(m); ++row, ++at) {
            const float* const from = x.data() + row * stride + 20 + k;
            const auto found = std::bit_cast<std::array<nibble::bfloat16, 2>>(values[at]);
            const nibble::bfloat16 second =
                k + 1 < cols ? nibble::to_bfloat16(from[1]) : nibble::bfloat16{};
            if (found[0] != nibble::to_bfloat16(from[0]) || found[1] != second) {
              FAIL("row " << row << " column " << k << " of " << cols);
            }
          }
        }
      }
      CHECK(at == rows * pairs);
      CHECK(values.back() == -1);
    }
  }
}

}  // namespace
