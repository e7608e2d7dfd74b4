// ggml on its own encodings of the same weights: to_float, and mul_mat of its CPU backend through its
// public interface, from the bytes as they are and from buffers that it repacks them into.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/shapes.hpp>
#include <benchmarks/support/threads.hpp>

namespace {

using nibble_benchmark::matmul_shape;

struct encoding {
  ggml_type type;
  const char* name;
};
constexpr encoding encodings[] = {{GGML_TYPE_Q4_0, "q4_0"},
                                  {GGML_TYPE_Q4_1, "q4_1"},
                                  {GGML_TYPE_Q4_K, "q4_k"},
                                  {GGML_TYPE_Q8_0, "q8_0"}};

/// Calls Release on what a C function gave.
template <auto Release>
struct releaser {
  template <class T>
  void operator()(T* held) const noexcept {
    Release(held);
  }
};
using context = std::unique_ptr<ggml_context, releaser<ggml_free>>;
using buffer = std::unique_ptr<ggml_backend_buffer, releaser<ggml_backend_buffer_free>>;
using backend = std::unique_ptr<ggml_backend, releaser<ggml_backend_free>>;

template <class T>
T* require(T* given, const char* what) {
  if (given == nullptr) throw std::runtime_error(std::string("ggml gave no ") + what);
  return given;
}

context new_context() {
  return context(require(ggml_init({.mem_size = ggml_tensor_overhead() * 8 + ggml_graph_overhead(),
                                    .mem_buffer = nullptr,
                                    .no_alloc = true}),
                         "context"));
}

/// The weights in a ggml encoding; the last ones asked for are kept.
std::shared_ptr<const std::vector<std::byte>> packed(ggml_type type, std::uint64_t rows,
                                                     std::uint64_t cols) {
  static std::shared_ptr<const std::vector<std::byte>> last;
  static ggml_type last_type = GGML_TYPE_COUNT;
  static std::uint64_t last_rows = 0;
  static std::uint64_t last_cols = 0;
  if (last != nullptr && last_type == type && last_rows == rows && last_cols == cols) return last;
  last.reset();
  const auto values = nibble_benchmark::gaussian_weights(rows, cols);
  const auto columns = static_cast<std::int64_t>(cols);
  std::vector<std::byte> bytes(ggml_row_size(type, columns) * rows);
  ggml_quantize_chunk(type, values->data(), bytes.data(), 0, static_cast<std::int64_t>(rows), columns,
                      nullptr);
  last = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  last_type = type;
  last_rows = rows;
  last_cols = cols;
  return last;
}

void decode(benchmark::State& state, ggml_type type, std::uint64_t rows, std::uint64_t cols) {
  const auto values = nibble_benchmark::gaussian_weights(rows, cols);
  const auto bytes = packed(type, rows, cols);
  std::vector<float> decoded(values->size());
  const auto to_float = ggml_get_type_traits(type)->to_float;
  const auto decode_once = [&] {
    to_float(bytes->data(), decoded.data(), static_cast<std::int64_t>(decoded.size()));
  };
  decode_once();
  const double error = nibble_benchmark::relative_error(*values, decoded);
  if (error > nibble_benchmark::wrong_from)
    state.SkipWithError("decoded values are not the packed ones");
  for (auto _ : state) {
    decode_once();
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(decoded.size());
  nibble_benchmark::report(state, {.elements = elements,
                                   .flop = nibble_benchmark::decode_flop * elements,
                                   .bytes_read = static_cast<double>(bytes->size()),
                                   .bytes_written = elements * sizeof(float)});
  state.counters["relative_error"] = error;
}

/// A weight in a buffer type of the CPU backend, and y = x * w^T as a graph of one node.
class product {
 public:
  product(ggml_type type, std::span<const std::byte> bytes, const matmul_shape& shape,
          std::size_t x_rows, ggml_backend_buffer_type_t weight_buffer)
      : weight_context_(new_context()), graph_context_(new_context()), backend_(new_backend()) {
    const auto outputs = static_cast<std::int64_t>(shape.outputs);
    const auto inputs = static_cast<std::int64_t>(shape.inputs);
    ggml_tensor* const weight = ggml_new_tensor_2d(weight_context_.get(), type, inputs, outputs);
    weight_buffer_.reset(require(
        ggml_backend_alloc_ctx_tensors_from_buft(weight_context_.get(), weight_buffer), "buffer"));
    x_ = ggml_new_tensor_2d(graph_context_.get(), GGML_TYPE_F32, inputs,
                            static_cast<std::int64_t>(x_rows));
    y_ = ggml_mul_mat(graph_context_.get(), weight, x_);
    if (!ggml_backend_supports_op(backend_.get(), y_)) return;
    ggml_backend_tensor_set(weight, bytes.data(), 0, bytes.size());
    graph_buffer_.reset(
        require(ggml_backend_alloc_ctx_tensors(graph_context_.get(), backend_.get()), "buffer"));
    graph_ = ggml_new_graph(graph_context_.get());
    ggml_build_forward_expand(graph_, y_);
  }

  /// Whether this buffer type can multiply by this encoding and shape at all.
  [[nodiscard]] bool is_supported() const { return graph_ != nullptr; }

  void set_threads(unsigned threads) {
    ggml_backend_cpu_set_n_threads(backend_.get(), static_cast<int>(threads));
  }
  void set_x(std::span<const float> x) { ggml_backend_tensor_set(x_, x.data(), 0, x.size_bytes()); }
  void get_y(std::span<float> y) const { ggml_backend_tensor_get(y_, y.data(), 0, y.size_bytes()); }
  void compute() {
    if (ggml_backend_graph_compute(backend_.get(), graph_) != GGML_STATUS_SUCCESS) {
      throw std::runtime_error("ggml could not compute");
    }
  }

 private:
  static backend new_backend() { return backend(require(ggml_backend_cpu_init(), "CPU backend")); }

  context weight_context_;
  context graph_context_;
  backend backend_;
  buffer weight_buffer_;
  buffer graph_buffer_;
  ggml_tensor* x_ = nullptr;
  ggml_tensor* y_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
};

struct buffer_type {
  ggml_backend_buffer_type_t type;
  std::string name;
};

/// The backend's plain buffers, and those into which it repacks weights for its own kernels.
std::vector<buffer_type> buffer_types() {
  std::vector<buffer_type> types{{ggml_backend_cpu_buffer_type(), "plain"}};
  ggml_backend_reg_t registry = ggml_backend_cpu_reg();
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
  if (extra == nullptr) return types;
  for (auto* each = extra(ggml_backend_reg_dev_get(registry, 0)); each != nullptr && *each != nullptr;
       ++each) {
    const std::string name = ggml_backend_buft_name(*each);
    types.push_back({*each, name == "CPU_REPACK" ? "repacked" : name});
  }
  return types;
}

void multiply(benchmark::State& state, ggml_type type, const buffer_type& in, const matmul_shape& shape,
              std::uint64_t distinct_rows, std::size_t x_rows, unsigned threads) {
  const auto part = packed(type, distinct_rows, shape.inputs);
  std::vector<std::byte> bytes;
  for (std::uint64_t row = 0; row < shape.outputs; row += distinct_rows) {
    bytes.insert(bytes.end(), part->begin(), part->end());
  }
  product graph(type, bytes, shape, x_rows, in.type);
  graph.set_threads(threads);
  const std::vector<float> x =
      nibble_benchmark::unstructured_values(x_rows * static_cast<std::size_t>(shape.inputs));
  std::vector<float> y(x_rows * static_cast<std::size_t>(shape.outputs));
  graph.set_x(x);
  graph.compute();
  graph.get_y(y);
  const std::size_t row_bytes = ggml_row_size(type, static_cast<std::int64_t>(shape.inputs));
  const double error = nibble_benchmark::product_error(
      shape.outputs, shape.inputs, x, y, [&](std::uint64_t row, std::span<float> to) {
        ggml_get_type_traits(type)->to_float(bytes.data() + row * row_bytes, to.data(),
                                             static_cast<std::int64_t>(to.size()));
      });
  if (error >= 2e-2) state.SkipWithError("not the product");  // Activations are coded in 8 bits.
  for (auto _ : state) graph.compute();
  const auto elements = static_cast<double>(shape.outputs * shape.inputs);
  nibble_benchmark::report(state,
                           {.elements = elements,
                            .flop = 2.0 * static_cast<double>(x_rows) * elements,
                            .bytes_read = static_cast<double>(bytes.size() + x.size() * sizeof(float)),
                            .bytes_written = static_cast<double>(y.size() * sizeof(float))});
  state.counters["relative_error"] = error;
}

void register_products(const encoding& which, const matmul_shape& shape, std::uint64_t distinct_rows) {
  const auto block = static_cast<std::uint64_t>(ggml_blck_size(which.type));
  if (shape.inputs % block != 0) return;
  for (const buffer_type& in : buffer_types()) {
    const std::vector<std::byte> probe(ggml_row_size(which.type, static_cast<std::int64_t>(block)) *
                                       64);
    if (!product(which.type, probe, {64, block, {1}}, 1, in.type).is_supported()) continue;
    for (const std::size_t x_rows : shape.x_rows) {
      for (const unsigned threads : nibble_benchmark::thread_counts()) {
        if (threads > 1 && !nibble_benchmark::is_run_on_all_threads(shape.inputs, x_rows)) continue;
        nibble_benchmark::register_benchmark("ggml/matmul/" + std::string(which.name) + "/" + in.name +
                                                 "/" + shape.name() + "/M:" + std::to_string(x_rows),
                                             threads, [=](benchmark::State& state) {
                                               multiply(state, which.type, in, shape, distinct_rows,
                                                        x_rows, threads);
                                             });
      }
    }
  }
}

const bool registered = [] {
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  for (const encoding& which : encodings) {
    for (const std::uint64_t rows : {1U, 4096U}) {
      nibble_benchmark::register_benchmark(
          "ggml/decode/" + std::string(which.name) + "/to_f32/" + std::to_string(rows) + "x4096", 1,
          [=](benchmark::State& state) { decode(state, which.type, rows, 4096); });
    }
  }
  for (const matmul_shape& shape : nibble_benchmark::matmul_shapes()) {
    for (const encoding& which : encodings) register_products(which, shape, shape.outputs);
  }
  const matmul_shape beyond = nibble_benchmark::shape_beyond_caches();
  for (const encoding& which : encodings) register_products(which, beyond, beyond.inputs);
  return true;
}();

}  // namespace
