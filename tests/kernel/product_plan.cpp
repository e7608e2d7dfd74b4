#include <nibble/kernel/product_plan.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

#include <nibble/compute/repack.hpp>

#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
using kernel::product_kernel;
using nibble::encoding;
using nibble::matmul_mode;
using nibble::tensor_view;

using best = nibble::simd::best_architecture;
using twin = nibble::simd::portable;

template <class Architecture>
product_kernel kernel_for(encoding which, std::size_t k, std::size_t m, matmul_mode mode,
                          std::size_t outputs = 3) {
  const auto bytes = nibble_test::finite_stored_bytes(which, outputs, k, 1);
  const tensor_view w("w", which, {outputs, k}, bytes);
  return kernel::choose_product_plan<Architecture>(w, m, mode, nullptr).kernel;
}

/// Rows of x up to which this encoding has a lane a weight row.
template <class Architecture>
std::size_t most_lane_rows_of(encoding which, matmul_mode mode) {
  if (which != encoding::q4 && which != encoding::q8) return 0;
  using nibble::q4, nibble::q8;
  using integers = nibble::simd::integer_architecture<Architecture>;
  const bool is_q4 = which == encoding::q4;
  switch (mode) {
    case matmul_mode::exact:
      return is_q4 ? kernel::most_lane_rows<Architecture, q4, float>()
                   : kernel::most_lane_rows<Architecture, q8, float>();
    case matmul_mode::int16:
      return is_q4 ? kernel::most_lane_rows<integers, q4, std::int16_t>()
                   : kernel::most_lane_rows<integers, q8, std::int16_t>();
    default:
      return is_q4 ? kernel::most_lane_rows<integers, q4, std::int8_t>()
                   : kernel::most_lane_rows<integers, q8, std::int8_t>();
  }
}

template <class Architecture>
void check_row_limits() {
  const auto require = [](encoding which, std::size_t k, matmul_mode mode, std::size_t least_rows,
                          product_kernel few, product_kernel many) {
    const std::size_t most_lane_rows = most_lane_rows_of<Architecture>(which, mode);
    for (std::size_t m = 1; m < 80; ++m) {
      const product_kernel found = kernel_for<Architecture>(which, k, m, mode);
      // With vectors of 16 lanes there are panels right behind them.
      const bool has_few = most_lane_rows == 0 || nibble::simd::lanes<Architecture> < 16;
      const product_kernel expected = m <= most_lane_rows         ? product_kernel::lane_rows
                                      : has_few && m < least_rows ? few
                                                                  : many;
      if (found != expected) {
        FAIL(nibble::to_string(which) << " K " << k << " M " << m << " " << nibble::to_string(mode));
      }
    }
  };
  for (const encoding which : {encoding::q4, encoding::q8, encoding::apr_q8}) {
    require(which, 512, matmul_mode::exact, 16, product_kernel::small_batch,
            product_kernel::float_panels);
    require(which, 512, matmul_mode::int16, 16, product_kernel::small_batch,
            product_kernel::code_panels);
  }
  for (const encoding which : {encoding::q2_k, encoding::q3_k, encoding::q4_k, encoding::q5_k,
                               encoding::q6_k, encoding::q5_0, encoding::q5_1}) {
    require(which, 512, matmul_mode::exact, 16, product_kernel::small_batch,
            product_kernel::float_panels);
    require(which, 512, matmul_mode::int16, 16, product_kernel::bit_codes, product_kernel::code_panels);
    const bool is_super_block =
        nibble::describe(which).block_elements == 256 &&
        nibble::simd::has_super_block_operations<nibble::simd::integer_architecture<Architecture>>;
    require(which, 512, matmul_mode::int8, 13,
            is_super_block ? product_kernel::super_blocks : product_kernel::bit_codes,
            product_kernel::code_panels);
  }
  // No codes at all: exact in every mode.
  for (const matmul_mode mode : {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8}) {
    require(encoding::f16, 512, mode, 20, product_kernel::small_batch, product_kernel::float_panels);
    // Where bf16 is multiplied, int8 takes panels of it.
    const bool rounds = mode == matmul_mode::int8 && nibble::simd::multiplies_bfloat16<Architecture>;
    require(encoding::bf16, 512, mode, rounds ? 4 : 20, product_kernel::small_batch,
            product_kernel::float_panels);
    require(encoding::f64, 512, mode, 1, product_kernel::small_batch, product_kernel::float_panels);
    require(encoding::apr_q4, 33, mode, 1, product_kernel::small_batch, product_kernel::float_panels);
  }
  SUCCEED("every number of rows");
}

TEST_CASE("kernels change at the documented numbers of rows", "[product_plan]") {
  check_row_limits<best>();
  check_row_limits<twin>();
}

TEST_CASE("a lane a weight row is for few rows of x, whatever the number of outputs",
          "[product_plan]") {
  constexpr std::size_t lanes = nibble::simd::lanes<nibble::simd::integer_architecture<best>>;
  for (std::size_t m = 1; m < 80; ++m) {
    for (const encoding which : {encoding::q4, encoding::q8}) {
      const auto is_lane_rows = [&](matmul_mode mode, std::size_t outputs) {
        return kernel_for<best>(which, 544, m, mode, outputs) == product_kernel::lane_rows;
      };
      const bool is_nibbles = which == encoding::q4;
      if (lanes >= 16) {
        CHECK(is_lane_rows(matmul_mode::exact, lanes) == (m <= 32));
        CHECK(is_lane_rows(matmul_mode::int16, lanes) == (m <= (is_nibbles ? 8U : 12U)));
      } else {
        CHECK_FALSE(is_lane_rows(matmul_mode::exact, lanes));
        CHECK(is_lane_rows(matmul_mode::int16, lanes) == (lanes == 8 && m <= (is_nibbles ? 2U : 1U)));
      }
      if (is_nibbles) {
        CHECK(is_lane_rows(matmul_mode::int8, lanes) == (m <= (lanes >= 16  ? 64U
                                                               : lanes == 8 ? 8U
                                                                            : 0U)));
      }
      if (!is_nibbles && lanes >= 16) {
        const bool is_bytes =
            nibble::simd::multiplies_any_byte<nibble::simd::integer_architecture<best>>;
        CHECK(is_lane_rows(matmul_mode::int8, lanes) == (m <= (is_bytes ? 32U : 12U)));
      }
      // Products of a few rows of a weight are the bits that they are among the others.
      for (const auto mode : {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8}) {
        CHECK(is_lane_rows(mode, 1) == is_lane_rows(mode, 1000));
      }
    }
    // Their codes are unpacked first, or there are none.
    for (const encoding which : {encoding::q4_k, encoding::f16, encoding::apr_q8}) {
      CHECK(kernel_for<best>(which, 512, m, matmul_mode::int8, 64) != product_kernel::lane_rows);
    }
  }
}

TEST_CASE("interleaved rows have a lane each, with f32 up to where panels begin", "[product_plan]") {
  const auto check = []<class Architecture>(Architecture) {
    for (std::size_t m = 1; m < 80; ++m) {
      const std::size_t most_float = nibble::simd::lanes<Architecture> >= 16 ? 32 : 15;
      const auto kernel_of = [&](encoding which, matmul_mode mode) {
        return kernel_for<Architecture>(which, 544, m, mode);
      };
      for (const encoding which : {encoding::q4_r8, encoding::q8_r8}) {
        CAPTURE(m, nibble::to_string(which));
        CHECK(kernel_of(which, matmul_mode::exact) ==
              (m <= most_float ? product_kernel::lane_rows : product_kernel::float_panels));
        CHECK(kernel_of(which, matmul_mode::int16) == product_kernel::lane_rows);
        CHECK(kernel_of(which, matmul_mode::int8) == product_kernel::lane_rows);
      }
    }
  };
  check(best{});
  check(twin{});
}

TEST_CASE("repacked panels are used by the kernels that they were made for, at any number of rows",
          "[product_plan]") {
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 3, 512, 1);
  const tensor_view w("w", encoding::q4, {3, 512}, bytes);
  for (const matmul_mode mode : {matmul_mode::int16, matmul_mode::int8}) {
    const nibble::repacked_weight repacked = nibble::repack<best>(w, mode);
    const nibble::repacked_weight foreign = nibble::repack<twin>(w, mode);
    for (const std::size_t m : {1U, 12U, 13U, 40U}) {
      CHECK(kernel::choose_product_plan<best>(w, m, mode, &repacked.panels()).kernel ==
            product_kernel::repacked_panels);
      constexpr bool is_same_width = nibble::simd::lanes<best> == nibble::simd::lanes<twin>;
      CHECK((kernel::choose_product_plan<best>(w, m, mode, &foreign.panels()).kernel ==
             product_kernel::repacked_panels) == is_same_width);
    }
  }
  // Words that are taken out of three or six bits are faster in panels that are filled for many rows.
  for (const encoding which : {encoding::q3_k, encoding::q6_k, encoding::q4_k}) {
    const auto own_bytes = nibble_test::finite_stored_bytes(which, 3, 512, 1);
    const tensor_view own("own", which, {3, 512}, own_bytes);
    const nibble::repacked_weight copy = nibble::repack<best>(own, matmul_mode::int16);
    for (const std::size_t m : {1U, 19U, 32U, 100U}) {
      const bool is_repacked = m < 32 || which == encoding::q4_k;
      CHECK(kernel::choose_product_plan<best>(own, m, matmul_mode::int16, &copy.panels()).kernel ==
            (is_repacked ? product_kernel::repacked_panels : product_kernel::code_panels));
    }
  }
  // Nothing was repacked for exact products, nor for what has no products of codes.
  const nibble::repacked_weight exact = nibble::repack<best>(w, matmul_mode::exact);
  CHECK(kernel::choose_product_plan<best>(w, 1, matmul_mode::exact, &exact.panels()).kernel ==
        (most_lane_rows_of<best>(encoding::q4, matmul_mode::exact) == 0 ? product_kernel::small_batch
                                                                        : product_kernel::lane_rows));
}

TEST_CASE("products share activations that are laid out alike, whatever their kernels",
          "[product_plan]") {
  const auto q4 = nibble_test::finite_stored_bytes(encoding::q4, 3, 512, 1);
  const auto q4_1 = nibble_test::finite_stored_bytes(encoding::q4_1, 5, 512, 1);
  const tensor_view a("a", encoding::q4, {3, 512}, q4);
  const tensor_view b("b", encoding::q4_1, {5, 512}, q4_1);
  for (const std::size_t m : {1U, 20U}) {
    const auto plan_of = [&](const tensor_view& w, matmul_mode mode) {
      return kernel::choose_product_plan<best>(w, m, mode, nullptr);
    };
    CHECK(plan_of(a, matmul_mode::int8).activations == plan_of(b, matmul_mode::int8).activations);
    CHECK(plan_of(a, matmul_mode::int8).activations != plan_of(a, matmul_mode::int16).activations);
    CHECK(plan_of(a, matmul_mode::int8).activations != plan_of(a, matmul_mode::exact).activations);
  }
}

}  // namespace
