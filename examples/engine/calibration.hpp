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
/// In memory are, beside the packed bytes, the activations of all tokens between two blocks, and of one
/// matrix its second moments, their factor and an f32 copy.
///
/// Throws nibble::error: out_of_range (a sequence is longer than the context, or a token beyond the
/// vocabulary), invalid_argument (no token), not_representable, cancelled.
[[nodiscard]] std::map<std::string, calibrated_weight> calibrate(
    model& by, std::span<const std::vector<std::uint32_t>> sequences,
    const calibration_options& options);

}  // namespace nibble_engine
