#include <nibble/compute/matmul.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <codec/independent_decoder.hpp>
#include <compute/guarded_memory.hpp>
#include <compute/shuffled_executor.hpp>
#include <compute/stored_tensors.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>

namespace {

using nibble::encoding;
using nibble::error_code;
using nibble::tensor_view;
using nibble_test::decodable_encodings;
using nibble_test::finite_stored_bytes;
using nibble_test::guarded_memory;
using nibble_test::placed;

using best = nibble::simd::best_architecture;
using twin = nibble::simd::portable;

/// x[M x K] and w[N x K], and their products in double with the bound that matmul.hpp documents.
struct problem {
  problem(encoding which, std::size_t rows, std::size_t outputs, std::size_t inputs, std::uint32_t seed)
      : m(rows), n(outputs), k(inputs), bytes(finite_stored_bytes(which, outputs, inputs, seed)) {
    x = nibble_test::gaussian(m * k, seed + 7, 1.0F);
    const auto w = nibble_test::independent_decoder(nibble::to_string(which), bytes, k).rows(0, n);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double product = 0.0;
        double magnitudes = 0.0;
        for (std::size_t at = 0; at < k; ++at) {
          const double term = static_cast<double>(x[i * k + at]) * static_cast<double>(w[j * k + at]);
          product += term;
          magnitudes += std::fabs(term);
        }
        products.push_back(product);
        // (K + 2) u, with the terms beyond first order: n u / (1 - n u). The double sums err by 2^-53 a
        // term, some 2^-29 of this.
        const double roundings = (static_cast<double>(k) + 2.0) * 0x1p-24;
        bounds.push_back(roundings / (1.0 - roundings) * magnitudes);
      }
    }
  }

  std::size_t m;
  std::size_t n;
  std::size_t k;
  std::vector<std::byte> bytes;
  std::vector<float> x;
  std::vector<double> products;  ///< m x n
  std::vector<double> bounds;
};

/// Multiplies by the first `outputs` rows of the weight for the first `rows` of x, and holds every
/// product against its bound. Output and floats around it are watched.
template <class Architecture>
void require_products(const problem& of, encoding which, std::size_t rows, std::size_t outputs) {
  const auto size = static_cast<std::size_t>(*nibble::stored_bytes(which, {outputs, of.k}));
  const tensor_view w("w", which, {outputs, of.k}, std::span(of.bytes).first(size));
  std::vector<float> y(rows * outputs + 2, -7777.0F);
  nibble::matmul<Architecture>(w, std::span(of.x).first(rows * of.k),
                               std::span(y).subspan(1, rows * outputs));
  if (y.front() != -7777.0F || y.back() != -7777.0F) FAIL("wrote outside y");
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < outputs; ++j) {
      const auto actual = static_cast<double>(y[1 + i * outputs + j]);
      const double error = std::fabs(actual - of.products[i * of.n + j]);
      if (!(error <= of.bounds[i * of.n + j])) {
        FAIL(fmt::format("{} M {} N {} K {}: y[{}][{}] is {} instead of {}", nibble::to_string(which),
                         rows, outputs, of.k, i, j, actual, of.products[i * of.n + j]));
      }
    }
  }
}

TEST_CASE("products of every encoding lie within the documented bound of the real ones", "[matmul]") {
  std::size_t shapes = 0;
  std::size_t turn = 0;
  for (const encoding which : decodable_encodings) {
    for (const std::size_t k : {1U, 31U, 32U, 33U, 172U, 1023U, 1024U, 1025U, 2049U}) {
      const problem of(which, 17, 33, k, static_cast<std::uint32_t>(k + 1));
      for (const std::size_t m : {0U, 1U, 2U, 3U, 4U, 5U, 7U, 16U, 17U}) {
        for (const std::size_t n : {1U, 2U, 15U, 16U, 17U, 33U}) {
          // Of the long products every fifth: each M and N meets each K, under one encoding or another.
          if (k > 100 && ++turn % 5 != 0) continue;
          require_products<best>(of, which, m, n);
          ++shapes;
        }
      }
    }
  }
  CHECK(shapes >= 12 * 4 * 9 * 6 + 12 * 5 * 9 * 6 / 5);
}

TEST_CASE("the portable products lie within the same bound", "[matmul]") {
  for (const encoding which : decodable_encodings) {
    for (const std::size_t k : {1U, 7U, 8U, 9U, 33U, 172U, 1025U}) {
      const problem of(which, 5, 17, k, static_cast<std::uint32_t>(k + 3));
      for (const std::size_t m : {1U, 3U, 4U, 5U}) {
        for (const std::size_t n : {1U, 2U, 17U}) require_products<twin>(of, which, m, n);
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("every number of inputs around the vector widths is summed to its end", "[matmul]") {
  for (const encoding which : {encoding::f32, encoding::q4, encoding::apr_q4, encoding::apr_q8}) {
    for (std::size_t k = 1; k <= 70; ++k) {
      const problem of(which, 5, 3, k, static_cast<std::uint32_t>(k));
      require_products<best>(of, which, 5, 3);
      require_products<best>(of, which, 1, 3);
    }
    for (std::size_t k = 1020; k <= 1060; ++k) {
      const problem of(which, 2, 3, k, static_cast<std::uint32_t>(k));
      require_products<best>(of, which, 2, 3);
    }
  }
  SUCCEED("every K");
}

TEST_CASE("each output is the product of its own rows and no others", "[matmul]") {
  // Whole numbers, whose sums are exact in any order: any wrong pairing is a wrong number.
  constexpr std::size_t m = 9;
  constexpr std::size_t n = 35;
  constexpr std::size_t k = 1100;
  const auto bytes = nibble_test::random_bytes(n * k, 3);
  std::vector<float> x(m * k);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(static_cast<int>(i * 2654435761U % 13U) - 6);
  std::vector<float> y(m * n);
  nibble::matmul(tensor_view("w", encoding::i8, {n, k}, bytes), x, y);
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      long sum = 0;
      for (std::size_t at = 0; at < k; ++at) {
        sum += static_cast<long>(x[i * k + at]) * std::to_integer<std::int8_t>(bytes[j * k + at]);
      }
      if (static_cast<double>(y[i * n + j]) != static_cast<double>(sum))
        FAIL("y[" << i << "][" << j << "]");
    }
  }
  SUCCEED("every output");
}

TEST_CASE("products do not depend on the executor", "[matmul]") {
  nibble_test::shuffled_executor threads(4);
  for (const encoding which : decodable_encodings) {
    const problem of(which, 5, 100, 1100, 12);
    const tensor_view w("w", which, {of.n, of.k}, of.bytes);
    std::vector<float> serial(of.m * of.n);
    std::vector<float> parallel(of.m * of.n);
    nibble::matmul(w, of.x, serial);
    nibble::matmul(w, of.x, parallel, {.on = &threads});
    CHECK(nibble_test::first_difference(serial, parallel) == -1);
  }
  CHECK(threads.tasks_run >= decodable_encodings.size() * 2);
}

TEST_CASE("products need no alignment and stay between the guard pages", "[matmul]") {
  for (const encoding which : decodable_encodings) {
    for (const std::size_t k : {1U, 15U, 33U, 64U, 1025U}) {
      const problem of(which, 5, 18, k, 21);
      const tensor_view plain("w", which, {of.n, of.k}, of.bytes);
      std::vector<float> expected(of.m * of.n);
      nibble::matmul(plain, of.x, expected);
      for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
        const guarded_memory<std::byte> bytes{std::span<const std::byte>(of.bytes), where};
        const guarded_memory<float> x{std::span<const float>(of.x), where};
        const guarded_memory<float> y(of.m * of.n, where);
        nibble::matmul(tensor_view("w", which, {of.n, of.k}, bytes.span()), x.span(), y.span());
        if (nibble_test::first_difference(y.span(), expected) != -1)
          FAIL(nibble::to_string(which) << " K " << k);
      }
      for (std::size_t offset = 0; offset<64; offset += k> 100 ? 13 : 1) {
        std::vector<std::byte> moved(of.bytes.size() + offset);
        std::copy(of.bytes.begin(), of.bytes.end(),
                  moved.begin() + static_cast<std::ptrdiff_t>(offset));
        std::vector<float> x(of.x.size() + offset);
        std::copy(of.x.begin(), of.x.end(), x.begin() + static_cast<std::ptrdiff_t>(offset));
        std::vector<float> y(expected.size() + offset);
        nibble::matmul(tensor_view("w", which, {of.n, of.k}, std::span(moved).subspan(offset)),
                       std::span<const float>(x).subspan(offset), std::span(y).subspan(offset));
        if (nibble_test::first_difference(std::span(y).subspan(offset), expected) != -1)
          FAIL("offset " << offset);
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("not-numbers and infinities spoil the rows they are in and no others", "[matmul]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const std::size_t k : {1U, 33U, 1025U}) {
    const problem of(encoding::f32, 6, 18, k, 5);
    const tensor_view w("w", encoding::f32, {of.n, of.k}, of.bytes);
    std::vector<float> clean(of.m * of.n);
    nibble::matmul(w, of.x, clean);
    for (const float bad : {nan, infinity, -infinity}) {
      for (std::size_t row = 0; row < of.m; ++row) {
        auto x = of.x;
        x[row * k + (row * 7 + k - 1) % k] = bad;
        std::vector<float> y(of.m * of.n);
        nibble::matmul(w, x, y);
        for (std::size_t i = 0; i < of.m; ++i) {
          for (std::size_t j = 0; j < of.n; ++j) {
            const float found = y[i * of.n + j];
            const bool right = i != row          ? found == clean[i * of.n + j]
                               : std::isnan(bad) ? std::isnan(found)
                                                 : std::isinf(found);
            if (!right) FAIL(bad << " in row " << row << ": y[" << i << "][" << j << "] = " << found);
          }
        }
      }
    }
  }
  SUCCEED("every row");
}

TEST_CASE("a weight that is not finite spoils its own output alone", "[matmul]") {
  constexpr std::size_t n = 19;
  constexpr std::size_t k = 70;
  auto bytes = finite_stored_bytes(encoding::q4, n, k, 6);
  // The scale of row 5's last, partial block: NaN.
  const std::size_t at = (5 * 3 + 2) * 20;
  bytes[at] = std::byte{0x01};
  bytes[at + 1] = std::byte{0x7E};
  const auto x = nibble_test::gaussian(3 * k, 8, 1.0F);
  std::vector<float> y(3 * n);
  nibble::matmul(tensor_view("w", encoding::q4, {n, k}, bytes), x, y);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i % n == 5));
}

TEST_CASE("without inputs every product is zero, and without outputs there is none", "[matmul]") {
  for (const encoding which : decodable_encodings) {
    std::vector<float> y(3 * 5, 9.0F);
    nibble::matmul(tensor_view("w", which, {5, 0}, {}), std::span<const float>(), y);
    CHECK(y == std::vector<float>(15, 0.0F));
    const std::vector<float> x(3 * 7, 1.0F);
    std::vector<float> nothing;
    CHECK_FALSE(nibble_test::code_of([&] {
      nibble::matmul(tensor_view("w", which, {0, 7}, {}), std::span<const float>(x), nothing);
    }));
    CHECK_FALSE(nibble_test::code_of([&] {
      nibble::matmul(tensor_view("w", which, {0, 0}, {}), std::span<const float>(), nothing);
    }));
  }
}

TEST_CASE("sizes that are no M x K and M x N are refused by name", "[matmul]") {
  const auto bytes = finite_stored_bytes(encoding::q8, 5, 40, 9);
  const tensor_view w("q_proj", encoding::q8, {5, 40}, bytes);
  for (const auto& [x_size, y_size] : {std::pair{39U, 5U},
                                       {41U, 5U},
                                       {40U, 4U},
                                       {40U, 6U},
                                       {80U, 5U},
                                       {40U, 10U},
                                       {0U, 5U},
                                       {40U, 0U},
                                       {1U, 0U},
                                       {79U, 5U},
                                       {79U, 10U},
                                       {120U, 14U}}) {
    const std::vector<float> x(x_size);
    std::vector<float> y(y_size, 3.0F);
    const auto thrown = nibble_test::error_of([&] { nibble::matmul(w, x, y); });
    CAPTURE(x_size, y_size);
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::invalid_argument);
    CHECK(thrown->detail().tensor == "q_proj");
    CHECK(thrown->detail().found == fmt::format("{} and {}", x_size, y_size));
    CHECK(y == std::vector<float>(y_size, 3.0F));
  }
  const tensor_view no_inputs("w", encoding::q8, {5, 0}, {});
  std::vector<float> six(6);
  CHECK(nibble_test::code_of([&] { nibble::matmul(no_inputs, std::span<const float>(), six); }) ==
        error_code::invalid_argument);
  const tensor_view nothing("w", encoding::q8, {0, 0}, {});
  CHECK(nibble_test::code_of([&] { nibble::matmul(nothing, std::span<const float>(), six); }) ==
        error_code::invalid_argument);
}

TEST_CASE("a weight that cannot be decoded is refused by name", "[matmul]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_decodable(row.encoding)) continue;
    const auto bytes =
        nibble_test::random_bytes(static_cast<std::size_t>(*nibble::stored_bytes(row, 2, 256)), 1);
    const std::vector<float> x(256);
    std::vector<float> y(2);
    const auto thrown = nibble_test::error_of([&] {
      nibble::matmul(tensor_view("ffn", row.encoding, {2, 256}, bytes), x, y);
    });
    REQUIRE(thrown);
    CHECK(thrown->code() == error_code::unsupported_encoding);
    CHECK(thrown->detail().tensor == "ffn");
  }
  const nibble::tensor_info unknown{.name = "odd", .dtype_id = 77, .shape = {1, 4}, .size_bytes = 4};
  const auto bytes = nibble_test::random_bytes(4, 2);
  const std::vector<float> x(4);
  std::vector<float> y(1);
  CHECK(nibble_test::code_of([&] { nibble::matmul(tensor_view(unknown, bytes), x, y); }) ==
        error_code::unsupported_encoding);
}

TEST_CASE("a vector is one output and a stack of matrices all their rows", "[matmul]") {
  const problem of(encoding::q4, 3, 6, 50, 14);
  std::vector<float> flat(18);
  nibble::matmul(tensor_view("w", encoding::q4, {6, 50}, of.bytes), of.x, flat);
  std::vector<float> stacked(18);
  nibble::matmul(tensor_view("w", encoding::q4, {2, 3, 50}, of.bytes), of.x, stacked);
  CHECK(flat == stacked);
  std::vector<float> one(3);
  nibble::matmul(tensor_view("w", encoding::q4, {50}, std::span(of.bytes).first(40)), of.x, one);
  for (std::size_t i = 0; i < 3; ++i) CHECK(one[i] == flat[i * 6]);
}

}  // namespace
