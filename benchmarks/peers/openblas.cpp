// OpenBLAS on the same weights, already expanded to f32: sgemv for one input vector, sgemm for more.
#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <cblas.h>

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/shapes.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

using nibble_benchmark::matmul_shape;

void multiply(benchmark::State& state, const matmul_shape& shape, std::size_t x_rows,
              unsigned threads) {
  const auto values = nibble_benchmark::gaussian_weights(shape.outputs, shape.inputs);
  const std::vector<float>& weights = *values;
  const auto outputs = static_cast<blasint>(shape.outputs);
  const auto inputs = static_cast<blasint>(shape.inputs);
  const std::vector<float> x =
      nibble_benchmark::unstructured_values(x_rows * static_cast<std::size_t>(shape.inputs));
  std::vector<float> y(x_rows * static_cast<std::size_t>(shape.outputs));
  openblas_set_num_threads(static_cast<int>(threads));
  const auto multiply_once = [&] {
    if (x_rows == 1) {
      cblas_sgemv(CblasRowMajor, CblasNoTrans, outputs, inputs, 1.0F, weights.data(), inputs, x.data(),
                  1, 0.0F, y.data(), 1);
    } else {
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<blasint>(x_rows), outputs,
                  inputs, 1.0F, x.data(), inputs, weights.data(), inputs, 0.0F, y.data(), outputs);
    }
  };
  multiply_once();
  const double error = nibble_benchmark::product_error(
      shape.outputs, shape.inputs, x, y, [&](std::uint64_t row, std::span<float> to) {
        std::copy_n(weights.begin() + static_cast<std::ptrdiff_t>(row * shape.inputs), to.size(),
                    to.begin());
      });
  if (error >= 1e-5) state.SkipWithError("not the product");
  for (auto _ : state) {
    multiply_once();
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(weights.size());
  nibble_benchmark::report(
      state, {.elements = elements,
              .flop = 2.0 * static_cast<double>(x_rows) * elements,
              .bytes_read = static_cast<double>((weights.size() + x.size()) * sizeof(float)),
              .bytes_written = static_cast<double>(y.size() * sizeof(float))});
  state.counters["relative_error"] = error;
  state.SetLabel(openblas_get_corename());
}

const bool registered = [] {
  for (const matmul_shape& shape : nibble_benchmark::matmul_shapes()) {
    for (const std::size_t x_rows : shape.x_rows) {
      for (const unsigned threads : nibble_benchmark::thread_counts()) {
        if (threads > 1 && !nibble_benchmark::is_run_on_all_threads(shape.inputs, x_rows)) continue;
        nibble_benchmark::register_benchmark(
            "openblas/matmul/f32/" + std::string(x_rows == 1 ? "sgemv/" : "sgemm/") + shape.name() +
                "/M:" + std::to_string(x_rows),
            threads, [=](benchmark::State& state) { multiply(state, shape, x_rows, threads); });
      }
    }
  }
  return true;
}();

}  // namespace
