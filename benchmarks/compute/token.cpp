// One token of a model with SmolLM-135M's shape: all its products by one row of activations, from
// weights that no cache holds, as an engine multiplies (q, k and v together, gate and up together).
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repack.hpp>

#include <benchmarks/support/matmul_modes.hpp>
#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

using nibble_benchmark::matmul_mode_description;
using nibble_benchmark::packed_weight;

constexpr std::uint64_t hidden = 576;
constexpr std::uint64_t key_value = 192;
constexpr std::uint64_t feed_forward = 1536;
constexpr std::uint64_t vocabulary = 49152;
constexpr std::size_t layers = 30;

/// The weights of a layer, or the head; every layer has bytes of its own.
struct model {
  std::vector<std::vector<packed_weight>> steps{};  ///< weights that are multiplied with one input
  std::size_t bytes = 0;

  explicit model(nibble::encoding which) {
    const auto add = [&](std::vector<std::uint64_t> outputs, std::uint64_t inputs) {
      std::vector<packed_weight>& step = steps.emplace_back();
      for (const std::uint64_t rows : outputs) {
        step.emplace_back(which, rows, inputs);
        bytes += step.back().bytes.size();
      }
    };
    for (std::size_t layer = 0; layer < layers; ++layer) {
      add({hidden, key_value, key_value}, hidden);
      add({hidden}, hidden);
      add({feed_forward, feed_forward}, hidden);
      add({hidden}, feed_forward);
    }
    add({vocabulary}, hidden);
  }
};

void report(benchmark::State& state, const model& of, std::size_t bytes_read, double error) {
  double elements = 0.0;
  for (const auto& step : of.steps) {
    for (const packed_weight& weight : step) elements += static_cast<double>(weight.shape.elements());
  }
  nibble_benchmark::report(
      state,
      {.elements = elements, .flop = 2.0 * elements, .bytes_read = static_cast<double>(bytes_read)});
  state.counters["relative_error"] = error;
}

/// How far the head's product is from what it should be.
double error_of_head(const model& of, std::span<const float> x, std::span<const float> y) {
  const packed_weight& head = of.steps.back().front();
  const nibble::tensor_view view = head.view();
  return nibble_benchmark::product_error(head.shape.rows(), head.shape.cols(),
                                         x.first(static_cast<std::size_t>(head.shape.cols())), y,
                                         [&](std::uint64_t row, std::span<float> values) {
                                           nibble::dequantize_rows(view, row, 1, values);
                                         });
}

void multiply_in_place(benchmark::State& state, nibble::encoding which,
                       const matmul_mode_description& mode, unsigned threads) {
  const model all(which);
  const std::vector<float> x = nibble_benchmark::unstructured_values(feed_forward);
  std::vector<float> y(vocabulary);
  std::vector<std::byte> scratch(nibble::max_matmul_scratch_bytes);
  const nibble::joint_matmul_options options{
      .mode = mode.mode, .executor = nibble_benchmark::executor_of(threads), .scratch = scratch};
  const auto token = [&] {
    for (const auto& step : all.steps) {
      std::vector<nibble::matmul_product> products;
      std::span<float> rest(y);
      for (const packed_weight& weight : step) {
        const auto rows = static_cast<std::size_t>(weight.shape.rows());
        products.push_back({weight.view(), rest.first(rows)});
        rest = rest.subspan(rows);
      }
      nibble::matmul(products, std::span(x).first(static_cast<std::size_t>(step.front().shape.cols())),
                     options);
    }
  };
  token();
  const double error = error_of_head(all, x, y);
  if (error >= mode.wrong_from) state.SkipWithError("not the product");
  for (auto _ : state) token();
  report(state, all, all.bytes, error);
}

void multiply_repacked(benchmark::State& state, nibble::encoding which,
                       const matmul_mode_description& mode, unsigned threads) {
  const model all(which);
  std::vector<nibble::repacked_weight> repacked;
  std::size_t bytes = 0;
  for (const auto& step : all.steps) {
    for (const packed_weight& weight : step) {
      repacked.push_back(nibble::repack(weight.view(), mode.mode));
      bytes += repacked.back().size_bytes();
    }
  }
  const std::vector<float> x = nibble_benchmark::unstructured_values(feed_forward);
  std::vector<float> y(vocabulary);
  std::vector<std::byte> scratch(nibble::max_matmul_scratch_bytes);
  const nibble::repacked_matmul_options options{.executor = nibble_benchmark::executor_of(threads),
                                                .scratch = scratch};
  const auto token = [&] {
    for (const nibble::repacked_weight& weight : repacked) {
      nibble::matmul(weight, std::span(x).first(static_cast<std::size_t>(weight.weight().cols())),
                     std::span(y).first(static_cast<std::size_t>(weight.weight().rows())), options);
    }
  };
  token();
  const double error = error_of_head(all, x, y);
  if (error >= mode.wrong_from) state.SkipWithError("not the product");
  for (auto _ : state) token();
  report(state, all, bytes, error);
}

const bool registered = [] {
  for (const nibble::encoding which : {nibble::encoding::q4, nibble::encoding::q8}) {
    for (const auto& mode : nibble_benchmark::matmul_modes) {
      for (const unsigned threads : nibble_benchmark::thread_counts()) {
        const std::string name =
            "nibble/token/" + std::string(to_string(which)) + "/" + std::string(mode.name);
        nibble_benchmark::register_benchmark(
            name + "/smollm-135m", threads,
            [=](benchmark::State& state) { multiply_in_place(state, which, mode, threads); });
        if (mode.mode == nibble::matmul_mode::exact) continue;
        nibble_benchmark::register_benchmark(
            name + "_repacked/smollm-135m", threads,
            [=](benchmark::State& state) { multiply_repacked(state, which, mode, threads); });
      }
    }
  }
  return true;
}();

}  // namespace
