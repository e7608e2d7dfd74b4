#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>

namespace nibble_command {

/// How far values are from reference values, as sums that can be joined. Any NaN equals any NaN, an
/// infinity equals itself; neither weighs anything then. Where only one of two values is finite, or
/// they are different infinities, the error is infinite.
class tensor_errors {
 public:
  void add(double reference, double other) noexcept { add(reference, other, reference - other); }
  /// As above, where the difference is known better than from the values.
  void add(double reference, double other, double difference) noexcept {
    ++elements_;
    if (std::isfinite(reference) && std::isfinite(other)) {
      squared_error_ += difference * difference;
      squared_reference_ += reference * reference;
      squared_other_ += other * other;
      product_ += reference * other;
      largest_ = std::max(largest_, std::fabs(difference));
    } else if (!(std::isnan(reference) && std::isnan(other)) && reference != other) {
      ++infinite_errors_;
    }
  }
  tensor_errors& operator+=(const tensor_errors& next) noexcept {
    elements_ += next.elements_;
    infinite_errors_ += next.infinite_errors_;
    squared_error_ += next.squared_error_;
    squared_reference_ += next.squared_reference_;
    squared_other_ += next.squared_other_;
    product_ += next.product_;
    largest_ = std::max(largest_, next.largest_);
    return *this;
  }

  [[nodiscard]] std::uint64_t elements() const noexcept { return elements_; }
  /// Values whose error is infinite.
  [[nodiscard]] std::uint64_t infinite_errors() const noexcept { return infinite_errors_; }
  /// Whether all values are equal.
  [[nodiscard]] bool are_equal() const noexcept { return infinite_errors_ == 0 && largest_ == 0.0; }
  [[nodiscard]] double max_abs_error() const noexcept {
    return infinite_errors_ != 0 ? infinity : largest_;
  }
  [[nodiscard]] double rmse() const noexcept {
    if (infinite_errors_ != 0) return infinity;
    return elements_ == 0 ? 0.0 : std::sqrt(squared_error_ / static_cast<double>(elements_));
  }
  /// sqrt(sum (reference - other)^2 / sum reference^2): 0 for equal values, infinite where the
  /// reference is zero throughout and the other is not.
  [[nodiscard]] double relative_rmse() const noexcept {
    if (infinite_errors_ != 0) return infinity;
    if (largest_ == 0.0) return 0.0;
    const double ratio = squared_error_ / squared_reference_;
    return std::isnan(ratio) ? infinity : std::sqrt(ratio);
  }
  /// 10 log10(sum reference^2 / sum (reference - other)^2): infinite for equal values.
  [[nodiscard]] double sqnr_db() const noexcept { return -20.0 * std::log10(relative_rmse()); }
  /// Of the angle between the two; nothing where an error is infinite, or where one side is zero.
  [[nodiscard]] std::optional<double> cosine() const noexcept {
    const double norms = std::sqrt(squared_reference_) * std::sqrt(squared_other_);
    const double quotient = product_ / norms;
    if (infinite_errors_ != 0 || !std::isfinite(quotient)) return std::nullopt;
    return std::clamp(quotient, -1.0, 1.0);
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  std::uint64_t elements_ = 0;
  std::uint64_t infinite_errors_ = 0;
  double squared_error_ = 0.0;
  double squared_reference_ = 0.0;
  double squared_other_ = 0.0;
  double product_ = 0.0;
  double largest_ = 0.0;
};

}  // namespace nibble_command
