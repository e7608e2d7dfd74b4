#include <nibble/kernel/code_panel_products.hpp>

#include <cstddef>
#include <cstdint>

#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

template <class Architecture, class Codec, class Value>
void check_code_panel(std::size_t m, std::size_t k) {
  nibble_test::require_kernel_products<Architecture, Codec, Value>(
      m, k, {kernel::activation_order_of<Codec>(), 1}, kernel::code_tile_rows<Architecture>,
      [=](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& prepared,
          const auto& y) {
        kernel::multiply_code_panels<Architecture>(
            kernel::code_panel_source_of<Architecture, Codec, Value>(), w, {first, count}, prepared, y);
      });
}

template <class Architecture>
void check_code_panels() {
  for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 6U, 8U, 13U}) {
    for (const std::size_t k : {32U, 1056U}) {
      check_code_panel<Architecture, nibble::q4, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q4, std::int8_t>(m, k);
      check_code_panel<Architecture, nibble::apr_q4, std::int8_t>(m, k);
    }
    for (const std::size_t k : {1U, 256U, 1055U, 2100U}) {
      check_code_panel<Architecture, nibble::q4_k, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q4_k, std::int8_t>(m, k);
      check_code_panel<Architecture, nibble::q5_0, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q6_k, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q2_k, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q2_k, std::int8_t>(m, k);
      check_code_panel<Architecture, nibble::q3_k, std::int8_t>(m, k);
      if constexpr (kernel::has_code_panels<Architecture, nibble::q6_k, std::int8_t>()) {
        check_code_panel<Architecture, nibble::q6_k, std::int8_t>(m, k);
      }
    }
    for (const std::size_t k : {1U, 33U, 1055U}) {
      check_code_panel<Architecture, nibble::q8, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::apr_q8, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q4_r8, std::int16_t>(m, k);
      check_code_panel<Architecture, nibble::q4_r8, std::int8_t>(m, k);
      check_code_panel<Architecture, nibble::q8_r8, std::int16_t>(m, k);
    }
  }
}

TEST_CASE("products of panels of codes with few and many rows lie within their bound",
          "[code_panel_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_code_panels<simd::integer_architecture<Architecture>>();
  });
  SUCCEED("every number of rows");
}

}  // namespace
