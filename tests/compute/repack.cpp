#include <nibble/compute/repack.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/compute/matmul.hpp>

#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/errors.hpp>
#include <support/product_problem.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::matmul_mode;
using nibble::repacked_weight;
using nibble::tensor_view;
using nibble_test::product_problem;

constexpr std::array coded_modes = {matmul_mode::int16, matmul_mode::int8};

void require_within_bound(const product_problem& of, encoding which, matmul_mode mode, std::size_t rows,
                          std::span<const float> y) {
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < of.n; ++j) {
      const double product = of.expected[i * of.n + j].product;
      const double bound = of.bound(i, j, which, rows, mode);
      if (!(std::fabs(static_cast<double>(y[i * of.n + j]) - product) <= bound)) {
        FAIL(fmt::format("{} mode {} M {} K {}: y[{}][{}] is {} instead of {} +- {}",
                         nibble::to_string(which), static_cast<int>(mode), rows, of.k, i, j,
                         y[i * of.n + j], product, bound));
      }
    }
  }
}

template <class Architecture>
void check_products() {
  for (const encoding which : nibble_test::decodable_encodings) {
    for (const std::size_t k : {1U, 33U, 1055U}) {
      const product_problem of(which, 9, 37, k, static_cast<std::uint32_t>(k + 5));
      const tensor_view w("w", which, {of.n, k}, of.bytes);
      for (const matmul_mode mode : coded_modes) {
        const repacked_weight repacked = nibble::repack<Architecture>(w, mode);
        for (const std::size_t m : {1U, 2U, 4U, 5U, 9U}) {
          std::vector<float> y(m * of.n + 1, -7777.0F);
          nibble::matmul<Architecture>(repacked, std::span(of.x).first(m * k),
                                       std::span(y).first(m * of.n));
          CHECK(y.back() == -7777.0F);
          require_within_bound(of, which, mode, m, y);
        }
      }
    }
  }
}

TEST_CASE("products of repacked weights lie within the documented bound", "[repack]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_products<Architecture>(); });
  SUCCEED("every encoding");
}

/// Of the encodings in blocks those that have no products of codes, or are stored as those take them.
constexpr std::array never_repacked = {
    encoding::iq1_s,   encoding::iq1_m, encoding::iq2_xxs, encoding::iq2_xs, encoding::iq2_s,
    encoding::iq3_xxs, encoding::iq3_s, encoding::tq1_0,   encoding::tq2_0,  encoding::nvfp4,
    encoding::q1_0,    encoding::q2_0,  encoding::q4_r8,   encoding::q8_r8};

/// Those that have products of bytes in place and, where few bytes can be multiplied, none of panels.
constexpr std::array wide_codes = {encoding::q5_0, encoding::q5_1, encoding::q5_k, encoding::q6_k};

TEST_CASE("a repacked weight takes the memory that is documented", "[repack]") {
  constexpr std::size_t n = 64, k = 1024;
  using architecture = nibble::simd::integer_architecture<nibble::simd::best_architecture>;
  constexpr bool keeps_halves = nibble::simd::lanes<architecture> >= 8;
  for (const encoding which : nibble_test::decodable_encodings) {
    const auto bytes = nibble_test::finite_stored_bytes(which, n, k, 3);
    const tensor_view w("w", which, {n, k}, bytes);
    CHECK(nibble::repack(w, matmul_mode::exact).size_bytes() == 0);
    for (const matmul_mode mode : coded_modes) {
      const repacked_weight repacked = nibble::repack(w, mode);
      CAPTURE(nibble::to_string(which), static_cast<int>(mode));
      CHECK(repacked.mode() == mode);
      CHECK(repacked.weight().bytes().data() == bytes.data());
      const bool is_faster_in_place = mode == matmul_mode::int8 &&
                                      !nibble::simd::multiplies_any_byte<architecture> &&
                                      std::ranges::find(wide_codes, which) != wide_codes.end();
      if (!nibble::describe(which).is_quantized() || is_faster_in_place ||
          std::ranges::find(never_repacked, which) != never_repacked.end()) {
        CHECK(repacked.size_bytes() == 0);
        continue;
      }
      CHECK(repacked.size_bytes() >= w.size_bytes());
      CHECK(repacked.size_bytes() <= n * k * 10 / 8);
      // For 256 codes sixteen numbers and two f16.
      if (which == encoding::q2_k) CHECK(repacked.size_bytes() == n * k * (64 + 20) / 256);
      if (which == encoding::q3_k) CHECK(repacked.size_bytes() == n * k * (96 + 20) / 256);
      if (which == encoding::q4_k) CHECK(repacked.size_bytes() == n * k * (128 + 20) / 256);
      if (which == encoding::q5_k) CHECK(repacked.size_bytes() == n * k * (160 + 20) / 256);
      // Five bits, a scale and a min.
      if (which == encoding::q5_0) CHECK(repacked.size_bytes() <= n * k * 7 / 8);
      if (which == encoding::q6_k) CHECK(repacked.size_bytes() == n * k * (192 + 20) / 256);
      // Scales and mins that are f16 stay so, and offsets that follow from scales are not kept.
      if (!keeps_halves) continue;
      const bool is_int16 = mode == matmul_mode::int16;
      if (which == encoding::q4_0) CHECK(repacked.size_bytes() == w.size_bytes());
      if (which == encoding::q4 || which == encoding::q4_1 || (which == encoding::q8 && is_int16))
        CHECK(repacked.size_bytes() == w.size_bytes());
    }
  }
}

TEST_CASE("repacked weights give the same bits for every executor", "[repack]") {
  nibble_test::shuffled_executor threads(4);
  for (const encoding which : {encoding::q4, encoding::q8_0, encoding::q5_k, encoding::q6_k}) {
    constexpr std::size_t n = 203, k = 1312, m = 7;
    const auto bytes = nibble_test::finite_stored_bytes(which, n, k, 3);
    const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
    const tensor_view w("w", which, {n, k}, bytes);
    for (const matmul_mode mode : coded_modes) {
      std::vector<float> y(m * n), in_parallel(m * n);
      nibble::matmul(nibble::repack(w, mode), x, y);
      nibble::matmul(nibble::repack(w, mode, {.executor = &threads}), x, in_parallel,
                     {.executor = &threads});
      CHECK(nibble_test::first_difference(y, in_parallel) == -1);
    }
  }
}

TEST_CASE("weights that are repacked into one memory are those that lie by themselves", "[repack]") {
  constexpr std::size_t m = 3;
  const auto x = nibble_test::gaussian(m * 256, 8, 1.0F);
  std::vector<std::vector<std::byte>> stored;
  std::vector<repacked_weight> together, alone;
  {
    // Three pieces: some weights fill one up, one is larger than half of it.
    nibble::weight_memory memory(std::size_t{1} << 15U);
    for (const std::size_t n : {9U, 40U, 33U, 130U, 1U, 64U}) {
      stored.push_back(nibble_test::finite_stored_bytes(encoding::q4_k, n, 256, 3));
      const tensor_view w("w", encoding::q4_k, {n, 256}, stored.back());
      together.push_back(nibble::repack(w, matmul_mode::int8, {.memory = &memory}));
      alone.push_back(nibble::repack(w, matmul_mode::int8));
    }
  }
  CHECK(together[1].panels().memory.bytes().data() - together[0].panels().memory.bytes().data() ==
        static_cast<std::ptrdiff_t>((together[0].size_bytes() + 63) / 64 * 64));
  for (std::size_t i = 0; i < together.size(); ++i) {
    CAPTURE(i);
    CHECK(together[i].size_bytes() == alone[i].size_bytes());
    const auto n = static_cast<std::size_t>(together[i].weight().rows());
    std::vector<float> y(m * n), expected(m * n);
    nibble::matmul(together[i], x, y);
    nibble::matmul(alone[i], x, expected);
    CHECK(nibble_test::first_difference(expected, y) == -1);
  }
}

TEST_CASE("a repacked weight is of use in its own mode alone, and moves", "[repack]") {
  const product_problem of(encoding::q4, 3, 19, 160, 1);
  const tensor_view w("w", encoding::q4, {of.n, of.k}, of.bytes);
  repacked_weight first = nibble::repack(w, matmul_mode::int8);
  const repacked_weight moved = std::move(first);
  for (const matmul_mode mode : {matmul_mode::exact, matmul_mode::int16}) {
    std::vector<float> in_place(of.m * of.n), y(of.m * of.n);
    nibble::matmul(w, of.x, in_place, {.mode = mode});
    nibble::matmul(moved.weight(), of.x, y, {.mode = mode});
    CHECK(nibble_test::first_difference(in_place, y) == -1);
  }
  std::vector<float> y(of.m * of.n);
  nibble::matmul(moved, of.x, y);
  require_within_bound(of, encoding::q4, matmul_mode::int8, of.m, y);

  // Kernels of another width than those that repacked.
  std::vector<float> portable(of.m * of.n), by_portable(of.m * of.n);
  const repacked_weight eight = nibble::repack<nibble::simd::portable>(w, matmul_mode::int8);
  nibble::matmul(eight, of.x, y);
  require_within_bound(of, encoding::q4, matmul_mode::int8, of.m, y);
}

TEST_CASE("a repacked weight is multiplied in its own mode, by its copy", "[repack]") {
  constexpr std::size_t n = 40, k = 320, m = 3;
  auto bytes = nibble_test::finite_stored_bytes(encoding::q4, n, k, 3);
  const auto x = nibble_test::gaussian(m * k, 8, 1.0F);
  const tensor_view w("w", encoding::q4, {n, k}, bytes);
  for (const matmul_mode mode : coded_modes) {
    std::vector<float> alone(m * n), in_products(m * n), exact(m * n), after(m * n);
    const repacked_weight repacked = nibble::repack(w, mode);
    nibble::matmul(w, x, exact);
    nibble::matmul({{w, in_products, {}, 0, &repacked}}, x, {.mode = mode});
    nibble::matmul(repacked, x, alone);
    CHECK(nibble_test::first_difference(alone, in_products) == -1);
    CHECK(nibble_test::first_difference(alone, exact) != -1);
    // The stored blocks are not read: what becomes of them after repacking does not show.
    const auto kept = bytes;
    std::ranges::fill(bytes, std::byte{0});
    nibble::matmul(repacked, x, after);
    bytes = kept;
    CHECK(nibble_test::first_difference(alone, after) == -1);
  }
}

TEST_CASE("a copy for another mode than the call's is refused by name", "[repack]") {
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 8, 64, 1);
  const tensor_view w("down", encoding::q4, {8, 64}, bytes);
  const std::vector<float> x(64);
  std::vector<float> y(8, 3.0F);
  constexpr std::array modes = {matmul_mode::exact, matmul_mode::int16, matmul_mode::int8};
  for (const matmul_mode made_for : modes) {
    const repacked_weight repacked = nibble::repack(w, made_for);
    for (const matmul_mode mode : modes) {
      if (mode == made_for) continue;
      const auto thrown = nibble_test::error_of(
          [&] { nibble::matmul({{.w = w, .y = y, .repacked = &repacked}}, x, {.mode = mode}); });
      REQUIRE(thrown);
      CHECK(thrown->code() == nibble::error_code::invalid_argument);
      CHECK(thrown->detail().tensor == "down");
      CHECK(thrown->detail().field == "repacked");
      CHECK(thrown->detail().found == fmt::format("made for {}", nibble::to_string(made_for)));
      CHECK(y == std::vector<float>(8, 3.0F));
    }
  }
}

TEST_CASE("repacked and other weights are multiplied together, with bias and strides", "[repack]") {
  constexpr std::size_t k = 96, m = 6;
  const product_problem of(encoding::q4, m, 21, k, 2);
  const tensor_view w("w", encoding::q4, {of.n, k}, of.bytes);
  const repacked_weight repacked = nibble::repack(w, matmul_mode::int8);
  const auto bias = nibble_test::gaussian(of.n, 6, 1.0F);
  constexpr std::size_t stride = 29;
  std::vector<float> plain(m * of.n), alone(m * of.n), strided(m * stride, -7777.0F);
  nibble::matmul(w, of.x, plain, {.mode = matmul_mode::int8});
  nibble::matmul(repacked, of.x, alone);
  std::vector<float> in_place(m * of.n);
  const std::array<nibble::matmul_product, 2> products = {
      nibble::matmul_product{w, in_place}, nibble::matmul_product{w, strided, bias, stride, &repacked}};
  nibble::matmul(products, of.x, {.mode = matmul_mode::int8});
  CHECK(nibble_test::first_difference(plain, in_place) == -1);
  for (std::size_t i = 0; i < strided.size(); ++i) {
    const std::size_t j = i % stride;
    if (j >= of.n) {
      CHECK(strided[i] == -7777.0F);
    } else {
      CHECK(strided[i] == alone[i / stride * of.n + j] + bias[j]);
    }
  }
}

TEST_CASE("what was made from another weight is refused by name", "[repack]") {
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 8, 64, 1);
  const auto others = nibble_test::finite_stored_bytes(encoding::q4, 8, 64, 2);
  const tensor_view w("down", encoding::q4, {8, 64}, bytes);
  const tensor_view other("up", encoding::q4, {8, 64}, others);
  const repacked_weight repacked = nibble::repack(other, matmul_mode::int8);
  const std::vector<float> x(64);
  std::vector<float> y(8);
  const nibble::matmul_product product{w, y, {}, 0, &repacked};
  const auto thrown = nibble_test::error_of(
      [&] { nibble::matmul(std::span(&product, 1), x, {.mode = matmul_mode::int8}); });
  REQUIRE(thrown);
  CHECK(thrown->code() == nibble::error_code::invalid_argument);
  CHECK(thrown->detail().tensor == "down");
  CHECK(thrown->detail().field == "repacked");
}

TEST_CASE("a weight that cannot be decoded is not repacked", "[repack]") {
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_decodable(row.encoding)) continue;
    const auto bytes =
        nibble_test::random_bytes(static_cast<std::size_t>(*nibble::stored_bytes(row, 1, 256)), 1);
    const tensor_view w("ffn", row.encoding, {256}, bytes);
    CHECK(nibble_test::code_of([&] { static_cast<void>(nibble::repack(w, matmul_mode::int8)); }) ==
          nibble::error_code::unsupported_encoding);
  }
}

}  // namespace
