#include "weight_divergence.hpp"

#include <algorithm>
#include <utility>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/quantize.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>

#include "evaluation.hpp"

namespace nibble_engine {
namespace {

/// A stored matrix, and everything in a model that reads it.
struct matrix_uses {
  std::string tensor;
  std::vector<nibble::tensor_view*> views;
};

std::vector<matrix_uses> matrices_of(transformer& decoder) {
  std::vector<matrix_uses> found;
  const auto add = [&](nibble::tensor_view& view) {
    const auto same = std::find_if(found.begin(), found.end(),
                                   [&](const matrix_uses& each) { return each.tensor == view.name(); });
    if (same == found.end()) {
      found.push_back({std::string(view.name()), {&view}});
    } else {
      same->views.push_back(&view);
    }
  };
  for (nibble::tensor_view* const table : decoder.tables()) add(*table);
  for (std::size_t layer = 0; layer < decoder.config().layers; ++layer) {
    for (const auto& list : decoder.weights_of(layer)) {
      for (weight* const each : list) add(each->stored);
    }
  }
  add(decoder.head().stored);
  return found;
}

/// Gives views what they showed before.
class views_kept {
 public:
  explicit views_kept(std::vector<nibble::tensor_view*> views) : views_(std::move(views)) {
    for (const nibble::tensor_view* const each : views_) before_.push_back(*each);
  }
  views_kept(const views_kept&) = delete;
  views_kept& operator=(const views_kept&) = delete;
  ~views_kept() {
    for (std::size_t i = 0; i < views_.size(); ++i) *views_[i] = before_[i];
  }

 private:
  std::vector<nibble::tensor_view*> views_;
  std::vector<nibble::tensor_view> before_;
};

double relative_error(std::span<const float> values, std::span<const float> rounded) {
  double error = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<double>(values[i]);
    const double off = value - static_cast<double>(rounded[i]);
    error += off * off;
    norm += value * value;
  }
  return norm > 0.0 ? error / norm : 0.0;
}

}  // namespace

std::vector<weight_divergence> measure_divergences(
    model& changed, model& original, std::span<const std::vector<std::uint32_t>> sequences,
    const divergence_options& options) {
  const std::vector<matrix_uses> matrices = matrices_of(changed.decoder());
  std::vector<weight_divergence> measured;
  for (const matrix_uses& matrix : matrices) {
    const nibble::tensor_view stored = *matrix.views.front();
    std::vector<float> values(static_cast<std::size_t>(stored.elements()));
    nibble::dequantize(stored, values, {.executor = options.executor});
    std::vector<std::byte> bytes(
        static_cast<std::size_t>(*nibble::stored_bytes(options.encoding, stored.shape())));
    nibble::quantize(options.encoding, stored.shape(), values, bytes, {.executor = options.executor});
    const nibble::tensor_view rounded(matrix.tensor, options.encoding, stored.shape(), bytes);
    std::vector<float> decoded(values.size());
    nibble::dequantize(rounded, decoded, {.executor = options.executor});

    const views_kept before(matrix.views);
    for (nibble::tensor_view* const view : matrix.views) *view = rounded;
    measured.push_back({matrix.tensor, relative_error(values, decoded),
                        compare(changed, original, sequences).divergence.mean});
    if (options.progress && !options.progress(measured.size(), matrices.size())) {
      throw nibble::error(nibble::error_code::cancelled, {.field = "measuring divergence"});
    }
  }
  return measured;
}

}  // namespace nibble_engine
