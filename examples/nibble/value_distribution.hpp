#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace nibble_command {

/// What values are like, taken in one after the other; NaN and infinity are counted and left out of the
/// figures.
class value_figures {
 public:
  void add(std::span<const float> values) noexcept {
    for (const float value : values) {
      if (std::isnan(value)) {
        ++nans_;
      } else if (std::isinf(value)) {
        ++infinities_;
      } else {
        add(static_cast<double>(value));
      }
    }
  }

  /// Of finite values.
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t zeros() const noexcept { return zeros_; }
  [[nodiscard]] std::uint64_t nans() const noexcept { return nans_; }
  [[nodiscard]] std::uint64_t infinities() const noexcept { return infinities_; }
  /// What follows holds where count() is not 0.
  [[nodiscard]] double lowest() const noexcept { return lowest_; }
  [[nodiscard]] double highest() const noexcept { return highest_; }
  [[nodiscard]] double mean() const noexcept { return mean_; }
  [[nodiscard]] double standard_deviation() const noexcept {
    return std::sqrt(squares_ / static_cast<double>(count_));
  }

 private:
  /// Welford's update, which large means do not spoil.
  void add(double value) noexcept {
    ++count_;
    if (value == 0.0) ++zeros_;
    lowest_ = std::min(lowest_, value);
    highest_ = std::max(highest_, value);
    const double before = value - mean_;
    mean_ += before / static_cast<double>(count_);
    squares_ += before * (value - mean_);
  }

  std::uint64_t count_ = 0;
  std::uint64_t zeros_ = 0;
  std::uint64_t nans_ = 0;
  std::uint64_t infinities_ = 0;
  double lowest_ = std::numeric_limits<double>::infinity();
  double highest_ = -std::numeric_limits<double>::infinity();
  double mean_ = 0.0;
  double squares_ = 0.0;  ///< sum of squared differences from the mean
};

/// How many finite values lie in each of twenty parts of equal width from the lowest to the highest.
class histogram {
 public:
  static constexpr std::size_t parts = 20;

  histogram(double lowest, double highest) noexcept : lowest_(lowest), highest_(highest) {}

  void add(std::span<const float> values) noexcept {
    for (const float value : values) {
      if (!std::isfinite(value)) continue;
      const double share =
          highest_ > lowest_ ? (static_cast<double>(value) - lowest_) / (highest_ - lowest_) : 0.0;
      ++counts_[std::min(static_cast<std::size_t>(share * parts), parts - 1)];
    }
  }

  [[nodiscard]] std::uint64_t count(std::size_t part) const noexcept { return counts_[part]; }
  [[nodiscard]] std::uint64_t largest_count() const noexcept {
    return *std::max_element(counts_.begin(), counts_.end());
  }
  /// Where a part starts; where the last one ends, for `parts`.
  [[nodiscard]] double edge(std::size_t part) const noexcept {
    return lowest_ + (highest_ - lowest_) * static_cast<double>(part) / parts;
  }

 private:
  double lowest_;
  double highest_;
  std::array<std::uint64_t, parts> counts_{};
};

}  // namespace nibble_command
