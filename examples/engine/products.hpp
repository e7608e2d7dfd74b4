#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/compute/matmul.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble_engine {

/// A matrix that activations are multiplied by, as the file stores it, and its bias.
struct weight {
  std::string name{};                                 ///< GGUF's
  nibble::tensor_view stored{};                       ///< [outputs, inputs]
  std::vector<float> bias{};                          ///< one an output, or none
  std::optional<nibble::repacked_weight> repacked{};  ///< a copy that products are faster with
  /// The bytes of `stored` where they are f32 made of the file's: of an input-major matrix, or of a weight
  /// that several stored tensors make up.
  std::vector<std::byte> decoded{};
  bool is_input_major = false;  ///< the file holds [inputs, outputs]
};

/// How products are taken.
struct product_options {
  nibble::matmul_mode mode = nibble::matmul_mode::exact;
  bool repack = false;                   ///< copy weights into the order that products like best
  nibble::executor* executor = nullptr;  ///< null: the calling thread
};

/// One weight of several that are multiplied by the same activations, and where its outputs go.
struct product {
  const weight* by;
  float* y;  ///< [rows, outputs]
};

/// Sees the inputs of every product before it is taken: the weights that they are multiplied by, and
/// x, [rows, inputs].
using input_observer = std::function<void(std::span<const weight* const> by, std::span<const float> x)>;

/// Products of an engine: one mode, one executor, and scratch that is allocated once.
class product_engine {
 public:
  explicit product_engine(const product_options& options)
      : options_(options), scratch_(nibble::max_matmul_scratch_bytes) {}

  /// y = x * w^T + bias for each product; x is [rows, inputs], rows end to end.
  void multiply(std::initializer_list<product> products, const float* x, std::size_t rows) {
    calls_.clear();
    for (const product& each : products) {
      const nibble::tensor_view& stored = each.by->stored;
      calls_.push_back(
          {stored, {each.y, rows * static_cast<std::size_t>(stored.rows())}, each.by->bias});
      if (each.by->repacked) calls_.back().repacked = &*each.by->repacked;
    }
    const std::size_t inputs = static_cast<std::size_t>(calls_.front().w.cols());
    if (observer_) {
      std::vector<const weight*> by;
      for (const product& each : products) by.push_back(each.by);
      observer_(by, std::span(x, rows * inputs));
    }
    const auto start = std::chrono::steady_clock::now();
    nibble::matmul(std::span(calls_), std::span(x, rows * inputs),
                   {.mode = options_.mode, .executor = options_.executor, .scratch = scratch_});
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Shows the inputs of products from now on; an empty function ends it.
  void observe(input_observer observer) { observer_ = std::move(observer); }

  /// Time that all products so far took.
  [[nodiscard]] double seconds() const noexcept { return seconds_; }
  [[nodiscard]] nibble::executor* executor() const noexcept { return options_.executor; }

 private:
  product_options options_;
  std::vector<std::byte> scratch_;
  std::vector<nibble::matmul_product> calls_;
  input_observer observer_;
  double seconds_ = 0.0;
};

}  // namespace nibble_engine
