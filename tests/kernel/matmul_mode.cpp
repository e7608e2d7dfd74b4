#include <nibble/kernel/matmul_mode.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <nibble/compute/matmul.hpp>
#include <nibble/simd/simd.hpp>

#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::matmul_mode;
using nibble::tensor_view;
using nibble_test::decodable_encodings;

template <std::size_t Count>
bool is_one_of(const std::array<encoding, Count>& these, encoding which) {
  return std::find(these.begin(), these.end(), which) != these.end();
}

/// The products of every mode with one weight and the same activations.
struct products_by_mode {
  std::vector<float> exact;
  std::vector<float> int16;
  std::vector<float> int8;

  products_by_mode(encoding which, std::size_t k, std::size_t m, std::span<const std::byte> bytes) {
    constexpr std::size_t n = 21;
    const tensor_view w("w", which, {n, k}, bytes);
    const std::vector<float> x = nibble_test::gaussian(m * k, 77, 1.0F);
    for (const auto& [mode, y] : {std::pair(matmul_mode::exact, &exact),
                                  {matmul_mode::int16, &int16},
                                  {matmul_mode::int8, &int8}}) {
      y->resize(m * n);
      nibble::matmul<nibble::simd::best_architecture>(w, x, *y, {.mode = mode});
    }
  }
  products_by_mode(encoding which, std::size_t k, std::size_t m)
      : products_by_mode(which, k, m, nibble_test::finite_stored_bytes(which, 21, k, 5)) {}
};

/// The numbers of rows around which products are taken in another way.
constexpr std::array x_row_counts = {std::size_t{1}, std::size_t{4}, std::size_t{18}, std::size_t{30}};

TEST_CASE("weights without codes, or whose codec does not say where they lie, are multiplied exactly",
          "[matmul_mode]") {
  constexpr std::array always_exact = {
      encoding::f32,     encoding::f16,   encoding::bf16,  encoding::iq2_xxs, encoding::iq2_xs,
      encoding::iq3_xxs, encoding::iq1_s, encoding::iq3_s, encoding::iq2_s,   encoding::iq1_m,
      encoding::tq1_0,   encoding::tq2_0, encoding::nvfp4, encoding::q1_0,    encoding::q2_0};
  for (const encoding which : decodable_encodings) {
    const bool is_number = !nibble::describe(which).is_quantized();
    for (const std::size_t m : x_row_counts) {
      const products_by_mode y(which, 256, m);
      CAPTURE(nibble::to_string(which), m);
      const bool is_exact = is_number || is_one_of(always_exact, which);
      CHECK((y.int16 == y.exact) == is_exact);
      const bool rounds_to_bfloat16 =
          which == encoding::bf16 && m >= 4 &&
          nibble::simd::multiplies_bfloat16<nibble::simd::best_architecture>;
      CHECK((y.int8 == y.exact) == (is_exact && !rounds_to_bfloat16));
    }
  }
}

TEST_CASE("apr_q4 is multiplied exactly where rows start inside blocks", "[matmul_mode]") {
  for (const std::size_t k : {63U, 64U, 65U, 80U, 96U}) {
    for (const std::size_t m : x_row_counts) {
      const products_by_mode y(encoding::apr_q4, k, m);
      CAPTURE(k, m);
      CHECK((y.int16 == y.exact) == (k % 32 != 0));
      CHECK((y.int8 == y.exact) == (k % 32 != 0));
    }
  }
}

TEST_CASE("int8 takes 16-bit codes where bytes would saturate, or scales are large", "[matmul_mode]") {
  constexpr std::array always_bytes = {encoding::q4,   encoding::apr_q4, encoding::q4_0,
                                       encoding::q4_1, encoding::q4_k,   encoding::q2_k,
                                       encoding::q3_k, encoding::q4_r8};
  constexpr std::array bytes_of_blocks = {encoding::q5_0, encoding::q5_1, encoding::q5_k,
                                          encoding::q6_k};
  using integers = nibble::simd::integer_architecture<nibble::simd::best_architecture>;
  constexpr bool multiplies_any_byte = nibble::simd::multiplies_any_byte<integers>;
  for (const encoding which : decodable_encodings) {
    for (const std::size_t m : x_row_counts) {
      const products_by_mode y(which, 256, m);
      if (y.int16 == y.exact) continue;
      CAPTURE(nibble::to_string(which), m);
      // Codes of five bits and six fit 16-bit sums of a block, but not those of a panel.
      const bool is_bytes = is_one_of(always_bytes, which) ||
                            (is_one_of(bytes_of_blocks, which) && m < 13) ||
                            (multiplies_any_byte && which != encoding::mxfp4);
      CHECK((y.int8 == y.int16) == !is_bytes);
    }
  }
  for (const auto& [scale, is_bytes] : {std::pair(0x1p63F, multiplies_any_byte), {0x1p64F, false}}) {
    auto bytes = nibble_test::finite_stored_bytes(encoding::apr_q8, 21, 64, 5);
    std::memcpy(bytes.data(), &scale, sizeof(scale));
    const products_by_mode y(encoding::apr_q8, 64, 3, bytes);
    CAPTURE(scale);
    CHECK((y.int8 == y.int16) == !is_bytes);
  }
}

}  // namespace
