// y = x * w^T: every encoding, mode and shape, for one input vector and more.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repack.hpp>

#include <benchmarks/support/matmul_modes.hpp>
#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/shapes.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

using nibble_benchmark::matmul_mode_description;
using nibble_benchmark::matmul_shape;

/// `multiplied` is the weight, or what it was repacked to.
template <class Multiplied, class Options>
void multiply(benchmark::State& state, const nibble::tensor_view& weight, const Multiplied& multiplied,
              std::size_t multiplied_bytes, const matmul_mode_description& mode, std::size_t x_rows,
              const Options& options) {
  const std::vector<float> x =
      nibble_benchmark::unstructured_values(x_rows * static_cast<std::size_t>(weight.cols()));
  std::vector<float> y(x_rows * static_cast<std::size_t>(weight.rows()));
  nibble::matmul(multiplied, x, y, options);
  const double error = nibble_benchmark::product_error(
      weight.rows(), weight.cols(), x, y, [&](std::uint64_t row, std::span<float> values) {
        nibble::dequantize_rows(weight, row, 1, values);
      });
  if (error >= mode.wrong_from) state.SkipWithError("not the product");
  for (auto _ : state) {
    nibble::matmul(multiplied, x, y, options);
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(weight.elements());
  nibble_benchmark::report(
      state, {.elements = elements,
              .flop = 2.0 * static_cast<double>(x_rows) * elements,
              .bytes_read = static_cast<double>(multiplied_bytes + x.size() * sizeof(float)),
              .bytes_written = static_cast<double>(y.size() * sizeof(float))});
  state.counters["relative_error"] = error;
}

nibble::matmul_options in_place_options(const matmul_mode_description& mode, unsigned threads) {
  return {.mode = mode.mode, .executor = nibble_benchmark::executor_of(threads)};
}

void multiply_packed(benchmark::State& state, nibble::encoding which, const matmul_shape& shape,
                     const matmul_mode_description& mode, std::size_t x_rows, unsigned threads) {
  const auto weight = nibble_benchmark::weight_of(which, shape.outputs, shape.inputs);
  multiply(state, weight->view(), weight->view(), weight->bytes.size(), mode, x_rows,
           in_place_options(mode, threads));
}

/// Bytes that products with a repacked weight read: where there was nothing to repack, the stored ones.
std::size_t bytes_of(const nibble::repacked_weight& repacked) {
  return repacked.size_bytes() == 0 ? repacked.weight().bytes().size() : repacked.size_bytes();
}

void multiply_repacked(benchmark::State& state, nibble::encoding which, const matmul_shape& shape,
                       const matmul_mode_description& mode, std::size_t x_rows, unsigned threads) {
  const auto weight = nibble_benchmark::weight_of(which, shape.outputs, shape.inputs);
  const nibble::repacked_weight repacked = nibble::repack(weight->view(), mode.mode);
  multiply(state, weight->view(), repacked, bytes_of(repacked), mode, x_rows,
           nibble::repacked_matmul_options{.executor = nibble_benchmark::executor_of(threads)});
}

/// A few rows over and over, for encodings whose rows can be put one after the other; `multiply_weight`
/// takes the weight, and its bytes' number.
template <class MultiplyWeight>
void with_weight_beyond_caches(nibble::encoding which, const matmul_shape& shape,
                               const MultiplyWeight& multiply_weight) {
  constexpr std::uint64_t distinct_rows = nibble_benchmark::distinct_rows_beyond_caches;
  const auto part = nibble_benchmark::weight_of(which, distinct_rows, shape.inputs);
  std::vector<std::byte> bytes;
  for (std::uint64_t row = 0; row < shape.outputs; row += distinct_rows) {
    bytes.insert(bytes.end(), part->bytes.begin(), part->bytes.end());
  }
  multiply_weight(nibble::tensor_view("weight", which, {shape.outputs, shape.inputs}, bytes));
}

void multiply_beyond_caches(benchmark::State& state, nibble::encoding which, const matmul_shape& shape,
                            const matmul_mode_description& mode, std::size_t x_rows, unsigned threads) {
  with_weight_beyond_caches(which, shape, [&](const nibble::tensor_view& weight) {
    multiply(state, weight, weight, weight.bytes().size(), mode, x_rows,
             in_place_options(mode, threads));
  });
}

void multiply_repacked_beyond_caches(benchmark::State& state, nibble::encoding which,
                                     const matmul_shape& shape, const matmul_mode_description& mode,
                                     std::size_t x_rows, unsigned threads) {
  with_weight_beyond_caches(which, shape, [&](const nibble::tensor_view& weight) {
    const nibble::repacked_weight repacked = nibble::repack(weight, mode.mode);
    multiply(state, weight, repacked, bytes_of(repacked), mode, x_rows,
             nibble::repacked_matmul_options{.executor = nibble_benchmark::executor_of(threads)});
  });
}

const bool registered = [] {
  const auto add = [](nibble::encoding which, const matmul_mode_description& mode,
                      const matmul_shape& shape, auto body, std::string_view form = "") {
    if (shape.inputs % nibble::describe(which).block_cols() != 0) return;
    for (const std::size_t x_rows : shape.x_rows) {
      for (const unsigned threads : nibble_benchmark::thread_counts()) {
        if (threads > 1 && !nibble_benchmark::is_run_on_all_threads(shape.inputs, x_rows)) continue;
        nibble_benchmark::register_benchmark(
            "nibble/matmul/" + std::string(to_string(which)) + "/" + std::string(mode.name) +
                std::string(form) + "/" + shape.name() + "/M:" + std::to_string(x_rows),
            threads,
            [=](benchmark::State& state) { body(state, which, shape, mode, x_rows, threads); });
      }
    }
  };
  // One encoding after the other: packed weights are kept for neighbours.
  const auto add_in_all_modes = [&](nibble::encoding which, const matmul_shape& shape, bool repacks) {
    for (const auto& mode : nibble_benchmark::matmul_modes) {
      add(which, mode, shape, multiply_packed);
      if (!repacks || mode.mode == nibble::matmul_mode::exact) continue;
      add(which, mode, shape, multiply_repacked, "_repacked");
    }
  };
  for (const matmul_shape& shape : nibble_benchmark::matmul_shapes()) {
    for (const nibble::encoding which : nibble_benchmark::packed_encodings) {
      add_in_all_modes(which, shape, which == nibble::encoding::q4 || which == nibble::encoding::q8);
    }
    for (const nibble::encoding which : nibble_benchmark::ggml_encodings) {
      add_in_all_modes(which, shape, true);
    }
  }
  for (const matmul_shape& shape : nibble_benchmark::shapes_beyond_caches()) {
    for (const nibble::encoding which :
         {nibble::encoding::q8, nibble::encoding::q4, nibble::encoding::bf16, nibble::encoding::q4_k,
          nibble::encoding::q6_k, nibble::encoding::q4_r8}) {
      for (const auto& mode : nibble_benchmark::matmul_modes) {
        add(which, mode, shape, multiply_beyond_caches);
        const bool repacks = which != nibble::encoding::bf16 && which != nibble::encoding::q4_r8;
        if (mode.mode == nibble::matmul_mode::exact || !repacks) continue;
        add(which, mode, shape, multiply_repacked_beyond_caches, "_repacked");
      }
    }
  }
  return true;
}();

}  // namespace
