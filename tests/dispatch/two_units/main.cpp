// Two units of one program, compiled for different instruction sets: each runs kernels of its own.
#include <cmath>
#include <cstdio>
#include <string>

#include <nibble/nibble.hpp>
#include <nibble/simd/cpu_features.hpp>

#include "unit.hpp"

namespace {

int failures = 0;

void check(bool is_right, const char* what) {
  if (is_right) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

void check_results(const two_units::report& of, std::span<const float> weights,
                   std::span<const float> x, std::size_t cols) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    check(std::fabs(of.values[i] - weights[i]) <= 0.05F, "a value");
  }
  const std::size_t rows = weights.size() / cols;
  for (std::size_t i = 0; i < of.products.size(); ++i) {
    const std::size_t m = i / rows;
    const std::size_t n = i % rows;
    double product = 0.0;
    for (std::size_t k = 0; k < cols; ++k) {
      product += static_cast<double>(x[m * cols + k]) * static_cast<double>(of.values[n * cols + k]);
    }
    check(std::fabs(static_cast<double>(of.products[i]) - product) <= 1e-3, "a product");
  }
}

}  // namespace

int main() {
  constexpr std::size_t rows = 37, cols = 130, x_rows = 3;
  std::vector<float> weights(rows * cols), x(x_rows * cols);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 29) / 28.0F;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 11) / 10.0F - 0.5F;
  std::vector<std::byte> bytes(*nibble::stored_bytes(nibble::encoding::q4, {rows, cols}));
  nibble::quantize(nibble::encoding::q4, {rows, cols}, weights, bytes);
  const nibble::tensor_view w("w", nibble::encoding::q4, {rows, cols}, bytes);

  const two_units::report least = two_units::least(w, x);
  check_results(least, weights, x, cols);
  std::printf("one unit runs %s\n", std::string(least.architecture).c_str());
  using nibble::simd::cpu_feature;
  const nibble::simd::cpu_feature_set has = nibble::simd::available_cpu_features();
  const bool has_avx2 =
      has.has(cpu_feature::avx2) && has.has(cpu_feature::fma) && has.has(cpu_feature::f16c);
  if (!has_avx2) {
    std::puts("this machine cannot run the other");
    return failures == 0 ? 0 : 1;
  }
  const two_units::report avx2 = two_units::avx2(w, x);
  check_results(avx2, weights, x, cols);
  std::printf("the other runs %s\n", std::string(avx2.architecture).c_str());
  check(least.architecture == "sse2", "the first unit's architecture");
  check(avx2.architecture == "avx2_fma_f16", "the second unit's architecture");
  check(least.convert != avx2.convert, "one convert() for both");
  check(least.to_float32 != avx2.to_float32, "one to_float32() for both");
  check(least.values == avx2.values, "decoding differs between the units");
  check(least.halves == avx2.halves, "converting differs between the units");
  return failures == 0 ? 0 : 1;
}
