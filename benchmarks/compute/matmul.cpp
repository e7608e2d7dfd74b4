// y = x * w^T with w of 2048 x 2048, for one input vector and more.
#include <cmath>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/matmul.hpp>

#include <support/packed_weight.hpp>

namespace {

/// Whether the first row of y is x times the decoded weights, within the bound that matmul documents.
bool is_product(const nibble::tensor_view& weight, std::span<const float> x, std::span<const float> y) {
  std::vector<float> row(weight.cols());
  for (std::uint64_t n = 0; n < weight.rows(); ++n) {
    nibble::dequantize_rows(weight, n, 1, row);
    double product = 0.0;
    double magnitudes = 0.0;
    for (std::size_t k = 0; k < row.size(); ++k) {
      const double term = static_cast<double>(row[k]) * static_cast<double>(x[k]);
      product += term;
      magnitudes += std::fabs(term);
    }
    const double bound = static_cast<double>(row.size() + 2) * 0x1p-24 * magnitudes;
    if (!(std::fabs(static_cast<double>(y[n]) - product) <= bound)) return false;
  }
  return true;
}

void multiply(benchmark::State& state, nibble::encoding which) {
  constexpr std::uint64_t outputs = 2048;
  constexpr std::uint64_t inputs = 2048;
  const auto x_rows = static_cast<std::size_t>(state.range(0));
  const nibble_benchmark::packed_weight weight(which, outputs, inputs);
  std::vector<float> x(x_rows * inputs);
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(i * 2654435761U % 2001U) * 1e-3F - 1.0F;
  }
  std::vector<float> y(x_rows * outputs);
  nibble::matmul(weight.view(), x, y);
  if (!is_product(weight.view(), x, y)) state.SkipWithError("not the product");
  for (auto _ : state) {
    nibble::matmul(weight.view(), x, y);
    benchmark::ClobberMemory();
  }
  state.counters["FLOP"] =
      benchmark::Counter(2.0 * static_cast<double>(x_rows * outputs * inputs),
                         benchmark::Counter::kIsIterationInvariantRate, benchmark::Counter::kIs1000);
}

const bool registered = [] {
  for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
    const std::string name = "matmul/" + std::string(to_string(which)) + "/2048x2048/M";
    benchmark::RegisterBenchmark(name.c_str(), multiply, which)->Arg(1)->Arg(16)->Arg(64);
  }
  return true;
}();

}  // namespace
