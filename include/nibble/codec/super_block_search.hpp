#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <span>
#include <utility>

#include <nibble/codec/grid_search.hpp>
#include <nibble/codec/grid_trials.hpp>
#include <nibble/core/architecture.hpp>

// What the searches of offset_sub_blocks and signed_sub_blocks have in common: candidates for what all
// sub-blocks share and for their numbers, each with an `error`, and trials of eight sub-blocks a group.

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// The two candidates of least error among those that were offered, the lesser first.
template <class Candidate>
class best_two {
 public:
  /// One whose error is that of the best counts as the same.
  void offer(const Candidate& next) noexcept {
    if (count_ == 2 && !(next.error < best_[1].error)) return;
    if (count_ > 0 && next.error == best_[0].error) return;
    best_[count_ < 2 ? count_++ : 1] = next;
    if (count_ == 2 && best_[1].error < best_[0].error) std::swap(best_[0], best_[1]);
  }
  /// Those that were kept: none, one or two.
  [[nodiscard]] std::span<const Candidate> kept() const noexcept {
    return std::span<const Candidate>(best_).first(count_);
  }

 private:
  std::array<Candidate, 2> best_{};
  std::size_t count_ = 0;
};

/// Tries candidates on the values, and anew under the codes that result, up to `turns` times and as long
/// as the error becomes less. attempt(candidate, trials) tries one and sets its error;
/// renew(trials, candidate) chooses anew. The candidate of least error; with an infinite one where there
/// were none.
template <class Trials, class Candidate, class Attempt, class Renew>
[[nodiscard]] Candidate refine_candidates(std::span<const Candidate> candidates, int turns,
                                          const Attempt& attempt, const Renew& renew) noexcept {
  Candidate kept;
  kept.error = HUGE_VAL;
  for (Candidate next : candidates) {
    double error_before = HUGE_VAL;
    Trials trials;
    for (int turn = 0; turn < turns; ++turn) {
      attempt(next, trials);
      if (next.error < kept.error) kept = next;
      if (!(next.error < error_before) || turn + 1 == turns) break;
      error_before = next.error;
      next = renew(trials, next);
    }
  }
  return kept;
}

/// Tries neighbours of a candidate on the values, takes of each those sub-blocks' numbers that err less,
/// and fits what all share to them, up to `turns` times and as long as that helps.
/// for_each_neighbor(candidate, use) makes them; take(from, group, lane, to) moves one sub-block's numbers;
/// fit(trials, candidate) fits; attempt as above.
template <class Trials, class Candidate, class ForEachNeighbor, class Attempt, class Take, class Fit>
void improve_candidate(Candidate& candidate, int turns, const ForEachNeighbor& for_each_neighbor,
                       const Attempt& attempt, const Take& take, const Fit& fit) noexcept {
  for (int turn = 0; turn < turns; ++turn) {
    Candidate next = candidate;
    Trials trials;
    attempt(next, trials);
    const Candidate centre = next;
    for_each_neighbor(centre, [&](Candidate other) {
      Trials of_other;
      attempt(other, of_other);
      for (std::size_t group = 0; group < trials.size(); ++group) {
        for (std::size_t lane = 0; lane < trial_lanes; ++lane) {
          if (of_other[group].dd[lane] < trials[group].dd[lane]) take(other, group, lane, next);
        }
        lanes_of_floats than = trials[group].dd;
        keep_lesser(of_other[group], of_other[group].dd, trials[group], than);
      }
    });
    next.error = 0.0;
    for (const grid_trials& each : trials) {
      for (const float error : each.dd) next.error += double{error};
    }
    Candidate fitted = next;
    fit(trials, fitted);
    attempt(fitted, trials);
    if (fitted.error < next.error) next = fitted;
    if (!(next.error < candidate.error)) return;
    candidate = next;
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
