#include "calibration.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <Eigen/Dense>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/error_feedback.hpp>
#include <nibble/core/error.hpp>

#include "key_value_cache.hpp"

namespace nibble_engine {
namespace {

using sequence_list = std::span<const std::vector<std::uint32_t>>;
using row_major_floats = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The mean of x x^T over inputs x.
class second_moments {
 public:
  void add(std::span<const float> x, std::size_t columns) {
    const auto width = static_cast<Eigen::Index>(columns);
    if (sum_.rows() == 0) sum_ = Eigen::MatrixXd::Zero(width, width);
    const auto rows = static_cast<Eigen::Index>(x.size() / columns);
    const Eigen::MatrixXd inputs =
        Eigen::Map<const row_major_floats>(x.data(), rows, width).cast<double>();
    sum_.selfadjointView<Eigen::Lower>().rankUpdate(inputs.transpose());
    inputs_ += static_cast<double>(rows);
  }
  [[nodiscard]] Eigen::MatrixXd mean() const {
    return Eigen::MatrixXd(sum_.selfadjointView<Eigen::Lower>()) / inputs_;
  }

 private:
  Eigen::MatrixXd sum_;
  double inputs_ = 0.0;
};

std::vector<float> floats_of(const Eigen::MatrixXd& matrix) {
  std::vector<float> values(static_cast<std::size_t>(matrix.size()));
  Eigen::Map<row_major_floats>(values.data(), matrix.rows(), matrix.cols()) = matrix.cast<float>();
  return values;
}

/// What packing needs of the moments of a weight's inputs.
nibble::error_feedback feedback_of(const Eigen::MatrixXd& moments, nibble::encoding which,
                                   const calibration_options& options) {
  const Eigen::Index columns = moments.rows();
  const Eigen::VectorXf diagonal = moments.diagonal().cast<float>();
  nibble::error_feedback feedback;
  feedback.order = nibble::feedback_order(std::span(diagonal.data(), static_cast<std::size_t>(columns)),
                                          nibble::describe(which).block_cols(), options.by_importance);
  Eigen::MatrixXd ordered(columns, columns);
  for (Eigen::Index row = 0; row < columns; ++row) {
    for (Eigen::Index column = 0; column < columns; ++column) {
      ordered(row, column) = moments(feedback.order[static_cast<std::size_t>(row)],
                                     feedback.order[static_cast<std::size_t>(column)]);
    }
  }
  const double mean = ordered.diagonal().mean();
  // Inputs that are all 0 say nothing: every column counts alike then.
  double damping = mean > 0.0 ? std::max(options.damping, 1e-9) * mean : 1.0;
  for (;; damping *= 10.0) {
    const Eigen::MatrixXd damped = ordered + damping * Eigen::MatrixXd::Identity(columns, columns);
    const Eigen::LLT<Eigen::MatrixXd> of_moments(damped);
    if (of_moments.info() != Eigen::Success) continue;
    const Eigen::LLT<Eigen::MatrixXd> of_inverse(
        of_moments.solve(Eigen::MatrixXd::Identity(columns, columns)));
    if (of_inverse.info() != Eigen::Success) continue;
    feedback.moments = floats_of(damped);
    feedback.factor = floats_of(of_inverse.matrixU());
    return feedback;
  }
}

class calibration {
 public:
  calibration(model& by, sequence_list sequences, const calibration_options& options)
      : model_(by),
        decoder_(by.decoder()),
        options_(options),
        cache_(one_layer(by.config()), by.config().context) {
    for (const std::vector<std::uint32_t>& sequence : sequences) {
      check(sequence);
      std::vector<float>& x = activations_.emplace_back(sequence.size() * by.config().hidden);
      decoder_.embed(sequence, x);
    }
  }

  std::map<std::string, calibrated_weight> run() {
    const std::size_t layers = model_.config().layers;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      for (const std::vector<weight*>& sharing : decoder_.weights_of(layer)) {
        if (!is_wanted(sharing)) continue;
        const Eigen::MatrixXd moments = moments_of(layer, *sharing.front());
        for (weight* const each : sharing) pack(*each, moments);
      }
      for (std::vector<float>& x : activations_) decoder_.run_block(layer, x, cache_);
      report(layer + 1, layers + 1);
    }
    // A head that is the embedding stays: its rows are looked up, too, and codes that make up for each
    // other's errors in products are farther from the values one by one.
    weight& head = decoder_.head();
    const bool is_embedding = head.name == "token_embd.weight";
    if (!is_embedding && is_wanted({&head})) pack(head, moments_of_head());
    report(layers + 1, layers + 1);
    return std::move(packed_);
  }

 private:
  static model_config one_layer(model_config config) {
    config.layers = 1;
    return config;
  }

  void check(const std::vector<std::uint32_t>& sequence) const {
    const auto refuse = [&](std::string_view field, std::string found, std::string expected) {
      throw nibble::error(nibble::error_code::out_of_range, {.file = model_.file().name(),
                                                             .field = std::string(field),
                                                             .found = std::move(found),
                                                             .expected = std::move(expected)});
    };
    const model_config& config = model_.config();
    if (sequence.size() > config.context) {
      refuse("sequence", fmt::format("{} tokens", sequence.size()),
             fmt::format("at most {}, the model's context", config.context));
    }
    for (const std::uint32_t token : sequence) {
      if (token < config.vocabulary) continue;
      refuse("token", std::to_string(token), fmt::format("less than {}", config.vocabulary));
    }
  }

  [[nodiscard]] bool is_wanted(const std::vector<weight*>& weights) const {
    return std::any_of(weights.begin(), weights.end(),
                       [&](const weight* each) { return options_.encoding_of(*each).has_value(); });
  }

  void report(std::size_t done, std::size_t all) const {
    if (!options_.progress || options_.progress(done, all)) return;
    throw nibble::error(nibble::error_code::cancelled, {.field = "calibration"});
  }

  [[nodiscard]] Eigen::MatrixXd moments_of(std::size_t layer, const weight& wanted) {
    second_moments moments;
    const auto columns = static_cast<std::size_t>(wanted.stored.cols());
    decoder_.observe([&](std::span<const weight* const> by, std::span<const float> x) {
      if (by.front() == &wanted) moments.add(x, columns);
    });
    std::vector<float> passing;
    for (const std::vector<float>& x : activations_) {
      passing = x;
      decoder_.run_block(layer, passing, cache_);
    }
    decoder_.observe({});
    return moments.mean();
  }

  [[nodiscard]] Eigen::MatrixXd moments_of_head() {
    second_moments moments;
    std::vector<float> normalized;
    for (const std::vector<float>& x : activations_) {
      normalized.resize(x.size());
      decoder_.normalize_output(x, normalized);
      moments.add(normalized, model_.config().hidden);
    }
    return moments.mean();
  }

  void pack(weight& each, const Eigen::MatrixXd& moments) {
    const auto which = options_.encoding_of(each);
    if (!which) return;
    calibrated_weight made{.encoding = *which, .shape = each.stored.shape()};
    made.bytes.resize(static_cast<std::size_t>(*nibble::stored_bytes(*which, made.shape)));
    std::vector<float> values(static_cast<std::size_t>(made.shape.elements()));
    nibble::dequantize(each.stored, std::span(values), {.executor = options_.executor});
    nibble::quantize_with_feedback(*which, made.shape, values, made.bytes,
                                   feedback_of(moments, *which, options_), options_.executor,
                                   each.stored.name());
    calibrated_weight& kept = packed_[each.name] = std::move(made);
    each.stored = nibble::tensor_view(each.stored.name(), *which, kept.shape, kept.bytes);
    each.decoded.clear();
    each.repacked.reset();
  }

  model& model_;
  transformer& decoder_;
  const calibration_options& options_;
  key_value_cache cache_;
  std::vector<std::vector<float>> activations_;  ///< of each sequence, [tokens, hidden]
  std::map<std::string, calibrated_weight> packed_;
};

}  // namespace

std::map<std::string, calibrated_weight> calibrate(model& by, sequence_list sequences,
                                                   const calibration_options& options) {
  std::size_t tokens = 0;
  for (const std::vector<std::uint32_t>& sequence : sequences) tokens += sequence.size();
  if (tokens == 0) {
    throw nibble::error(nibble::error_code::invalid_argument, {.file = by.file().name(),
                                                               .field = "sequences",
                                                               .found = "no token",
                                                               .expected = "text to calibrate with"});
  }
  return calibration(by, sequences, options).run();
}

}  // namespace nibble_engine
