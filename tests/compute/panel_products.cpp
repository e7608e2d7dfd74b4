#include <nibble/compute/panel_products.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <compute/compiled_kernels.hpp>
#include <compute/kernel_products.hpp>
#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

template <class Architecture, class Codec, class Value>
void check(std::size_t m, std::size_t k) {
  nibble_test::require_kernel_products<Architecture, Codec, Value>(
      m, k, {kernel::order_of<Codec>(), 1}, kernel::code_tile_rows,
      [=](const auto& w, std::uint64_t first, std::size_t count, const auto& x, const auto& prepared,
          const auto& y) {
        if constexpr (std::is_same_v<Value, float>) {
          kernel::multiply_float_panels<Architecture>(kernel::decoder_of<Architecture>(w), w, first,
                                                      count, x.data(), k, m, y);
        } else {
          kernel::multiply_code_panels<Architecture>(
              kernel::panel_source_of<Architecture, Codec, Value>(), w, first, count, prepared, y);
        }
      });
}

template <class Architecture>
void check_all() {
  for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 7U, 13U}) {
    for (const std::size_t k : {32U, 1056U}) {
      check<Architecture, nibble::q4, float>(m, k);
      check<Architecture, nibble::q4, std::int16_t>(m, k);
      check<Architecture, nibble::q4, std::int8_t>(m, k);
      check<Architecture, nibble::apr_q4, std::int8_t>(m, k);
    }
    for (const std::size_t k : {1U, 256U, 1055U, 2100U}) {
      check<Architecture, nibble::q4_k, std::int16_t>(m, k);
      check<Architecture, nibble::q4_k, std::int8_t>(m, k);
      check<Architecture, nibble::q5_0, std::int16_t>(m, k);
      check<Architecture, nibble::q6_k, float>(m, k);
    }
    for (const std::size_t k : {1U, 33U, 1055U}) {
      check<Architecture, nibble::apr_q4, float>(m, k);
      check<Architecture, nibble::q8, std::int16_t>(m, k);
      check<Architecture, nibble::apr_q8, std::int16_t>(m, k);
      check<Architecture, nibble::f16, float>(m, k);
    }
  }
}

TEST_CASE("panel products of few and many rows lie within their bound", "[panel_products]") {
  SECTION("best architecture") { check_all<simd::integer_architecture<simd::best_architecture>>(); }
  SECTION("portable") { check_all<simd::portable>(); }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths(
        []<class Architecture>(Architecture) { check_all<Architecture>(); });
  }
  SUCCEED("every number of rows");
}

}  // namespace
