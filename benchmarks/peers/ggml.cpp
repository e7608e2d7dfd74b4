// A program for one ggml, or a fork of it: decoding, and mul_mat of its CPU backend, of the same weights
// in its own encodings; from the bytes as they are, from types whose rows are interleaved ("q4_0_r8") and
// from buffers that it repacks weights into. Encodings are found by their names when the program runs.
#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>
#if __has_include(<ggml-cpu.h>)
#include <ggml-cpu.h>
#endif

#include <benchmarks/support/packed_weight.hpp>
#include <benchmarks/support/reference_product.hpp>
#include <benchmarks/support/report.hpp>
#include <benchmarks/support/shapes.hpp>
#include <benchmarks/support/threads.hpp>
#include <benchmarks/support/weight_distributions.hpp>

namespace {

using nibble_benchmark::matmul_shape;

/// What is measured, where this ggml has it, with the types that hold the same values in interleaved
/// rows.
constexpr std::string_view encodings[] = {"q4_0", "q4_1", "q5_0", "q5_1",   "q8_0", "q2_k", "q3_k",
                                          "q4_k", "q5_k", "q6_k", "iq4_nl", "f16",  "bf16"};

/// Calls Release on what a C function gave.
template <auto Release>
struct releaser {
  template <class T>
  void operator()(T* held) const noexcept {
    Release(held);
  }
};
using context = std::unique_ptr<ggml_context, releaser<ggml_free>>;
using buffer =
    std::unique_ptr<std::remove_pointer_t<ggml_backend_buffer_t>, releaser<ggml_backend_buffer_free>>;
using backend = std::unique_ptr<std::remove_pointer_t<ggml_backend_t>, releaser<ggml_backend_free>>;

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

/// A type's name in small letters; empty where the number is no type's.
std::string name_of(ggml_type type) {
  const char* const name = ggml_type_name(type);
  if (name == nullptr || ggml_blck_size(type) <= 0) return {};
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char letter) { return std::tolower(letter); });
  return lower;
}

struct encoding {
  ggml_type type;
  ggml_type plain;  ///< the type with the same values, row by row
  std::string name;
};

/// Those of `encodings` that this ggml has.
std::vector<encoding> find_encodings() {
  std::vector<encoding> found;
  for (const std::string_view wanted : encodings) {
    std::optional<ggml_type> plain;
    for (int i = 0; i < GGML_TYPE_COUNT && !plain; ++i) {
      if (name_of(static_cast<ggml_type>(i)) == wanted) plain = static_cast<ggml_type>(i);
    }
    if (!plain) continue;
    for (int i = 0; i < GGML_TYPE_COUNT; ++i) {
      const auto type = static_cast<ggml_type>(i);
      const std::string name = name_of(type);
      const bool is_interleaved = name.starts_with(std::string(wanted) + "_r");
      if (type == *plain || is_interleaved) found.push_back({type, *plain, name});
    }
  }
  return found;
}

void quantize(ggml_type type, std::span<const float> values, std::int64_t rows, std::int64_t columns,
              void* to) {
  const auto call = [&](auto* function) {
    using quantizer = decltype(function);
    if constexpr (std::is_invocable_v<quantizer, ggml_type, const float*, void*, std::int64_t,
                                      std::int64_t, std::int64_t, const float*>) {
      function(type, values.data(), to, 0, rows, columns, nullptr);
    } else {  // A fork's takes more.
      function(type, values.data(), to, 0, rows, columns, nullptr, nullptr);
    }
  };
  call(&ggml_quantize_chunk);
}

void decode(ggml_type type, const void* from, std::span<float> to) {
  const auto count = static_cast<std::int64_t>(to.size());
#if __has_include(<ggml-cpu.h>)
  ggml_get_type_traits(type)->to_float(from, to.data(), count);
#else
  ggml_internal_get_type_traits(type).to_float(from, to.data(), count);
#endif
}

/// The weights in one of ggml's types; the last ones asked for are kept.
std::shared_ptr<const std::vector<std::byte>> packed(ggml_type type, std::uint64_t rows,
                                                     std::uint64_t cols) {
  struct kept {
    ggml_type type;
    std::uint64_t rows;
    std::uint64_t cols;
    std::shared_ptr<const std::vector<std::byte>> bytes;
  };
  static std::vector<kept> last;  // two: an interleaved type's, and its plain one's
  for (const kept& each : last) {
    if (each.type == type && each.rows == rows && each.cols == cols) return each.bytes;
  }
  if (last.size() == 2) last.erase(last.begin());
  const auto values = nibble_benchmark::gaussian_weights(rows, cols);
  const auto columns = static_cast<std::int64_t>(cols);
  std::vector<std::byte> bytes(ggml_row_size(type, columns) * rows);
  quantize(type, *values, static_cast<std::int64_t>(rows), columns, bytes.data());
  last.push_back({type, rows, cols, std::make_shared<const std::vector<std::byte>>(std::move(bytes))});
  return last.back().bytes;
}

void measure_decode(benchmark::State& state, ggml_type type, std::uint64_t rows, std::uint64_t cols) {
  const auto values = nibble_benchmark::gaussian_weights(rows, cols);
  const auto bytes = packed(type, rows, cols);
  std::vector<float> decoded(values->size());
  decode(type, bytes->data(), decoded);
  const double error = nibble_benchmark::relative_error(*values, decoded);
  if (error > nibble_benchmark::wrong_from)
    state.SkipWithError("decoded values are not the packed ones");
  for (auto _ : state) {
    decode(type, bytes->data(), decoded);
    benchmark::ClobberMemory();
  }
  const auto elements = static_cast<double>(decoded.size());
  nibble_benchmark::report(state, {.elements = elements,
                                   .flop = nibble_benchmark::decode_flop * elements,
                                   .bytes_read = static_cast<double>(bytes->size()),
                                   .bytes_written = elements * sizeof(float)});
  state.counters["relative_error"] = error;
}

/// What its packer changes without importance.
void measure_packing_error(benchmark::State& state, ggml_type type,
                           nibble_benchmark::weight_distribution distribution, std::uint64_t rows) {
  constexpr std::int64_t columns = 4096;
  const std::vector<float> values =
      nibble_benchmark::drawn_weights(distribution, static_cast<std::size_t>(rows) * columns);
  std::vector<std::byte> bytes(ggml_row_size(type, columns) * static_cast<std::size_t>(rows));
  for (auto _ : state) {
    quantize(type, values, static_cast<std::int64_t>(rows), columns, bytes.data());
    benchmark::ClobberMemory();
  }
  std::vector<float> decoded(values.size());
  decode(type, bytes.data(), decoded);
  const auto elements = static_cast<double>(values.size());
  nibble_benchmark::report(state, {.elements = elements, .bytes_read = elements * sizeof(float)});
  state.counters["relative_error"] = nibble_benchmark::relative_error(values, decoded);
}

/// A weight in a buffer type of the CPU backend, and y = x * w^T as a graph of one node.
class product {
 public:
  product(ggml_type type, std::span<const std::byte> bytes, const matmul_shape& shape,
          std::size_t x_rows, ggml_backend_buffer_type_t weight_buffer)
      : weight_context_(new_context()),
        graph_context_(new_context()),
        backend_(require(ggml_backend_cpu_init(), "CPU backend")) {
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
#if __has_include(<ggml-cpu.h>)
  ggml_backend_reg_t registry = ggml_backend_cpu_reg();
  const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
      ggml_backend_reg_get_proc_address(registry, "ggml_backend_dev_get_extra_bufts"));
  if (extra == nullptr) return types;
  for (auto* each = extra(ggml_backend_reg_dev_get(registry, 0)); each != nullptr && *each != nullptr;
       ++each) {
    const std::string name = ggml_backend_buft_name(*each);
    types.push_back({*each, name == "CPU_REPACK" ? "repacked" : name});
  }
#endif
  return types;
}

/// The packed rows over and over, until a weight has all that it is to have.
std::vector<std::byte> repeated(std::span<const std::byte> rows, std::uint64_t times) {
  std::vector<std::byte> bytes;
  bytes.reserve(rows.size() * static_cast<std::size_t>(times));
  for (std::uint64_t i = 0; i < times; ++i) bytes.insert(bytes.end(), rows.begin(), rows.end());
  return bytes;
}

void multiply(benchmark::State& state, const encoding& which, const buffer_type& in,
              const matmul_shape& shape, std::uint64_t distinct_rows, std::size_t x_rows,
              unsigned threads) {
  const std::vector<std::byte> bytes =
      repeated(*packed(which.type, distinct_rows, shape.inputs), shape.outputs / distinct_rows);
  product graph(which.type, bytes, shape, x_rows, in.type);
  graph.set_threads(threads);
  const std::vector<float> x =
      nibble_benchmark::unstructured_values(x_rows * static_cast<std::size_t>(shape.inputs));
  std::vector<float> y(x_rows * static_cast<std::size_t>(shape.outputs));
  graph.set_x(x);
  graph.compute();
  graph.get_y(y);
  const auto plain = packed(which.plain, distinct_rows, shape.inputs);
  const std::size_t row_bytes = ggml_row_size(which.plain, static_cast<std::int64_t>(shape.inputs));
  const double error = nibble_benchmark::product_error(
      shape.outputs, shape.inputs, x, y, [&](std::uint64_t row, std::span<float> to) {
        decode(which.plain, plain->data() + row % distinct_rows * row_bytes, to);
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
        nibble_benchmark::register_benchmark(NIBBLE_PEER_NAME "/matmul/" + which.name + "/" + in.name +
                                                 "/" + shape.name() + "/M:" + std::to_string(x_rows),
                                             threads, [=](benchmark::State& state) {
                                               multiply(state, which, in, shape, distinct_rows, x_rows,
                                                        threads);
                                             });
      }
    }
  }
}

const bool registered = [] {
#if __has_include(<ggml-cpu.h>)
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
#endif
  const std::vector<encoding> found = find_encodings();
  for (const encoding& which : found) {
    if (which.type != which.plain || ggml_blck_size(which.type) == 1) continue;
    for (const std::uint64_t rows : {1U, 4096U}) {
      nibble_benchmark::register_benchmark(
          NIBBLE_PEER_NAME "/decode/" + which.name + "/to_f32/" + std::to_string(rows) + "x4096", 1,
          [=](benchmark::State& state) { measure_decode(state, which.type, rows, 4096); });
    }
    for (const auto distribution : nibble_benchmark::weight_distributions) {
      for (const std::uint64_t rows : nibble_benchmark::packing_error_rows) {
        nibble_benchmark::register_benchmark(
            NIBBLE_PEER_NAME "/packing_error/" + which.name + "/" +
                std::string(to_string(distribution)) + "/" + std::to_string(rows) + "x4096",
            1, [=](benchmark::State& state) {
              measure_packing_error(state, which.type, distribution, rows);
            });
      }
    }
  }
  for (const matmul_shape& shape : nibble_benchmark::matmul_shapes()) {
    for (const encoding& which : found) register_products(which, shape, shape.outputs);
  }
  for (const matmul_shape& shape : nibble_benchmark::shapes_beyond_caches()) {
    for (const encoding& which : found) {
      register_products(which, shape, nibble_benchmark::distinct_rows_beyond_caches);
    }
  }
  return true;
}();

}  // namespace
