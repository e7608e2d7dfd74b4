#pragma once

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The candidate with the least error among those offered; of equal ones, the first.
template <class Candidate>
class least_error {
 public:
  least_error() = default;
  least_error(const Candidate& first, double error) noexcept
      : best_(first), error_(error), is_empty_(false) {}

  /// Keeps `candidate` where it is the first or its error is below that of the best so far.
  void offer(const Candidate& candidate, double error) noexcept {
    if (!is_empty_ && !(error < error_)) return;
    best_ = candidate;
    error_ = error;
    is_empty_ = false;
  }

  /// What was kept; only after something was offered.
  [[nodiscard]] const Candidate& best() const noexcept { return best_; }
  [[nodiscard]] double error() const noexcept { return error_; }

 private:
  Candidate best_{};
  double error_ = 0.0;
  bool is_empty_ = true;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
