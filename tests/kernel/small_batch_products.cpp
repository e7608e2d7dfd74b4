#include <nibble/kernel/small_batch_products.hpp>

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// Of one tile of m rows, and of several.
template <class Architecture, class Codec, class Value>
void check_small_batch(std::size_t m, std::size_t k) {
  for (const std::size_t most : {m, m / 2 + 1}) {
    nibble_test::require_kernel_products<Architecture, Codec, Value>(
        m, k, kernel::small_batch_layout<Architecture, Codec, Value>(), most,
        [m](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& x,
            const auto& y) {
          for (std::size_t row = 0; row < m; row += x.tile_rows(row)) {
            kernel::product_output part = y;
            part.y += row * y.stride_elements;
            kernel::multiply_small_batch<Architecture, Codec>(w, {first, count}, x.tile(row), part);
          }
        });
  }
}

template <class Architecture, class Value, class... Codecs>
void check_small_batches_of(std::initializer_list<std::size_t> lengths) {
  constexpr std::size_t most = kernel::max_small_batch_rows<Architecture, Value>();
  for (std::size_t m = 1; m <= most; ++m) {
    for (const std::size_t k : lengths) {
      if (!nibble_test::multiplies_rows_of<Architecture>(k, m, most)) continue;
      (check_small_batch<Architecture, Codecs, Value>(m, k), ...);
    }
  }
}

template <class Architecture>
void check_small_batches() {
  using nibble::apr_q4, nibble::apr_q8, nibble::f16, nibble::q4, nibble::q8;
  using nibble::q4_0, nibble::q8_0, nibble::q4_k, nibble::q5_0, nibble::q6_k, nibble::mxfp4;
  check_small_batches_of<Architecture, float, q4, apr_q4>({32, 64, 544, 4128});
  check_small_batches_of<Architecture, std::int16_t, q4, apr_q4>({32, 64, 544, 4128});
  check_small_batches_of<Architecture, std::int8_t, q4, apr_q4>({32, 64, 224, 256, 544, 4128});
  check_small_batches_of<Architecture, float, q8, apr_q8, f16>({1, 33, 545, 4127});
  check_small_batches_of<Architecture, std::int16_t, q8, apr_q8>({1, 33, 545, 4127});
  check_small_batches_of<Architecture, float, q4_0, q8_0, q4_k, q5_0, q6_k>({1, 256, 545, 4127});
  check_small_batches_of<Architecture, std::int16_t, q8_0, mxfp4>({1, 256, 545, 4127});
  check_small_batches_of<Architecture, std::int8_t, q4_0>({1, 256, 545, 4127});
}

TEST_CASE("small-batch products of every number of rows lie within their bound",
          "[small_batch_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_small_batches<simd::block_architecture<Architecture>>();
  });
  SUCCEED("every number of rows");
}

}  // namespace
