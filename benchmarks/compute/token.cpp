// One token of a model with SmolLM-135M's shape: all its products by one row of activations, from
// weights that no cache holds whole, as an engine multiplies (q, k and v together, gate and up together).
// They lie as those of a file that is read to memory, in huge pages.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/core/weight_memory.hpp>

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

/// A packed weight, in memory that it shares with others.
struct stored_weight {
  nibble::tensor_view view;
  nibble::weight_memory::part bytes;
};

/// The weights of a layer, or the head; every layer has bytes of its own.
struct model {
  std::vector<std::vector<stored_weight>> steps{};  ///< weights that are multiplied with one input
  std::size_t bytes = 0;

  explicit model(nibble::encoding which) {
    nibble::weight_memory memory;
    const auto add = [&](std::vector<std::uint64_t> outputs, std::uint64_t inputs) {
      std::vector<stored_weight>& step = steps.emplace_back();
      for (const std::uint64_t rows : outputs) {
        const packed_weight packed(which, rows, inputs);
        nibble::weight_memory::part stored = memory.take(packed.bytes.size());
        std::ranges::copy(packed.bytes, stored.bytes().begin());
        bytes += packed.bytes.size();
        const nibble::tensor_view view("weight", which, packed.shape, stored.bytes());
        step.push_back({view, std::move(stored)});
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
    for (const stored_weight& weight : step) {
      elements += static_cast<double>(weight.view.shape().elements());
    }
  }
  nibble_benchmark::report(
      state,
      {.elements = elements, .flop = 2.0 * elements, .bytes_read = static_cast<double>(bytes_read)});
  state.counters["relative_error"] = error;
}

/// How far the head's product is from what it should be.
double error_of_head(const model& of, std::span<const float> x, std::span<const float> y) {
  const nibble::tensor_view view = of.steps.back().front().view;
  return nibble_benchmark::product_error(view.rows(), view.cols(),
                                         x.first(static_cast<std::size_t>(view.cols())), y,
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
      for (const stored_weight& weight : step) {
        const auto rows = static_cast<std::size_t>(weight.view.rows());
        products.push_back({weight.view, rest.first(rows)});
        rest = rest.subspan(rows);
      }
      const auto cols = static_cast<std::size_t>(step.front().view.cols());
      nibble::matmul(products, std::span(x).first(cols), options);
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
  nibble::weight_memory memory;
  std::vector<nibble::repacked_weight> repacked;
  std::size_t bytes = 0;
  for (const auto& step : all.steps) {
    for (const stored_weight& weight : step) {
      repacked.push_back(nibble::repack(weight.view, mode.mode, {.memory = &memory}));
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
  for (const nibble::encoding which :
       {nibble::encoding::q4, nibble::encoding::q8, nibble::encoding::q4_r8, nibble::encoding::q8_r8}) {
    for (const auto& mode : nibble_benchmark::matmul_modes) {
      for (const unsigned threads : nibble_benchmark::thread_counts()) {
        const std::string name =
            "nibble/token/" + std::string(to_string(which)) + "/" + std::string(mode.name);
        nibble_benchmark::register_benchmark(
            name + "/smollm-135m", threads,
            [=](benchmark::State& state) { multiply_in_place(state, which, mode, threads); });
        const bool is_interleaved =
            which == nibble::encoding::q4_r8 || which == nibble::encoding::q8_r8;
        if (mode.mode == nibble::matmul_mode::exact || is_interleaved) continue;
        nibble_benchmark::register_benchmark(
            name + "_repacked/smollm-135m", threads,
            [=](benchmark::State& state) { multiply_repacked(state, which, mode, threads); });
      }
    }
  }
  return true;
}();

}  // namespace
