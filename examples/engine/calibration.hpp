#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>

#include "model.hpp"

namespace nibble_engine {

/// How weights are packed with what a text says of their inputs.
struct calibration_options {
  /// What a weight is packed as; nothing: it stays as it is stored. What it says has to be
  /// nibble::takes_error_feedback().
  std::function<std::optional<nibble::encoding>(const weight&)> encoding_of{};
  /// Added to the diagonal of the second moments, as a share of its mean: more of it trusts the text
  /// less. What a Cholesky decomposition needs beyond that is added, ten times as much each time.
  double damping = 0.01;
  /// Columns that count most are rounded first ("act-order"), rather than as they lie.
  bool by_importance = true;
  nibble::executor* executor = nullptr;  ///< null: the calling thread
  /// Called after each block of the decoder, and the head; false ends it with cancelled.
  std::function<bool(std::size_t done, std::size_t all)> progress{};
};

/// A weight that was packed.
struct calibrated_weight {
  nibble::encoding encoding{};
  nibble::shape shape{};  ///< [outputs, inputs]
  std::vector<std::byte> bytes{};
};

/// Packs the matrices of a model, from the first block to the head, by nibble::quantize_with_feedback():
/// each with the second moments of the inputs that it has in the sequences, run through what was packed
/// before it. By their names in GGUF. `by` has the packed weights then, and runs on with them as long as
/// what is returned lives.
///
/// The sequences run through the model as it was as well. What a weight w is to give is what it gave
/// there: its values are first moved to those that come nearest to it from the packed model's inputs, by
/// least squares; where its outputs are added to the activations, what these have lost by then is made
/// up for, too. With x an input in the packed model, x' the same in the plain one, and r what is lost,
/// that is w + (w E[(x' - x) x^T] + E[r x^T]) H^-1, H = E[x x^T] with damping.
///
/// A head that is the embedding is packed before the blocks, with the moments of the head's inputs in the
/// plain model and a damping of their mean, or more where the options have more: where its rows are
/// looked up all columns count alike, where they are multiplied by those that the text makes much of. An
/// embedding that is none is not packed.
///
/// In memory are, beside the packed bytes, the activations of all tokens between two blocks, in both
/// models; of one sequence what one weight is multiplied by, in both; and of one matrix its second
/// moments, those of differences, their factor and an f32 copy.
///
/// Throws nibble::error: out_of_range (a sequence is longer than the context, or a token beyond the
/// vocabulary), invalid_argument (no token), not_representable, cancelled.
[[nodiscard]] std::map<std::string, calibrated_weight> calibrate(
    model& by, std::span<const std::vector<std::uint32_t>> sequences,
    const calibration_options& options);

}  // namespace nibble_engine
