// This program is compiled for the least machine; every run of it is told its kernels by NIBBLE_ARCH.
#include <nibble/nibble.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/random_values.hpp>
#include <support/shuffled_executor.hpp>
#include <support/stored_tensors.hpp>

namespace {

using nibble::encoding;
using nibble::error_code;
using nibble::tensor_view;
using nibble_test::decodable_encodings;
using portable = nibble::simd::portable;

std::string forced_name() {
  const char* const name = std::getenv("NIBBLE_ARCH");
  return name == nullptr ? "" : name;
}

/// Whether this machine can run what NIBBLE_ARCH asks for.
bool can_run() {
  const std::string forced = forced_name();
  if (forced.empty()) return true;
  for (auto table = nibble_kernel_tables; *table != nullptr; ++table) {
    if ((*table)->name != forced) continue;
    return (*table)->needs.without(nibble::simd::available_cpu_features()).is_empty();
  }
  return false;
}

template <class T>
bool is_same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// The kernels that /proc/cpuinfo speaks for.
[[maybe_unused]] std::string best_name(const std::string& cpuinfo) {
  const auto has = [&](const std::string& flag) {
    return cpuinfo.find(' ' + flag + ' ') != std::string::npos;
  };
  if (has("avx512f") && has("avx512bw") && has("avx512cd") && has("avx512dq") && has("avx512vl")) {
    if (has("avx512_vnni")) return has("avx512_bf16") ? "avx512_bf16" : "avx512_vnni";
    return "avx512";
  }
  if (has("avx2") && has("fma") && has("f16c")) return has("avx_vnni") ? "avx_vnni" : "avx2";
  return has("sse4_1") ? "sse4_1" : "baseline";
}

TEST_CASE("this unit is compiled for the least machine", "[dispatch]") {
  CHECK(to_string(nibble::simd::compiled_cpu_features()).empty());
}

TEST_CASE("the kernels are those that NIBBLE_ARCH names, or the best", "[dispatch]") {
  const std::string forced = forced_name();
  if (!can_run()) {
    const auto refusal =
        nibble_test::error_of([] { static_cast<void>(nibble::dispatched_architecture()); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->code() == error_code::unsupported_architecture);
    const std::string text = refusal->what();
    CHECK(text.find("NIBBLE_ARCH: unsupported_architecture: found '" + forced + "'") == 0);
    CHECK(text.find("baseline") != std::string::npos);
    const std::vector<nibble::float16> from(1);
    std::vector<float> to(1);
    CHECK(nibble_test::code_of([&] { nibble::convert(from, to); }) ==
          error_code::unsupported_architecture);
    WARN(text);
    return;
  }
  const std::string name(nibble::dispatched_architecture());
  if (!forced.empty()) {
    CHECK(name == forced);
    return;
  }
  WARN("the best here: " << name);
#if defined(__linux__) && defined(__x86_64__)
  std::ifstream file("/proc/cpuinfo");
  std::stringstream text;
  text << file.rdbuf();
  CHECK(name == best_name(text.str()));
#elif defined(__linux__) && defined(__aarch64__)
  const bool has_i8mm = (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
  const bool has_dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  CHECK(name == (has_i8mm ? "neon_i8mm" : has_dotprod ? "neon_dotprod" : "baseline"));
#endif
}

template <class To>
void require_same_decode(const tensor_view& view, nibble::executor* on) {
  std::vector<To> expected(view.elements()), found(view.elements());
  nibble::dequantize<To, portable>(view, std::span(expected));
  nibble::dequantize(view, found, {.executor = on});
  CHECK(is_same(expected, found));
}

TEST_CASE("every kernel decodes to the portable code's bits", "[dispatch]") {
  if (!can_run()) return;
  nibble_test::shuffled_executor threads(1);
  const std::array<nibble::executor*, 2> executors = {nullptr, &threads};
  for (const encoding which : decodable_encodings) {
    for (const std::uint64_t cols : {1U, 31U, 65U, 576U}) {
      CAPTURE(to_string(which), cols);
      const auto bytes = nibble_test::finite_stored_bytes(which, 300, cols, 7);
      const tensor_view view("w", which, {300, cols}, bytes);
      for (nibble::executor* const on : executors) {
        require_same_decode<float>(view, on);
        require_same_decode<nibble::float16>(view, on);
        require_same_decode<nibble::bfloat16>(view, on);
      }
      const nibble::value_counts expected = nibble::count_values<portable>(view);
      const nibble::value_counts found = nibble::count_values(view);
      CHECK(found.elements == expected.elements);
      CHECK(found.zero == expected.zero);
      CHECK(found.nan + found.infinite == 0);
    }
  }
  CHECK(threads.tasks_run > 0);
}

TEST_CASE("every kernel packs to the bytes that this unit packs to", "[dispatch]") {
  if (!can_run()) return;
  constexpr std::size_t count = 2000;
  const auto values = nibble_test::heavy_tailed(count, 9);
  auto importance = nibble_test::gaussian(count, 10, 1.0F);
  for (float& each : importance) each *= each;
  for (const encoding which : nibble_test::packable_encodings) {
    const nibble::encoding_description& row = nibble::describe(which);
    if (!row.has_blocks() || row.block_rows() > 1) continue;
    for (const auto search : {nibble::packing_search::fast, nibble::packing_search::best}) {
      for (const bool weighs : {false, true}) {
        CAPTURE(row.name, static_cast<int>(search), weighs);
        const nibble::values_of_blocks from{
            .which = which,
            .values = values,
            .importance = weighs ? importance : std::span<const float>(),
            .search = search};
        std::vector<std::byte> expected(*nibble::stored_bytes(which, {1, count}));
        std::vector<std::byte> found(expected.size());
        const auto by_this_unit = nibble::kernel::pack_blocks<>(from, expected.data());
        const auto by_kernel = nibble::kernel::picked_pack_blocks(from, found.data());
        REQUIRE(by_this_unit.status == nibble::pack_status::packed);
        REQUIRE(by_kernel.status == nibble::pack_status::packed);
        CHECK(is_same(expected, found));
      }
    }
  }
}

template <class Half, class Widen, class Narrow>
void require_same_conversion(Widen widen, Narrow narrow) {
  std::vector<Half> halves(1U << 16U), narrowed(halves.size()), expected_halves(halves.size());
  std::vector<float> expected(halves.size()), widened(halves.size());
  for (std::size_t i = 0; i < halves.size(); ++i) {
    halves[i] = {static_cast<std::uint16_t>(i)};
    expected[i] = widen(halves[i]);
    expected_halves[i] = narrow(expected[i]);
  }
  nibble::convert(halves, widened);
  CHECK(is_same(expected, widened));
  nibble::convert(expected, narrowed);
  CHECK(is_same(expected_halves, narrowed));
}

TEST_CASE("every kernel converts as the scalar functions do", "[dispatch]") {
  if (!can_run()) return;
  require_same_conversion<nibble::float16>([](auto x) { return nibble::to_float32(x); },
                                           [](float x) { return nibble::to_float16(x); });
  require_same_conversion<nibble::bfloat16>([](auto x) { return nibble::to_float32(x); },
                                            [](float x) { return nibble::to_bfloat16(x); });
}

TEST_CASE("every kernel's products lie within the documented bound", "[dispatch]") {
  if (!can_run()) return;
  nibble_test::shuffled_executor threads(2);
  constexpr std::size_t m = 5, n = 67, k = 1055;
  const auto x = nibble_test::gaussian(m * k, 3, 1.0F);
  for (const encoding which : decodable_encodings) {
    CAPTURE(to_string(which));
    const auto bytes = nibble_test::finite_stored_bytes(which, n, k, 11);
    const auto weights =
        nibble_test::independent_decoder(nibble::to_string(which), bytes, k).rows(0, n);
    const tensor_view view("w", which, {n, k}, bytes);
    std::vector<float> y(m * n), in_parallel(m * n);
    nibble::matmul(view, x, y);
    nibble::matmul(view, x, in_parallel, {.executor = &threads});
    CHECK(is_same(y, in_parallel));
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < n; ++j) {
        double product = 0.0, magnitudes = 0.0;
        for (std::size_t at = 0; at < k; ++at) {
          const auto term =
              static_cast<double>(x[i * k + at]) * static_cast<double>(weights[j * k + at]);
          product += term;
          magnitudes += std::fabs(term);
        }
        const double bound = (static_cast<double>(k) + 3.0) * 0x1p-24 * magnitudes;
        if (!(std::fabs(static_cast<double>(y[i * n + j]) - product) <= bound)) {
          FAIL("y[" << i << "][" << j << "] is " << y[i * n + j] << " instead of " << product);
        }
      }
    }
  }
}

TEST_CASE("every kernel's products of coded activations stay near the exact ones", "[dispatch]") {
  if (!can_run()) return;
  constexpr std::size_t n = 67, k = 1056;
  for (const encoding which : {encoding::q8, encoding::q4, encoding::apr_q8, encoding::apr_q4}) {
    const auto bytes = nibble_test::finite_stored_bytes(which, n, k, 13);
    const auto weights =
        nibble_test::independent_decoder(nibble::to_string(which), bytes, k).rows(0, n);
    const tensor_view view("w", which, {n, k}, bytes);
    for (const std::size_t m : {1U, 3U, 9U}) {
      const auto x = nibble_test::gaussian(m * k, 4, 1.0F);
      for (const auto& [mode, limit] :
           {std::pair{nibble::matmul_mode::int16, 1e-4}, {nibble::matmul_mode::int8, 1.5e-2}}) {
        std::vector<float> y(m * n), repacked(m * n);
        nibble::matmul(view, x, y, {.mode = mode});
        nibble::matmul(nibble::repack(view, mode), x, repacked);
        double difference = 0.0, repacked_difference = 0.0, norm = 0.0;
        for (std::size_t i = 0; i < y.size(); ++i) {
          double product = 0.0;
          for (std::size_t at = 0; at < k; ++at) {
            product +=
                static_cast<double>(x[i / n * k + at]) * static_cast<double>(weights[i % n * k + at]);
          }
          difference += std::pow(static_cast<double>(y[i]) - product, 2);
          repacked_difference += std::pow(static_cast<double>(repacked[i]) - product, 2);
          norm += product * product;
        }
        CAPTURE(to_string(which), m, limit);
        CHECK(std::sqrt(difference / norm) <= limit);
        CHECK(std::sqrt(repacked_difference / norm) <= limit);
      }
    }
  }
}

/// Throws what it is given from the midst of a kernel's call.
template <class Exception>
class throwing_executor final : public nibble::executor {
 public:
  explicit throwing_executor(Exception thrown) : thrown_(std::move(thrown)) {}
  void run(std::size_t tasks, nibble::task_reference body) override {
    body(tasks - 1);
    throw Exception(thrown_);
  }

 private:
  Exception thrown_;
};

TEST_CASE("errors are caught as what they are", "[dispatch]") {
  if (!can_run()) return;
  const auto bytes = nibble_test::finite_stored_bytes(encoding::q4, 4096, 64, 1);
  const tensor_view view("w", encoding::q4, {4096, 64}, bytes);
  std::vector<float> values(view.elements());
  CHECK(nibble_test::code_of([&] { nibble::dequantize_rows(view, 4096, 1, values); }) ==
        error_code::out_of_range);
  CHECK(nibble_test::code_of([&] { nibble::matmul(view, values, std::span(values).first(1)); }) ==
        error_code::invalid_argument);

  constexpr encoding kept = encoding::f8_e4m3;  // listed and kept, not decoded
  static_assert(!nibble::is_decodable(kept));
  const std::vector<std::byte> kept_bytes(256);
  const tensor_view undecodable("w", kept, {1, 256}, kept_bytes);
  std::vector<float> y(1);
  const std::span<float> x(values.data(), 256);
  CHECK(nibble_test::code_of([&] { nibble::dequantize(undecodable, x); }) ==
        error_code::unsupported_encoding);
  CHECK(nibble_test::code_of([&] { nibble::matmul(undecodable, x, y); }) ==
        error_code::unsupported_encoding);
  CHECK(nibble_test::code_of([&] { static_cast<void>(nibble::count_values(undecodable)); }) ==
        error_code::unsupported_encoding);
  CHECK(nibble_test::code_of([&] {
          static_cast<void>(nibble::repack(undecodable, nibble::matmul_mode::int8));
        }) == error_code::unsupported_encoding);

  // Public functions have checked what kernels are given; if a kernel throws all the same, it throws our error.
  CHECK(nibble_test::code_of([&] {
          nibble::picked_at_run_time::kernels().decode_f32(undecodable, 0, 1, values.data(), nullptr);
        }) == error_code::unsupported_encoding);

  throwing_executor ours(nibble::error(error_code::cancelled, {.field = "executor"}));
  CHECK(nibble_test::code_of([&] { nibble::dequantize(view, values, {.executor = &ours}); }) ==
        error_code::cancelled);
  throwing_executor theirs(std::length_error("theirs"));
  CHECK_THROWS_AS(nibble::dequantize(view, values, {.executor = &theirs}), std::length_error);
  const std::vector<float> ones(8 * 64, 1.0F);
  std::vector<float> outputs(8 * 4096);
  CHECK_THROWS_AS(nibble::matmul(view, ones, outputs, {.executor = &theirs}), std::length_error);
}

}  // namespace
