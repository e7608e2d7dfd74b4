#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace nibble_command {

/// What values are like, as sums that can be joined; NaN and infinity are counted and left out of the figures.
struct value_spread {
  std::uint64_t finite = 0;
  std::uint64_t zeros = 0;
  std::uint64_t non_finite = 0;
  double lowest = std::numeric_limits<double>::infinity();
  double highest = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  double squares = 0.0;

  void add(double value) noexcept {
    if (!std::isfinite(value)) {
      ++non_finite;
      return;
    }
    ++finite;
    if (value == 0.0) ++zeros;
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
    sum += value;
    squares += value * value;
  }
  value_spread& operator+=(const value_spread& next) noexcept {
    finite += next.finite;
    zeros += next.zeros;
    non_finite += next.non_finite;
    lowest = std::min(lowest, next.lowest);
    highest = std::max(highest, next.highest);
    sum += next.sum;
    squares += next.squares;
    return *this;
  }

  /// What follows holds where `finite` is not 0.
  [[nodiscard]] double mean() const noexcept { return sum / static_cast<double>(finite); }
  /// sqrt(mean of value^2).
  [[nodiscard]] double root_mean_square() const noexcept {
    return std::sqrt(squares / static_cast<double>(finite));
  }
  [[nodiscard]] double standard_deviation() const noexcept {
    return std::sqrt(std::max(0.0, squares / static_cast<double>(finite) - mean() * mean()));
  }
};

/// How many values lie in each part of a range, counted one by one, and how many below and above it.
class range_counts {
 public:
  static constexpr std::size_t parts = 48;

  range_counts() = default;
  /// From mean less five standard deviations to mean plus as many, no farther than the values go.
  explicit range_counts(const value_spread& of) noexcept {
    if (of.finite == 0) return;
    constexpr double deviations = 5.0;
    from_ = std::max(of.lowest, of.mean() - deviations * of.standard_deviation());
    to_ = std::min(of.highest, of.mean() + deviations * of.standard_deviation());
  }

  void add(double value) noexcept {
    if (!std::isfinite(value)) return;
    if (value < from_) {
      ++below_;
    } else if (value > to_) {
      ++above_;
    } else {
      const double share = to_ > from_ ? (value - from_) / (to_ - from_) : 0.0;
      ++counts_[std::min(static_cast<std::size_t>(share * parts), parts - 1)];
    }
  }
  /// Joins the counts of the same range.
  range_counts& operator+=(const range_counts& next) noexcept {
    for (std::size_t i = 0; i < parts; ++i) counts_[i] += next.counts_[i];
    below_ += next.below_;
    above_ += next.above_;
    return *this;
  }
  /// The same range, with nothing counted yet.
  [[nodiscard]] range_counts emptied() const noexcept {
    range_counts same;
    same.from_ = from_;
    same.to_ = to_;
    return same;
  }

  [[nodiscard]] double from() const noexcept { return from_; }
  [[nodiscard]] double to() const noexcept { return to_; }
  [[nodiscard]] std::uint64_t below() const noexcept { return below_; }
  [[nodiscard]] std::uint64_t above() const noexcept { return above_; }
  [[nodiscard]] const std::array<std::uint64_t, parts>& counts() const noexcept { return counts_; }

 private:
  double from_ = 0.0;
  double to_ = 0.0;
  std::uint64_t below_ = 0;
  std::uint64_t above_ = 0;
  std::array<std::uint64_t, parts> counts_{};
};

}  // namespace nibble_command
