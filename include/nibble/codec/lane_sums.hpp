#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// A sum in f64 with one order of additions, whatever the vector width: element j goes to lane j % 8,
/// and the lanes are joined as a tree. The square of an f32 and its product with a small whole number
/// are exact in f64, so fusing them with the addition changes no bit.
class lane_sums {
 public:
  /// Adds the squares of all values; only the last call may have a size that is no multiple of eight.
  void add_squares(std::span<const float> values) noexcept {
    while (values.size() >= lanes_.size()) {
      for (std::size_t lane = 0; lane < lanes_.size(); ++lane) add(values[lane], lane);
      values = values.subspan(lanes_.size());
    }
    for (std::size_t lane = 0; lane < values.size(); ++lane) add(values[lane], lane);
  }

  /// Adds values[j] * factors[j]; factors are as many as values and below 2^29 in magnitude. Sizes as
  /// for add_squares.
  void add_products(std::span<const float> values, std::span<const std::int32_t> factors) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      lanes_[j % lanes_.size()] += static_cast<double>(values[j]) * factors[j];
    }
  }

  /// Adds values[j] * factors[j], which is exact; factors are as many as values.
  void add_products(std::span<const float> values, std::span<const float> factors) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      lanes_[j % lanes_.size()] += static_cast<double>(values[j]) * static_cast<double>(factors[j]);
    }
  }

  [[nodiscard]] double total() const noexcept {
    return ((lanes_[0] + lanes_[4]) + (lanes_[2] + lanes_[6])) +
           ((lanes_[1] + lanes_[5]) + (lanes_[3] + lanes_[7]));
  }

 private:
  void add(float value, std::size_t lane) noexcept {
    const double wide = value;
    lanes_[lane] += wide * wide;
  }

  std::array<double, 8> lanes_{};
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
