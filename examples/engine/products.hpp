#pragma once

#include <algorithm>
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

#include "row_split.hpp"

namespace nibble_engine {

/// A matrix that activations are multiplied by, as the file stores it, and its bias.
struct weight {
  std::string name{};                                 ///< GGUF's
  nibble::tensor_view stored{};                       ///< [outputs, inputs]
  std::vector<float> bias{};                          ///< one an output, or none
  std::optional<nibble::repacked_weight> repacked{};  ///< a copy that products are faster with
  /// The bytes of `stored` where they are not the file's: f32 made of an input-major matrix, or of a weight
  /// that several stored tensors make up; blocks of columns, copied end to end.
  std::vector<std::byte> decoded{};
  bool is_input_major = false;  ///< the file holds [inputs, outputs]
  /// The outputs that are this rank's where rows of `stored` have no bytes of their own: all are
  /// computed, and these kept.
  std::optional<part> kept_outputs{};
  /// Some columns, of this rank's inputs: products are a summand of all ranks' sum.
  bool is_summand = false;

  /// Outputs of a product.
  [[nodiscard]] std::size_t outputs() const noexcept {
    return kept_outputs ? kept_outputs->count : static_cast<std::size_t>(stored.rows());
  }
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
    spare_.clear();
    for (const product& each : products) {
      const nibble::tensor_view& stored = each.by->stored;
      const std::size_t elements = rows * static_cast<std::size_t>(stored.rows());
      float* y = each.y;
      if (each.by->kept_outputs) y = spare_.emplace_back(elements).data();
      calls_.push_back({stored, {y, elements}, each.by->bias});
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
    keep_outputs(products, rows);
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Shows the inputs of products from now on; an empty function ends it.
  void observe(input_observer observer) { observer_ = std::move(observer); }

  /// Time that all products so far took.
  [[nodiscard]] double seconds() const noexcept { return seconds_; }
  [[nodiscard]] nibble::executor* executor() const noexcept { return options_.executor; }

 private:
  /// Copies what is wanted of outputs that had to be computed together.
  void keep_outputs(std::initializer_list<product> products, std::size_t rows) {
    auto from = spare_.begin();
    for (const product& each : products) {
      if (!each.by->kept_outputs) continue;
      const part& kept = *each.by->kept_outputs;
      const auto outputs = static_cast<std::size_t>(each.by->stored.rows());
      for (std::size_t row = 0; row < rows; ++row) {
        std::copy_n(from->data() + row * outputs + kept.first, kept.count, each.y + row * kept.count);
      }
      ++from;
    }
  }

  product_options options_;
  std::vector<std::byte> scratch_;
  std::vector<nibble::matmul_product> calls_;
  std::vector<std::vector<float>> spare_;
  input_observer observer_;
  double seconds_ = 0.0;
};

}  // namespace nibble_engine
