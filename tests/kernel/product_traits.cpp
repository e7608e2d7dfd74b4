#include <nibble/kernel/product_traits.hpp>

#include <cstdint>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>

#include <support/catch.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
using nibble::tensor_view;

TEST_CASE("weights with a scale for every 16 are decoded before products with f32",
          "[product_traits]") {
  static_assert(kernel::decodes_to_f32_first<nibble::q6_k, float>());
  static_assert(!kernel::decodes_to_f32_first<nibble::q4_k, float>());
  static_assert(!kernel::decodes_to_f32_first<nibble::q4_0, float>());
  static_assert(!kernel::has_block_scales<nibble::q6_k>() && kernel::has_block_scales<nibble::q4_k>());
  static_assert(kernel::largest_byte_code<nibble::q4_k>() == 15);
  static_assert(kernel::largest_byte_code<nibble::q5_1>() == 31);
  static_assert(kernel::largest_byte_code<nibble::mxfp4>() == 255);
  static_assert(kernel::largest_byte_code<nibble::q4_0>() == 15);
  static_assert(kernel::largest_byte_code<nibble::q8_0>() == 255);
  using portable = nibble::simd::portable;
  static_assert(kernel::has_code_products<portable, nibble::q6_k, std::int8_t>() &&
                kernel::has_code_products<portable, nibble::q6_k, std::int16_t>());
  static_assert(!kernel::has_code_panels<portable, nibble::q6_k, std::int8_t>() &&
                kernel::has_code_panels<portable, nibble::q6_k, std::int16_t>() &&
                kernel::has_repacked_panels<portable, nibble::q6_k, std::int16_t>());
  static_assert(kernel::has_code_panels<portable, nibble::q3_k, std::int8_t>() &&
                kernel::has_repacked_panels<portable, nibble::q4_k, std::int8_t>());
  static_assert(kernel::has_code_products<portable, nibble::q5_k, std::int8_t>() &&
                !kernel::has_code_panels<portable, nibble::q5_k, std::int8_t>());
  static_assert(!kernel::has_code_products<portable, nibble::iq4_xs, std::int8_t>());
  static_assert(kernel::unpacks_in_registers<nibble::q5_0>() &&
                !kernel::unpacks_in_registers<nibble::mxfp4>() &&
                !kernel::unpacks_in_registers<nibble::q4_0>());
  SUCCEED("the assertions were compiled");
}

TEST_CASE("rows that start inside a block are no rows of blocks", "[product_traits]") {
  const auto bytes = nibble_test::finite_stored_bytes(nibble::encoding::apr_q4, 3, 33, 1);
  CHECK_FALSE(kernel::rows_are_blocks<nibble::apr_q4>(
      tensor_view("w", nibble::encoding::apr_q4, {3, 33}, bytes)));
}

}  // namespace
