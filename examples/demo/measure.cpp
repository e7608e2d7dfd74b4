// Measures what a host does with a packed file: decodes every tensor, and multiplies by the largest
// matrix and holds the product against one of the unpacked weights: usage: measure FILE...
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <nibble/nibble.hpp>

namespace {

/// Seconds of the fastest of five runs.
template <class Work>
double fastest_seconds(Work&& work) {
  double fastest = 1e9;
  for (int run = 0; run < 5; ++run) {
    const auto start = std::chrono::steady_clock::now();
    work();
    fastest = std::min(fastest,
                       std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return fastest;
}

struct product_check {
  double relative_error;  ///< norm of the difference over norm of the result
  bool is_within_bound;   ///< every element within the bound that matmul documents
};

/// Holds y against x times the decoded weights, in f64.
product_check check_product(const nibble::tensor_view& weight, std::span<const float> x,
                            std::span<const float> y) {
  const auto cols = static_cast<std::size_t>(weight.cols());
  std::vector<float> row(cols);
  double squared_difference = 0.0;
  double squared_norm = 0.0;
  bool is_within_bound = true;
  for (std::uint64_t n = 0; n < weight.rows(); ++n) {
    nibble::dequantize_rows(weight, n, 1, row);
    double product = 0.0;
    double magnitudes = 0.0;
    for (std::size_t k = 0; k < cols; ++k) {
      const double term = static_cast<double>(row[k]) * static_cast<double>(x[k]);
      product += term;
      magnitudes += std::fabs(term);
    }
    const double difference = static_cast<double>(y[n]) - product;
    is_within_bound &= std::fabs(difference) <= static_cast<double>(cols + 2) * 0x1p-24 * magnitudes;
    squared_difference += difference * difference;
    squared_norm += product * product;
  }
  return {std::sqrt(squared_difference / squared_norm), is_within_bound};
}

bool measure(const std::string& path) {
  const nibble::reader in(path);
  std::uint64_t elements = 0;
  std::uint64_t largest_elements = 0;
  const nibble::tensor_view* largest = nullptr;
  for (const nibble::tensor_view& tensor : in) {
    elements += tensor.elements();
    largest_elements = std::max(largest_elements, tensor.elements());
    const bool is_larger = largest == nullptr || tensor.elements() > largest->elements();
    if (tensor.shape().rank() == 2 && is_larger) largest = &tensor;
  }
  std::vector<float> values(largest_elements);
  const double decode_seconds = fastest_seconds([&] {
    for (const nibble::tensor_view& tensor : in) {
      nibble::dequantize(tensor, std::span(values).first(tensor.elements()));
    }
  });
  fmt::print("{}: decoded {:.1f} M elements to f32 at {:.2f} G elements/s ({:.2f} GB/s written)\n",
             path, static_cast<double>(elements) / 1e6,
             static_cast<double>(elements) / decode_seconds / 1e9,
             4.0 * static_cast<double>(elements) / decode_seconds / 1e9);
  if (largest == nullptr) return true;

  std::vector<float> x(largest->cols());
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>((i * 2654435761U) % 2001U) * 1e-3F - 1.0F;
  }
  std::vector<float> y(largest->rows());
  const double multiply_seconds = fastest_seconds([&] { nibble::matmul(*largest, x, y); });
  const product_check check = check_product(*largest, x, y);
  fmt::print("{}: x * {}^T ({}) at {:.2f} GFLOP/s, off by {:.1e} from f64: {}\n", path, largest->name(),
             largest->shape().to_string(),
             2.0 * static_cast<double>(largest->elements()) / multiply_seconds / 1e9,
             check.relative_error, check.is_within_bound ? "within the bound" : "OUTSIDE THE BOUND");
  return check.is_within_bound;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: measure FILE...\n");
    return 2;
  }
  try {
    bool all_within_bounds = true;
    for (int i = 1; i < argc; ++i) all_within_bounds &= measure(argv[i]);
    return all_within_bounds ? 0 : 1;
  } catch (const std::exception& problem) {
    fmt::print(stderr, "measure: {}\n", problem.what());
    return 4;
  }
}
