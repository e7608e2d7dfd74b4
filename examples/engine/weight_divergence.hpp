#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/core/encoding.hpp>

#include "model.hpp"

namespace nibble_engine {

/// What it does to a model's distributions to round one of its matrices.
struct weight_divergence {
  std::string tensor{};         ///< its name in the file
  double relative_error = 0.0;  ///< sum (w - q)^2 / sum w^2 over the matrix, q what it was rounded to
  double divergence = 0.0;      ///< mean Kullback-Leibler divergence from the model as it is, in nats

  /// Divergence for a relative error of 1, where it grows as the error does; 0 for a matrix that rounding
  /// does not change.
  [[nodiscard]] double sensitivity() const noexcept {
    return relative_error > 0.0 ? divergence / relative_error : 0.0;
  }
};

/// How weights are rounded, one at a time.
struct divergence_options {
  nibble::encoding encoding = nibble::encoding::q4;  ///< that takes rows of any length
  nibble::executor* executor = nullptr;              ///< packs; null: the calling thread
  /// Called after each matrix; false ends it with cancelled.
  std::function<bool(std::size_t done, std::size_t all)> progress{};
};

/// Rounds the matrices of `changed` one at a time, tables that tokens and positions are looked up in among
/// them, and compares what it says then with what `original` says, the same model. A matrix that has two
/// uses, an embedding that is the head, is rounded for both. `changed` is as it was at the end, also where
/// something is thrown. Takes two passes of the sequences for each matrix.
///
/// Throws nibble::error: out_of_range (a sequence is longer than the context, a token beyond the
/// vocabulary, fewer than two tokens in all), not_representable, cancelled.
[[nodiscard]] std::vector<weight_divergence> measure_divergences(
    model& changed, model& original, std::span<const std::vector<std::uint32_t>> sequences,
    const divergence_options& options = {});

}  // namespace nibble_engine
