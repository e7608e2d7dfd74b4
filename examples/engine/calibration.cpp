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

/// [rows, columns] as they lie one after the other.
Eigen::Map<const row_major_floats> as_matrix(std::span<const float> x, std::size_t columns) {
  return {x.data(), static_cast<Eigen::Index>(x.size() / columns), static_cast<Eigen::Index>(columns)};
}

/// The mean of x x^T over inputs x.
class second_moments {
 public:
  void add(std::span<const float> x, std::size_t columns) {
    const auto width = static_cast<Eigen::Index>(columns);
    if (sum_.rows() == 0) sum_ = Eigen::MatrixXd::Zero(width, width);
    const Eigen::MatrixXd inputs = as_matrix(x, columns).cast<double>();
    sum_.selfadjointView<Eigen::Lower>().rankUpdate(inputs.transpose());
    inputs_ += static_cast<double>(inputs.rows());
  }
  [[nodiscard]] Eigen::MatrixXd mean() const {
    return Eigen::MatrixXd(sum_.selfadjointView<Eigen::Lower>()) / inputs_;
  }

 private:
  Eigen::MatrixXd sum_;
  double inputs_ = 0.0;
};

/// The mean of (a - b) x^T over inputs x, with an a and a b for each.
class difference_moments {
 public:
  void add(std::span<const float> a, std::span<const float> b, std::size_t width,
           std::span<const float> x, std::size_t columns) {
    const Eigen::MatrixXd difference =
        as_matrix(a, width).cast<double>() - as_matrix(b, width).cast<double>();
    const Eigen::MatrixXd inputs = as_matrix(x, columns).cast<double>();
    if (sum_.rows() == 0) sum_ = Eigen::MatrixXd::Zero(difference.cols(), inputs.cols());
    sum_.noalias() += difference.transpose() * inputs;
    inputs_ += static_cast<double>(inputs.rows());
  }
  /// Of no inputs, an empty matrix.
  [[nodiscard]] Eigen::MatrixXd mean() const {
    return inputs_ == 0.0 ? sum_ : Eigen::MatrixXd(sum_ / inputs_);
  }

 private:
  Eigen::MatrixXd sum_;
  double inputs_ = 0.0;
};

/// What a text says of the inputs of weights that share them: x as the packed model has them, x' as the
/// plain one. The output that is wanted of a weight w is w x', and what the packed model lacks of the sum
/// that the output is added to. Least squares make that (w + (w D + R) H^-1) x.
struct input_statistics {
  Eigen::MatrixXd moments;       ///< H = E[x x^T]
  Eigen::MatrixXd drift{};       ///< D = E[(x' - x) x^T]; empty: 0
  Eigen::MatrixXd output_gap{};  ///< R = E[gap x^T], [outputs, inputs]; empty: 0
};

std::vector<float> floats_of(const Eigen::MatrixXd& matrix) {
  std::vector<float> values(static_cast<std::size_t>(matrix.size()));
  Eigen::Map<row_major_floats>(values.data(), matrix.rows(), matrix.cols()) = matrix.cast<float>();
  return values;
}

/// What packing needs of the moments of a weight's inputs, and H^-1.
struct damped_moments {
  nibble::error_feedback feedback;
  Eigen::MatrixXd inverse;  ///< in the weight's order of columns
};

damped_moments damp(const Eigen::MatrixXd& moments, nibble::encoding which, double share,
                    bool by_importance) {
  const Eigen::Index columns = moments.rows();
  const Eigen::VectorXf diagonal = moments.diagonal().cast<float>();
  damped_moments made;
  made.feedback.order =
      nibble::feedback_order(std::span(diagonal.data(), static_cast<std::size_t>(columns)),
                             nibble::describe(which).block_cols(), by_importance);
  const auto in_order = [&](const Eigen::MatrixXd& matrix) {
    Eigen::MatrixXd ordered(columns, columns);
    for (Eigen::Index row = 0; row < columns; ++row) {
      for (Eigen::Index column = 0; column < columns; ++column) {
        ordered(row, column) = matrix(made.feedback.order[static_cast<std::size_t>(row)],
                                      made.feedback.order[static_cast<std::size_t>(column)]);
      }
    }
    return ordered;
  };
  const double mean = moments.diagonal().mean();
  // Inputs that are all 0 say nothing: every column counts alike then.
  double damping = mean > 0.0 ? std::max(share, 1e-9) * mean : 1.0;
  for (;; damping *= 10.0) {
    const Eigen::MatrixXd damped = moments + damping * Eigen::MatrixXd::Identity(columns, columns);
    const Eigen::LLT<Eigen::MatrixXd> of_moments(damped);
    if (of_moments.info() != Eigen::Success) continue;
    made.inverse = of_moments.solve(Eigen::MatrixXd::Identity(columns, columns));
    const Eigen::LLT<Eigen::MatrixXd> of_inverse(in_order(made.inverse));
    if (of_inverse.info() != Eigen::Success) continue;
    made.feedback.moments = floats_of(in_order(damped));
    made.feedback.factor = floats_of(of_inverse.matrixU());
    return made;
  }
}

/// A weight that has been packed, and its bytes as they were.
struct plain_weight {
  weight* packed;
  nibble::tensor_view stored;
  std::vector<std::byte> decoded;
  std::optional<nibble::repacked_weight> repacked;

  void exchange() {
    std::swap(stored, packed->stored);
    std::swap(decoded, packed->decoded);
    std::swap(repacked, packed->repacked);
  }
};

class calibration {
 public:
  calibration(model& by, sequence_list sequences, const calibration_options& options)
      : model_(by),
        decoder_(by.decoder()),
        options_(options),
        hidden_(by.config().hidden),
        cache_(one_layer(by.config()), by.config().context) {
    for (const std::vector<std::uint32_t>& sequence : sequences) check(sequence);
    plain_ = embedded(sequences);
    if (has_tied_head() && is_wanted({&decoder_.head()})) pack_embedding();
    packed_model_ = embedded(sequences);
  }

  std::map<std::string, calibrated_weight> run() {
    const std::size_t layers = model_.config().layers;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      plain_weights_.clear();
      const std::vector<std::vector<weight*>> lists = decoder_.weights_of(layer);
      for (std::size_t i = 0; i < lists.size(); ++i) {
        if (!is_wanted(lists[i])) continue;
        const auto columns = static_cast<std::size_t>(lists[i].front()->stored.cols());
        const input_statistics statistics = statistics_of(layer, static_cast<block_inputs>(i), columns);
        for (weight* const each : lists[i]) pack(*each, statistics, options_.damping);
      }
      run_block(layer, packed_model_);
      exchange();
      run_block(layer, plain_);
      exchange();
      report(layer + 1, layers + 1);
    }
    weight& head = decoder_.head();
    if (!has_tied_head() && is_wanted({&head})) pack(head, statistics_of_head(), options_.damping);
    report(layers + 1, layers + 1);
    return std::move(packed_);
  }

 private:
  /// Activations of each sequence, [tokens, hidden].
  using activation_list = std::vector<std::vector<float>>;

  /// A tied embedding's damping: errors of all columns cost where its rows are looked up, and those that
  /// the text makes much of where it is the head. Both count alike, unless less of the text is trusted.
  static constexpr double embedding_damping = 1.0;

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

  [[nodiscard]] activation_list embedded(sequence_list sequences) {
    activation_list all;
    for (const std::vector<std::uint32_t>& sequence : sequences) {
      decoder_.embed(sequence, all.emplace_back(sequence.size() * hidden_));
    }
    return all;
  }

  [[nodiscard]] bool has_tied_head() { return decoder_.head().name == "token_embd.weight"; }

  [[nodiscard]] bool is_wanted(const std::vector<weight*>& weights) const {
    return std::any_of(weights.begin(), weights.end(),
                       [&](const weight* each) { return options_.encoding_of(*each).has_value(); });
  }

  void report(std::size_t done, std::size_t all) const {
    if (!options_.progress || options_.progress(done, all)) return;
    throw nibble::error(nibble::error_code::cancelled, {.field = "calibration"});
  }

  void run_block(std::size_t layer, activation_list& activations) {
    for (std::vector<float>& x : activations) decoder_.run_block(layer, x, cache_);
  }

  /// Lets the block at hand run with its weights as they were, and again with those that are packed.
  void exchange() {
    for (plain_weight& each : plain_weights_) each.exchange();
  }

  /// A head that is the embedding is packed first: its rows are what every sequence starts from, and the
  /// blocks can make up for what packing changes of them.
  void pack_embedding() {
    second_moments moments;
    std::vector<float> normalized;
    for (std::vector<float> x : plain_) {
      for (std::size_t layer = 0; layer < model_.config().layers; ++layer) {
        decoder_.run_block(layer, x, cache_);
      }
      normalized.resize(x.size());
      decoder_.normalize_output(x, normalized);
      moments.add(normalized, hidden_);
    }
    weight& head = decoder_.head();
    pack(head, {moments.mean()}, std::max(options_.damping, embedding_damping));
    *decoder_.tables().front() = head.stored;
  }

  /// Of inputs of a block, so many columns, as it is packed by now.
  [[nodiscard]] input_statistics statistics_of(std::size_t layer, block_inputs which,
                                               std::size_t columns) {
    second_moments moments;
    difference_moments drift;
    difference_moments output_gap;
    std::vector<float> inputs;
    std::vector<float> plain_inputs;
    for (std::size_t i = 0; i < plain_.size(); ++i) {
      std::vector<float> x = packed_model_[i];
      decoder_.run_block_to(layer, which, x, cache_, inputs);
      std::vector<float> plain_x = plain_[i];
      exchange();
      decoder_.run_block_to(layer, which, plain_x, cache_, plain_inputs);
      exchange();
      moments.add(inputs, columns);
      if (which == block_inputs::feed_forward_output) {
        // What leaves the block lacks what comes of the drift, too.
        output_gap.add(plain_x, x, hidden_, inputs, columns);
        continue;
      }
      drift.add(plain_inputs, inputs, columns, inputs, columns);
      if (which == block_inputs::attention_output) {
        output_gap.add(plain_[i], packed_model_[i], hidden_, inputs, columns);
      }
    }
    return {moments.mean(), drift.mean(), output_gap.mean()};
  }

  [[nodiscard]] input_statistics statistics_of_head() {
    second_moments moments;
    difference_moments drift;
    std::vector<float> inputs;
    std::vector<float> plain_inputs;
    for (std::size_t i = 0; i < plain_.size(); ++i) {
      inputs.resize(plain_[i].size());
      plain_inputs.resize(plain_[i].size());
      decoder_.normalize_output(packed_model_[i], inputs);
      decoder_.normalize_output(plain_[i], plain_inputs);
      moments.add(inputs, hidden_);
      drift.add(plain_inputs, inputs, hidden_, inputs, hidden_);
    }
    return {moments.mean(), drift.mean(), {}};
  }

  void pack(weight& each, const input_statistics& with, double damping) {
    const auto which = options_.encoding_of(each);
    if (!which) return;
    calibrated_weight made{.encoding = *which, .shape = each.stored.shape()};
    made.bytes.resize(static_cast<std::size_t>(*nibble::stored_bytes(*which, made.shape)));
    std::vector<float> values(static_cast<std::size_t>(made.shape.elements()));
    nibble::dequantize(each.stored, std::span(values), {.executor = options_.executor});
    const damped_moments damped = damp(with.moments, *which, damping, options_.by_importance);
    aim(values, with, damped.inverse);
    nibble::quantize_with_feedback(*which, made.shape, values, made.bytes, damped.feedback,
                                   options_.executor, each.stored.name());
    calibrated_weight& kept = packed_[each.name] = std::move(made);
    plain_weights_.push_back({&each, each.stored, std::move(each.decoded), std::move(each.repacked)});
    each.stored = nibble::tensor_view(each.stored.name(), *which, kept.shape, kept.bytes);
    each.decoded.clear();
    each.repacked.reset();
  }

  /// Moves a weight's values to those whose products with the packed model's inputs are nearest to what
  /// is wanted.
  static void aim(std::span<float> values, const input_statistics& with,
                  const Eigen::MatrixXd& inverse) {
    if (with.drift.size() == 0 && with.output_gap.size() == 0) return;
    const Eigen::Index columns = inverse.cols();
    Eigen::Map<row_major_floats> w(values.data(), static_cast<Eigen::Index>(values.size()) / columns,
                                   columns);
    Eigen::MatrixXd wanted = with.output_gap;
    if (wanted.size() == 0) wanted = Eigen::MatrixXd::Zero(w.rows(), columns);
    if (with.drift.size() != 0) wanted += w.cast<double>() * with.drift;
    w += (wanted * inverse).cast<float>();
  }

  model& model_;
  transformer& decoder_;
  const calibration_options& options_;
  std::size_t hidden_;
  key_value_cache cache_;
  activation_list plain_;
  activation_list packed_model_;
  std::vector<plain_weight> plain_weights_;  ///< of the block at hand
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
