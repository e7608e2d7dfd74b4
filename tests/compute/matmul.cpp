#include <nibble/compute/matmul.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <codec/independent_decoder.hpp>
#include <simd/emulated_widths.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/errors.hpp>
#include <support/guarded_memory.hpp>
#include <support/memory_meter.hpp>
#include <support/product_problem.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::error_code;
using nibble::matmul_mode;
using nibble::matmul_product;
using nibble::tensor_view;
using nibble_test::decodable_encodings;
using nibble_test::finite_stored_bytes;
using nibble_test::guarded_memory;
using nibble_test::placed;
using operands = nibble_test::product_operands;
using problem = nibble_test::product_problem;

using best = nibble::simd::best_architecture;
using twin = nibble::simd::portable;

constexpr std::array every_mode = {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8};

/// Multiplies by the first `outputs` rows of the weight for the first `rows` of x, and holds every
/// product against its bound. Output and floats around it are watched.
template <class Architecture>
void require_products(const problem& of, encoding which, std::size_t rows, std::size_t outputs,
                      matmul_mode mode) {
  const auto size = static_cast<std::size_t>(*nibble::stored_bytes(which, {outputs, of.k}));
  const tensor_view w("w", which, {outputs, of.k}, std::span(of.bytes).first(size));
  std::vector<float> y(rows * outputs + 2, -7777.0F);
  nibble::matmul<Architecture>(w, std::span(of.x).first(rows * of.k),
                               std::span(y).subspan(1, rows * outputs), {.mode = mode});
  if (y.front() != -7777.0F || y.back() != -7777.0F) FAIL("wrote outside y");
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < outputs; ++j) {
      const auto actual = static_cast<double>(y[1 + i * outputs + j]);
      const double product = of.expected[i * of.n + j].product;
      if (!(std::fabs(actual - product) <= of.bound(i, j, which, rows, mode))) {
        FAIL(fmt::format("{} mode {} M {} N {} K {}: y[{}][{}] is {} instead of {} +- {}",
                         nibble::to_string(which), static_cast<int>(mode), rows, outputs, of.k, i, j,
                         actual, product, of.bound(i, j, which, rows, mode)));
      }
    }
  }
}

TEST_CASE("products of every encoding lie within the documented bound of the real ones", "[matmul]") {
  std::size_t shapes = 0;
  std::size_t turn = 0;
  for (const encoding which : decodable_encodings) {
    for (const std::size_t k : {1U, 31U, 32U, 33U, 172U, 256U, 1023U, 1024U, 1025U, 2049U}) {
      const problem of(which, 17, 33, k, static_cast<std::uint32_t>(k + 1));
      for (const std::size_t m : {0U, 1U, 2U, 3U, 4U, 5U, 7U, 16U, 17U}) {
        for (const std::size_t n : {1U, 2U, 15U, 16U, 17U, 33U}) {
          // Of the long products every fifth: each M and N meets each K, under one encoding or another.
          if (k > 100 && ++turn % 5 != 0) continue;
          require_products<best>(of, which, m, n, every_mode[turn % 3]);
          if (k <= 100) {
            for (const matmul_mode mode : every_mode) require_products<best>(of, which, m, n, mode);
          }
          ++shapes;
        }
      }
    }
  }
  CHECK(shapes >= decodable_encodings.size() * (4 * 9 * 6 + 6 * 9 * 6 / 5));
}

template <class Architecture>
void require_products_of_every_encoding() {
  for (const encoding which : decodable_encodings) {
    for (const std::size_t k : {1U, 7U, 8U, 9U, 33U, 172U, 257U, 1025U}) {
      const problem of(which, 5, 17, k, static_cast<std::uint32_t>(k + 3));
      for (const std::size_t m : {1U, 3U, 4U, 5U}) {
        for (const std::size_t n : {1U, 2U, 17U}) {
          for (const matmul_mode mode : every_mode) {
            require_products<Architecture>(of, which, m, n, mode);
          }
        }
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("the portable products lie within the same bound", "[matmul]") {
  require_products_of_every_encoding<twin>();
}

TEST_CASE("products of widths that this machine lacks lie within the same bound", "[matmul]") {
  nibble_test::for_emulated_widths(
      []<class Architecture>(Architecture) { require_products_of_every_encoding<Architecture>(); });
}

TEST_CASE("every number of inputs around the vector widths is summed to its end", "[matmul]") {
  for (const encoding which : {encoding::f32, encoding::q4, encoding::apr_q4, encoding::apr_q8}) {
    for (std::size_t k = 1; k <= 70; ++k) {
      const problem of(which, 5, 3, k, static_cast<std::uint32_t>(k));
      for (const matmul_mode mode : every_mode) {
        require_products<best>(of, which, 5, 3, mode);
        require_products<best>(of, which, 1, 3, mode);
      }
    }
    for (std::size_t k = 1020; k <= 1060; ++k) {
      const problem of(which, 2, 3, k, static_cast<std::uint32_t>(k));
      require_products<best>(of, which, 2, 3, every_mode[k % 3]);
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
    const operands of(which, 5, 700, 1100, 12);
    for (const matmul_mode mode : every_mode) {
      for (const std::size_t m : {1U, 5U}) {
        const tensor_view w("w", which, {of.n, of.k}, of.bytes);
        std::vector<float> serial(m * of.n);
        std::vector<float> parallel(m * of.n);
        const std::span<const float> x(of.x.data(), m * of.k);
        nibble::matmul(w, x, serial, {.mode = mode});
        nibble::matmul(w, x, parallel, {.mode = mode, .executor = &threads});
        CHECK(nibble_test::first_difference(serial, parallel) == -1);
      }
    }
  }
  CHECK(threads.tasks_run >= decodable_encodings.size() * 3 * 2);
}

TEST_CASE("products need no alignment and stay between the guard pages", "[matmul]") {
  for (const encoding which : decodable_encodings) {
    std::size_t turn = 0;
    for (const std::size_t k : {1U, 15U, 33U, 64U, 96U, 128U, 1025U, 1056U}) {
      const std::size_t m = ++turn % 2 == 0 ? 5 : 2;
      const matmul_mode mode = every_mode[turn % 3];
      const operands of(which, m, 18, k, 21);
      const tensor_view plain("w", which, {of.n, of.k}, of.bytes);
      std::vector<float> expected(of.m * of.n);
      nibble::matmul(plain, of.x, expected, {.mode = mode});
      for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
        const guarded_memory<std::byte> bytes{std::span<const std::byte>(of.bytes), where};
        const guarded_memory<float> x{std::span<const float>(of.x), where};
        const guarded_memory<float> y(of.m * of.n, where);
        nibble::matmul(tensor_view("w", which, {of.n, of.k}, bytes.span()), x.span(), y.span(),
                       {.mode = mode});
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
                       std::span<const float>(x).subspan(offset), std::span(y).subspan(offset),
                       {.mode = mode});
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
    const operands of(encoding::f32, 6, 18, k, 5);
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
  // The scale of row 5's last, incomplete block: NaN.
  const std::size_t at = (5 * 3 + 2) * 20;
  bytes[at] = std::byte{0x01};
  bytes[at + 1] = std::byte{0x7E};
  const auto x = nibble_test::gaussian(3 * k, 8, 1.0F);
  std::vector<float> y(3 * n);
  nibble::matmul(tensor_view("w", encoding::q4, {n, k}, bytes), x, y);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::isnan(y[i]) == (i % n == 5));
}

TEST_CASE("codes behind a row's end spoil nothing, were they infinite", "[matmul]") {
  // 42 inputs: the second block's last 22 codes are none of the row's, and 12 * 2^126 is infinite.
  constexpr std::size_t k = 42;
  std::vector<std::byte> bytes(3 * 2 * 17, std::byte{0x77});
  for (std::size_t row = 0; row < 3; ++row) {
    std::byte* const blocks = bytes.data() + row * 34;
    blocks[0] = std::byte{127};  // 2^-1
    blocks[17] = std::byte{254};
    for (std::size_t i = 0; i < 10; ++i) blocks[18 + i] = std::byte{0x70};  // the row's own: zeros
  }
  const tensor_view w("w", encoding::mxfp4, {3, k}, bytes);
  for (const std::size_t m : {1U, 3U, 4U, 12U, 16U, 19U, 40U}) {
    std::vector<float> x(m * k, 0.5F);
    for (const matmul_mode mode : every_mode) {
      std::vector<float> y(m * 3);
      nibble::matmul(w, x, y, {.mode = mode});
      // 32 codes of 7 stand for 12 halves each.
      for (const float found : y) {
        if (!(std::fabs(found - 96.0F) <= 0.01F)) FAIL("M " << m << ": " << found);
      }
    }
  }
}

TEST_CASE("scales near f32's largest number spoil no product that is finite", "[matmul]") {
  // 2^125 * 1 and its opposite by turns, and zeros; with activations of 1/32 every sum is small.
  constexpr std::size_t n = 19;
  constexpr std::size_t k = 64;
  std::vector<std::byte> codes(sizeof(float) + n * k);
  const float scale = 0x1p125F;
  std::memcpy(codes.data(), &scale, sizeof(scale));
  std::vector<std::byte> blocks(n * 2 * 17);
  std::mt19937 generator(9);
  std::vector<double> expected(n);
  for (std::size_t j = 0; j < n; ++j) {
    int sum = 0;
    for (std::size_t c = 0; c < k; ++c) {
      const int code = static_cast<int>(generator() % 3U) - 1;
      sum += code;
      codes[sizeof(float) + j * k + c] = static_cast<std::byte>(code);
      std::byte* const block = blocks.data() + (j * 2 + c / 32) * 17;
      block[0] = std::byte{253};  // 2^125
      const auto nibble = static_cast<std::byte>(code < 0 ? 9 : code);
      block[1 + c % 16] |= c % 32 < 16 ? nibble : nibble << 4U;
    }
    expected[j] = 0x1p120 * sum;
  }
  for (const auto& [which, bytes] :
       {std::pair(encoding::apr_q8, std::span(codes)), {encoding::mxfp4, std::span(blocks)}}) {
    const tensor_view w("w", which, {n, k}, bytes);
    for (const std::size_t m : {1U, 4U, 17U, 30U}) {
      const std::vector<float> x(m * k, 0x1p-5F);
      for (const matmul_mode mode : every_mode) {
        const nibble::repacked_weight repacked = nibble::repack(w, mode);
        for (const auto* const from :
             {static_cast<const nibble::repacked_weight*>(nullptr), &repacked}) {
          std::vector<float> y(m * n);
          const matmul_product product{.w = w, .y = y, .repacked = from};
          nibble::matmul(std::span(&product, 1), x, {.mode = mode});
          for (std::size_t i = 0; i < y.size(); ++i) {
            const double found = static_cast<double>(y[i]);
            if (!(std::fabs(found - expected[i % n]) <= 0x1p112)) {
              FAIL(nibble::to_string(which) << " M " << m << " mode " << static_cast<int>(mode) << ": "
                                            << found << " instead of " << expected[i % n]);
            }
          }
        }
      }
    }
  }
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
  const operands of(encoding::q4, 3, 6, 50, 14);
  std::vector<float> flat(18);
  nibble::matmul(tensor_view("w", encoding::q4, {6, 50}, of.bytes), of.x, flat);
  std::vector<float> stacked(18);
  nibble::matmul(tensor_view("w", encoding::q4, {2, 3, 50}, of.bytes), of.x, stacked);
  CHECK(flat == stacked);
  std::vector<float> one(3);
  nibble::matmul(tensor_view("w", encoding::q4, {50}, std::span(of.bytes).first(40)), of.x, one);
  for (std::size_t i = 0; i < 3; ++i) CHECK(one[i] == flat[i * 6]);
}

TEST_CASE("codes at their ends are multiplied without a wrong bit", "[matmul]") {
  // Activations whose step is 1, and sums that f32 holds: products must be the whole numbers they are.
  struct block_kind {
    encoding which;
    std::size_t head_bytes;
    std::size_t codes_bytes;
    std::vector<int> codes;
  };
  const std::vector<block_kind> kinds = {{encoding::q8, 4, 32, {0, 255, 128, 127, 1}},
                                         {encoding::q4, 4, 16, {0, 15, 8, 7}},
                                         {encoding::apr_q4, 2, 16, {0, 15, 8, 7}},
                                         {encoding::apr_q8, 0, 32, {0, 127, -128, -127, -1}}};
  constexpr std::size_t n = 19;
  constexpr std::size_t k = 64;
  std::mt19937 generator(5);
  for (const block_kind& kind : kinds) {
    for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 9U}) {
      for (const matmul_mode mode : {matmul_mode::int8, matmul_mode::int16}) {
        const int largest = mode == matmul_mode::int8 ? 127 : 32767;
        std::vector<int> codes(n * k);
        for (int& code : codes) code = kind.codes[generator() % kind.codes.size()];
        std::vector<std::byte> bytes(
            static_cast<std::size_t>(*nibble::stored_bytes(kind.which, {n, k})));
        const bool is_nibbles = kind.codes_bytes == 16;
        std::size_t at = 0;
        if (kind.which == encoding::apr_q8) {
          const float one = 1.0F;
          std::memcpy(bytes.data(), &one, 4);
          at = 4;
        }
        for (std::size_t block = 0; block < n * k / 32; ++block) {
          if (kind.head_bytes != 0) bytes[at + 1] = std::byte{0x3C};  // 1.0
          at += kind.head_bytes;
          const int* const own = codes.data() + 32 * block;
          for (std::size_t j = 0; j < kind.codes_bytes; ++j) {
            int byte = own[j];
            if (is_nibbles) {
              byte = kind.which == encoding::q4 ? own[j] + 16 * own[j + 16]
                                                : own[2 * j] + 16 * own[2 * j + 1];
            }
            bytes[at + j] = static_cast<std::byte>(byte & 255);
          }
          at += kind.codes_bytes;
        }
        // All activations at the end for bytes; for words as many as keep the sums below 2^24.
        std::vector<float> x(m * k);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const bool is_set = mode == matmul_mode::int8 || i % k < 2;
          x[i] = is_set ? static_cast<float>(generator() % 2U == 0 ? largest : -largest) : 0.0F;
        }
        std::vector<float> y(m * n);
        nibble::matmul(tensor_view("w", kind.which, {n, k}, bytes), x, y, {.mode = mode});
        const int zero = kind.which == encoding::apr_q4 ? 8 : 0;
        for (std::size_t i = 0; i < m; ++i) {
          for (std::size_t j = 0; j < n; ++j) {
            long sum = 0;
            for (std::size_t c = 0; c < k; ++c) {
              sum += static_cast<long>(x[i * k + c]) * (codes[j * k + c] - zero);
            }
            // Bytes may have been coded as words, whose step is no whole number.
            if (!(std::fabs(static_cast<double>(y[i * n + j]) - static_cast<double>(sum)) < 0.25)) {
              FAIL(fmt::format("{} M {} largest {}: y[{}][{}] is {} instead of {}",
                               nibble::to_string(kind.which), m, largest, i, j, y[i * n + j], sum));
            }
          }
        }
      }
    }
  }
  SUCCEED("every kind");
}

TEST_CASE("ends of codes in several places are multiplied without a wrong one", "[matmul]") {
  // Scales of 1 and mins of 0, so that values are whole numbers; header bytes that make them so, behind
  // which (before which, for q2_k's, q3_k's and q6_k's scale) all bytes are of codes.
  struct block_kind {
    encoding which;
    std::vector<std::pair<std::size_t, int>> header;
  };
  const auto filled = [](std::size_t first, std::size_t last, int byte) {
    std::vector<std::pair<std::size_t, int>> bytes;
    for (std::size_t at = first; at < last; ++at) bytes.emplace_back(at, byte);
    return bytes;
  };
  const auto joined = [](std::vector<std::pair<std::size_t, int>> a, const auto&... more) {
    (a.insert(a.end(), more.begin(), more.end()), ...);
    return a;
  };
  const auto one_at = [](std::size_t at) {
    return std::vector<std::pair<std::size_t, int>>{{at, 0}, {at + 1, 0x3C}};
  };
  const std::vector<block_kind> kinds = {
      {encoding::q4_0, one_at(0)},
      {encoding::q4_1, joined(one_at(0), filled(2, 4, 0))},
      {encoding::q5_0, one_at(0)},
      {encoding::q5_1, joined(one_at(0), filled(2, 4, 0))},
      {encoding::q8_0, one_at(0)},
      {encoding::iq4_nl, one_at(0)},
      {encoding::mxfp4, {{0, 128}}},
      {encoding::q2_k, joined(filled(0, 16, 0x01), one_at(80), filled(82, 84, 0))},
      {encoding::q3_k, joined(filled(96, 104, 0x11), filled(104, 108, 0xAA), one_at(108))},
      {encoding::q4_k,
       joined(one_at(0), filled(2, 4, 0), filled(4, 8, 1), filled(8, 12, 0), filled(12, 16, 1))},
      {encoding::q5_k,
       joined(one_at(0), filled(2, 4, 0), filled(4, 8, 1), filled(8, 12, 0), filled(12, 16, 1))},
      {encoding::q6_k, joined(filled(192, 208, 1), one_at(208))},
      {encoding::iq4_xs, joined(one_at(0), filled(2, 4, 0xAA), filled(4, 8, 0x11))}};
  constexpr std::size_t n = 19;
  constexpr std::size_t k = 256;
  std::mt19937 generator(5);
  for (const block_kind& kind : kinds) {
    const std::size_t block_bytes = nibble::describe(kind.which).block_bytes;
    for (const std::size_t m : {1U, 2U, 3U, 4U, 5U, 9U}) {
      for (const matmul_mode mode : every_mode) {
        std::vector<std::byte> bytes(
            static_cast<std::size_t>(*nibble::stored_bytes(kind.which, {n, k})));
        for (std::byte& byte : bytes) {
          constexpr std::array<int, 6> ends = {0x00, 0xFF, 0x0F, 0xF0, 0x80, 0x7F};
          byte = static_cast<std::byte>(ends[generator() % ends.size()]);
        }
        for (std::size_t at = 0; at < bytes.size(); at += block_bytes) {
          for (const auto& [place, byte] : kind.header)
            bytes[at + place] = static_cast<std::byte>(byte);
        }
        const auto weights =
            nibble_test::independent_decoder(nibble::to_string(kind.which), bytes, k).rows(0, n);
        // All activations at the end for bytes; for words as many as keep the sums below 2^24.
        const float largest = mode == matmul_mode::int16 ? 32767.0F : 127.0F;
        std::vector<float> x(m * k);
        for (std::size_t i = 0; i < x.size(); ++i) {
          const bool is_set = mode != matmul_mode::int16 || i % k % 128 == i / k * 37 % 128;
          x[i] = is_set ? (generator() % 2U == 0 ? largest : -largest) : 0.0F;
        }
        for (const bool is_portable : {false, true}) {
          std::vector<float> y(m * n);
          const tensor_view w("w", kind.which, {n, k}, bytes);
          if (is_portable) {
            nibble::matmul<twin>(w, x, y, {.mode = mode});
          } else {
            nibble::matmul<best>(w, x, y, {.mode = mode});
          }
          for (std::size_t i = 0; i < m; ++i) {
            for (std::size_t j = 0; j < n; ++j) {
              double sum = 0.0;
              for (std::size_t c = 0; c < k; ++c) {
                sum += static_cast<double>(x[i * k + c]) * static_cast<double>(weights[j * k + c]);
              }
              // Bytes may have been coded as words, whose step is no whole number.
              if (!(std::fabs(static_cast<double>(y[i * n + j]) - sum) < 1.5)) {
                FAIL(fmt::format("{} M {} mode {}: y[{}][{}] is {} instead of {}",
                                 nibble::to_string(kind.which), m, static_cast<int>(mode), i, j,
                                 y[i * n + j], sum));
              }
            }
          }
        }
      }
    }
  }
  SUCCEED("every kind");
}

TEST_CASE("coded activations stay near the exact product on Gaussian data", "[matmul]") {
  for (const encoding which :
       {encoding::q8, encoding::q4, encoding::apr_q8, encoding::apr_q4, encoding::f16, encoding::q4_0,
        encoding::q5_1, encoding::q8_0, encoding::q4_k, encoding::q5_k, encoding::iq4_xs}) {
    for (const std::size_t m : {1U, 16U}) {
      const operands of(which, m, 200, 1024, 31);
      const tensor_view w("w", which, {of.n, of.k}, of.bytes);
      std::vector<float> exact(of.m * of.n);
      nibble::matmul(w, of.x, exact);
      for (const auto& [mode, limit] :
           {std::pair{matmul_mode::int16, 1e-4}, {matmul_mode::int8, 1.5e-2}}) {
        std::vector<float> y(exact.size());
        nibble::matmul(w, of.x, y, {.mode = mode});
        double difference = 0.0;
        double norm = 0.0;
        for (std::size_t i = 0; i < y.size(); ++i) {
          difference += std::pow(static_cast<double>(y[i]) - static_cast<double>(exact[i]), 2);
          norm += std::pow(static_cast<double>(exact[i]), 2);
        }
        CAPTURE(nibble::to_string(which), m, std::sqrt(difference / norm));
        CHECK(std::sqrt(difference / norm) <= limit);
        CHECK((difference > 0.0) == nibble::describe(which).is_quantized());
      }
    }
  }
}

TEST_CASE("strided rows and a bias give what dense ones and an addition give", "[matmul]") {
  for (const encoding which : {encoding::f32, encoding::q4, encoding::apr_q4, encoding::q8}) {
    for (const std::size_t k : {33U, 64U}) {
      for (const std::size_t m : {1U, 3U, 12U}) {
        for (const matmul_mode mode : every_mode) {
          const operands of(which, m, 37, k, 41);
          const tensor_view w("w", which, {of.n, of.k}, of.bytes);
          const auto bias = nibble_test::gaussian(of.n, 3, 1.0F);
          std::vector<float> dense(m * of.n);
          nibble::matmul(w, of.x, dense, {.mode = mode});
          const std::size_t x_stride = k + 5;
          const std::size_t y_stride = of.n + 3;
          // The last rows end where they end, or are padded like the others.
          for (const bool is_padded : {false, true}) {
            std::vector<float> x(m * x_stride - (is_padded ? 0 : 5), 1e30F);
            std::vector<float> y(m * y_stride - (is_padded ? 0 : 3), -7777.0F);
            for (std::size_t i = 0; i < m; ++i) {
              std::copy_n(of.x.begin() + static_cast<std::ptrdiff_t>(i * k), k,
                          x.begin() + static_cast<std::ptrdiff_t>(i * x_stride));
            }
            nibble::matmul(w, x, y,
                           {.mode = mode,
                            .bias = bias,
                            .x_stride_elements = x_stride,
                            .y_stride_elements = y_stride});
            for (std::size_t i = 0; i < y.size(); ++i) {
              const std::size_t j = i % y_stride;
              const float found = y[i];
              if (j >= of.n) {
                if (found != -7777.0F) FAIL("wrote between the rows");
                continue;
              }
              const float sum = dense[i / y_stride * of.n + j] + bias[j];
              if (std::fabs(found - sum) > 1e-5F * (1.0F + std::fabs(sum) + std::fabs(bias[j]) * 10)) {
                FAIL(found << " instead of " << sum);
              }
            }
          }
        }
      }
    }
  }
  SUCCEED("every shape");
}

TEST_CASE("several weights of one input give what each gives alone", "[matmul]") {
  constexpr std::size_t k = 96;
  nibble_test::shuffled_executor threads(4);
  for (const matmul_mode mode : every_mode) {
    for (const std::size_t m : {1U, 4U, 20U}) {
      const auto x = nibble_test::gaussian(m * k, 3, 1.0F);
      std::vector<std::vector<std::byte>> stored;
      std::vector<tensor_view> weights;
      std::vector<std::vector<float>> alone;
      std::vector<std::vector<float>> together;
      std::size_t n = 5;
      for (const encoding which : decodable_encodings) {
        n += 9;
        stored.push_back(finite_stored_bytes(which, n, k, static_cast<std::uint32_t>(n)));
        weights.emplace_back("w", which, nibble::shape{n, k}, stored.back());
        alone.emplace_back(m * n);
        together.emplace_back(m * n);
        nibble::matmul(weights.back(), x, alone.back(), {.mode = mode});
      }
      std::vector<matmul_product> products;
      for (std::size_t i = 0; i < weights.size(); ++i) products.push_back({weights[i], together[i]});
      nibble::matmul(products, x, {.mode = mode, .executor = &threads});
      for (std::size_t i = 0; i < weights.size(); ++i) {
        CHECK(nibble_test::first_difference(alone[i], together[i]) == -1);
      }
    }
  }
  const auto odd = finite_stored_bytes(encoding::q4, 3, 64, 1);
  const auto even = finite_stored_bytes(encoding::q4, 3, 96, 1);
  const tensor_view a("a", encoding::q4, {3, 96}, even);
  const tensor_view b("b", encoding::q4, {3, 64}, odd);
  std::vector<float> x(96);
  std::vector<float> y(3);
  const std::array<matmul_product, 2> products = {matmul_product{a, y}, matmul_product{b, y}};
  const auto thrown = nibble_test::error_of([&] { nibble::matmul(products, x); });
  REQUIRE(thrown);
  CHECK(thrown->code() == error_code::invalid_argument);
  CHECK(thrown->detail().tensor == "b");
  CHECK(thrown->detail().found == "64");
}

/// Whether options have such members.
template <class Options>
concept HasBias = requires(Options options) {
  options.bias;
};
template <class Options>
concept HasOutputStride = requires(Options options) {
  options.y_stride_elements;
};
template <class Options>
concept HasMode = requires(Options options) {
  options.mode;
};

TEST_CASE("options have no member that their call does not use", "[matmul]") {
  STATIC_REQUIRE_FALSE(HasBias<nibble::joint_matmul_options>);
  STATIC_REQUIRE_FALSE(HasOutputStride<nibble::joint_matmul_options>);
  STATIC_REQUIRE_FALSE(HasMode<nibble::repacked_matmul_options>);
  STATIC_REQUIRE(HasBias<nibble::matmul_options>);
  STATIC_REQUIRE(HasBias<matmul_product>);
}

TEST_CASE("products in braces have a bias and a stride each, and may be made of temporary views",
          "[matmul]") {
  constexpr std::size_t k = 96, m = 5;
  const auto bytes = finite_stored_bytes(encoding::q4, 60, k, 1);
  const tensor_view w("w", encoding::q4, {60, k}, bytes);
  const auto x = nibble_test::gaussian(m * k, 3, 1.0F);
  const auto bias = nibble_test::gaussian(20, 6, 1.0F);
  constexpr std::size_t stride = 23;
  std::vector<float> expected(m * 60);
  nibble::matmul(w, x, expected, {.mode = matmul_mode::int8});

  std::vector<float> first(m * 20), second(m * stride), third(m * 20);
  nibble::matmul(
      {{w.rows(0, 20), first}, {w.rows(20, 20), second, bias, stride}, {w.rows(40, 20), third}}, x,
      {.mode = matmul_mode::int8});
  // The same from products that were put together before, of views that are gone.
  std::vector<float> again(m * 20), strided(m * stride);
  std::vector<matmul_product> products;
  products.push_back({w.rows(0, 20), again});
  products.push_back({.w = w.rows(20, 20), .y = strided, .bias = bias, .y_stride_elements = stride});
  std::vector<tensor_view> others(100, tensor_view("other", encoding::f32, {0, 0}, {}));
  nibble::matmul(products, x, {.mode = matmul_mode::int8});
  products.front() = products.back();

  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < 20; ++j) {
      const float* const row = expected.data() + i * 60;
      CHECK(first[i * 20 + j] == row[j]);
      CHECK(again[i * 20 + j] == row[j]);
      CHECK(second[i * stride + j] == row[20 + j] + bias[j]);
      CHECK(strided[i * stride + j] == second[i * stride + j]);
      CHECK(third[i * 20 + j] == row[40 + j]);
    }
  }
}

TEST_CASE("nothing is written before all products have been checked", "[matmul]") {
  const tensor_view no_inputs("w", encoding::q8, {5, 0}, {});
  std::vector<float> right(5, 3.0F), wrong(6, 3.0F);
  CHECK(nibble_test::code_of([&] {
          nibble::matmul({{no_inputs, right}, {no_inputs, wrong}}, std::span<const float>());
        }) == error_code::invalid_argument);
  CHECK(right == std::vector<float>(5, 3.0F));
}

TEST_CASE("with scratch nothing is allocated, for any number of weights", "[matmul]") {
  constexpr std::size_t k = 512;
  for (const encoding which : {encoding::q4, encoding::q4_k, encoding::f16, encoding::i8}) {
    const auto bytes = finite_stored_bytes(which, 9, k, 3);
    const tensor_view w("a name that is longer than short strings are", which, {9, k}, bytes);
    for (const matmul_mode mode : every_mode) {
      const nibble::repacked_weight repacked = nibble::repack(w, mode);
      for (const std::size_t m : {1U, 5U, 40U, 700U}) {
        const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
        std::vector<std::vector<float>> y(40, std::vector<float>(m * 9));
        std::vector<matmul_product> products;
        for (auto& each : y) products.push_back({w, each});
        std::vector<std::byte> scratch(nibble::matmul_scratch_bytes(k, m, mode));
        const auto allocated = [&](auto&& work) { return nibble_test::expense_of(work).peak_bytes; };
        CAPTURE(nibble::to_string(which), static_cast<int>(mode), m);
        CHECK(allocated([&] { nibble::matmul(w, x, y[0], {.mode = mode, .scratch = scratch}); }) == 0);
        CHECK(allocated([&] { nibble::matmul(repacked, x, y[0], {.scratch = scratch}); }) == 0);
        for (const std::size_t count : {1U, 2U, 3U, 16U, 17U, 40U}) {
          CHECK(allocated([&] {
                  nibble::matmul(std::span(products).first(count), x,
                                 {.mode = mode, .scratch = scratch});
                }) == 0);
        }
        CHECK(
            allocated([&] {
              nibble::matmul({{w, y[0]}, {w, y[1]}, {w, y[2]}}, x, {.mode = mode, .scratch = scratch});
            }) == 0);
      }
    }
  }
}

TEST_CASE("the largest scratch does for any number of rows, each as long as is documented",
          "[matmul]") {
  constexpr std::size_t longest = nibble::max_matmul_scratch_cols;
  std::size_t most = 0;
  for (const matmul_mode mode : every_mode) {
    for (std::size_t k = 0; k <= longest; k = k < 2100 ? k + 1 : k + k / 7) {
      for (const std::size_t cols : {k, longest - k}) {
        for (std::size_t m = 0; m <= 100'000; m = m < 70 ? m + 1 : m * 3 / 2) {
          const std::size_t needed = nibble::matmul_scratch_bytes(cols, m, mode);
          most = std::max(most, needed);
          if (needed > nibble::max_matmul_scratch_bytes) {
            FAIL("M " << m << " K " << cols << " takes " << needed);
          }
        }
      }
    }
    CHECK(nibble::matmul_scratch_bytes(2 * longest, 1, mode) > nibble::max_matmul_scratch_bytes);
    CHECK(nibble::matmul_scratch_bytes(0, 5, mode) == 0);
    CHECK(nibble::matmul_scratch_bytes(5, 0, mode) == 0);
  }
  CHECK(most + 1 == nibble::max_matmul_scratch_bytes);

  // At every place that a buffer may start at, where rows and columns fill it to its end.
  constexpr std::size_t m = 520, k = 513;
  const auto bytes = finite_stored_bytes(encoding::apr_q4, 2, k, 3);
  const tensor_view w("w", encoding::apr_q4, {2, k}, bytes);
  const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
  std::vector<float> expected(m * 2);
  nibble::matmul(w, x, expected);
  for (std::size_t offset = 0; offset < 64; ++offset) {
    std::vector<std::byte> scratch(nibble::max_matmul_scratch_bytes + offset);
    std::vector<float> y(m * 2);
    nibble::matmul(w, x, y, {.scratch = std::span(scratch).subspan(offset)});
    if (nibble_test::first_difference(y, expected) != -1) FAIL("offset " << offset);
  }
}

TEST_CASE("rows have two legal sizes each with a stride, and a call whose sizes disagree is refused",
          "[matmul]") {
  constexpr std::size_t n = 2, k = 3, x_stride = 5, y_stride = 4;
  const auto bytes = finite_stored_bytes(encoding::f32, n, k, 9);
  const tensor_view w("w", encoding::f32, {n, k}, bytes);
  const auto rows_of = [](std::size_t size, std::size_t cols, std::size_t stride) {
    for (std::size_t m = 0; m < 9; ++m) {
      if (size == m * stride || (m > 0 && size == (m - 1) * stride + cols)) return m;
    }
    return std::size_t{99};
  };
  const std::vector<float> x(4 * x_stride, 1.0F);
  for (std::size_t x_size = 0; x_size <= x.size(); ++x_size) {
    for (std::size_t y_size = 0; y_size <= 4 * y_stride; ++y_size) {
      std::vector<float> y(y_size);
      const auto code = nibble_test::code_of([&] {
        nibble::matmul(w, std::span(x).first(x_size), y,
                       {.x_stride_elements = x_stride, .y_stride_elements = y_stride});
      });
      const std::size_t m = rows_of(x_size, k, x_stride);
      const bool is_legal = m != 99 && m == rows_of(y_size, n, y_stride);
      if (is_legal ? code.has_value() : code != error_code::invalid_argument) {
        FAIL(x_size << " and " << y_size);
      }
    }
  }
  SUCCEED("every size");
}

TEST_CASE("weights whose scale * code and min cancel lose nothing where rows are multiplied together",
          "[matmul]") {
  // 8 * 1 - 8 for every weight: the documented bound is zero where it is sum |x_k w_k|.
  const auto zeros_of = [](std::size_t k) {
    std::vector<std::byte> blocks(k / 32 * 20, std::byte{0x88});
    for (std::size_t at = 0; at < blocks.size(); at += 20) {
      blocks[at] = blocks[at + 2] = std::byte{0};
      blocks[at + 1] = std::byte{0x3C};
      blocks[at + 3] = std::byte{0xC8};
    }
    return blocks;
  };
  for (const auto& [k, least_rows] : {std::pair{4096U, 4U}, {32768U, 4U}, {53248U, 16U}}) {
    const auto bytes = zeros_of(k);
    const tensor_view w("w", encoding::q4, {1, k}, bytes);
    for (std::size_t m = 1; m <= 20; ++m) {
      const auto x = nibble_test::gaussian(m * k, static_cast<std::uint32_t>(m), 1.0F);
      std::vector<float> y(m);
      nibble::matmul(w, x, y);
      for (std::size_t i = 0; i < m; ++i) {
        double parts = 0.0;
        for (std::size_t at = 0; at < k; ++at) {
          parts += 16.0 * std::fabs(static_cast<double>(x[i * k + at]));
        }
        const double bound = m >= least_rows ? 0.0 : static_cast<double>(k + 8) * 0x1p-24 * parts;
        if (!(std::fabs(static_cast<double>(y[i])) <= bound)) {
          FAIL("M " << m << " K " << k << ": " << y[i]);
        }
      }
    }
  }
  SUCCEED("every number of rows");
}

TEST_CASE("memory that is handed in is enough, and all that is written to", "[matmul]") {
  for (const encoding which : {encoding::q4, encoding::apr_q4, encoding::q8, encoding::f16}) {
    for (const matmul_mode mode : every_mode) {
      for (const std::size_t m : {1U, 2U, 8U, 9U, 300U}) {
        constexpr std::size_t k = 4096;
        constexpr std::size_t n = 3;
        const auto bytes = finite_stored_bytes(which, n, k, 3);
        const tensor_view w("w", which, {n, k}, bytes);
        const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
        std::vector<float> expected(m * n);
        nibble::matmul(w, x, expected, {.mode = mode});
        const std::size_t needed = nibble::matmul_scratch_bytes(k, m, mode);
        CHECK(needed <= nibble::max_matmul_scratch_bytes);
        if (needed == 0) continue;
        for (const placed where : {placed::against_the_page_before, placed::against_the_page_behind}) {
          const guarded_memory<std::byte> scratch(needed, where);
          std::vector<float> y(m * n);
          nibble::matmul(w, x, y, {.mode = mode, .scratch = scratch.span()});
          CHECK(nibble_test::first_difference(y, expected) == -1);
        }
        std::vector<std::byte> small(needed - 1);
        std::vector<float> y(m * n);
        const auto thrown =
            nibble_test::error_of([&] { nibble::matmul(w, x, y, {.mode = mode, .scratch = small}); });
        REQUIRE(thrown);
        CHECK(thrown->detail().field == "scratch");
      }
    }
  }
}

TEST_CASE("not-numbers and infinities spoil no other row under any mode", "[matmul]") {
  for (const encoding which :
       {encoding::q4, encoding::apr_q4, encoding::q8, encoding::apr_q8, encoding::bf16}) {
    for (const matmul_mode mode : every_mode) {
      for (const std::size_t rows : {2U, 6U, 12U}) {
        const operands of(which, rows, 18, 160, 5);
        const tensor_view w("w", which, {of.n, of.k}, of.bytes);
        std::vector<float> clean(of.m * of.n);
        nibble::matmul(w, of.x, clean, {.mode = mode});
        for (const float bad :
             {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
          auto x = of.x;
          x[of.k + 77] = bad;
          std::vector<float> y(of.m * of.n);
          nibble::matmul(w, x, y, {.mode = mode});
          for (std::size_t i = 0; i < y.size(); ++i) {
            const bool is_spoilt = i / of.n == 1;
            if (is_spoilt ? std::isfinite(y[i]) : y[i] != clean[i]) {
              FAIL(nibble::to_string(which) << " y[" << i << "] is " << y[i]);
            }
          }
        }
      }
    }
  }
  SUCCEED("every encoding");
}

TEST_CASE("a bias of another size, and strides shorter than rows, are refused by name", "[matmul]") {
  const auto bytes = finite_stored_bytes(encoding::q8, 5, 40, 9);
  const tensor_view w("q_proj", encoding::q8, {5, 40}, bytes);
  const std::vector<float> x(80);
  std::vector<float> y(10);
  const std::vector<float> bias(4);
  CHECK(nibble_test::error_of([&] { nibble::matmul(w, x, y, {.bias = bias}); })->detail().field ==
        "bias");
  CHECK(nibble_test::error_of([&] { nibble::matmul(w, x, y, {.x_stride_elements = 39}); })->code() ==
        error_code::invalid_argument);
  CHECK(nibble_test::error_of([&] { nibble::matmul(w, x, y, {.y_stride_elements = 4}); })->code() ==
        error_code::invalid_argument);
  CHECK(nibble_test::error_of([&] { nibble::matmul(w, x, y, {.y_stride_elements = 6}); })->code() ==
        error_code::invalid_argument);
}

}  // namespace
