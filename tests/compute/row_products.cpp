#include <nibble/compute/row_products.hpp>

#include <cstddef>
#include <cstdint>

#include <compute/kernel_products.hpp>
#include <support/catch.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

template <class Architecture, class Codec, class Value>
void check(std::size_t m, std::size_t k) {
  nibble_test::require_kernel_products<Architecture, Codec, Value>(
      m, k,
      [m](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& x,
          const auto& y) { kernel::multiply_rows<Architecture, Codec>(w, first, count, x, m, y); });
}

template <class Architecture>
void check_all() {
  for (std::size_t m = 1; m <= kernel::max_row_products; ++m) {
    for (const std::size_t k : {32U, 64U, 544U, 4128U}) {
      check<Architecture, nibble::q4, float>(m, k);
      check<Architecture, nibble::q4, std::int16_t>(m, k);
      check<Architecture, nibble::q4, std::int8_t>(m, k);
      check<Architecture, nibble::apr_q4, float>(m, k);
      check<Architecture, nibble::apr_q4, std::int8_t>(m, k);
    }
    for (const std::size_t k : {1U, 256U, 545U, 4127U}) {
      check<Architecture, nibble::q4_k, float>(m, k);
      check<Architecture, nibble::q4_k, std::int16_t>(m, k);
      check<Architecture, nibble::q4_k, std::int8_t>(m, k);
      check<Architecture, nibble::q5_0, float>(m, k);
      check<Architecture, nibble::q5_0, std::int16_t>(m, k);
      check<Architecture, nibble::iq4_xs, std::int16_t>(m, k);
      check<Architecture, nibble::q6_k, float>(m, k);
    }
    for (const std::size_t k : {1U, 33U, 545U, 4127U}) {
      check<Architecture, nibble::q8, float>(m, k);
      check<Architecture, nibble::q8, std::int16_t>(m, k);
      check<Architecture, nibble::apr_q8, float>(m, k);
      check<Architecture, nibble::apr_q8, std::int16_t>(m, k);
      check<Architecture, nibble::f16, float>(m, k);
    }
  }
}

TEST_CASE("row products of every number of rows lie within their bound", "[row_products]") {
  SECTION("best architecture") { check_all<simd::block_architecture<simd::best_architecture>>(); }
  SECTION("portable") { check_all<simd::portable>(); }
  SUCCEED("every number of rows");
}

}  // namespace
