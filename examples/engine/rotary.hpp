#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "model_config.hpp"

namespace nibble_engine {

/// Rotary positions (Su et al. 2021, arXiv:2104.09864): pair i of a head's elements turns by
/// position * frequency_i. Sines and cosines are kept for all positions that were reached.
class rotary {
 public:
  rotary() = default;
  explicit rotary(const model_config& config)
      : pairs_(config.pairs),
        half_(config.rotary_frequencies.size()),
        frequencies_(config.rotary_frequencies) {}

  /// Makes ready for positions below `positions`.
  void reach(std::size_t positions) {
    if (half_ == 0) return;
    for (std::size_t position = turns_.size() / half_; position < positions; ++position) {
      for (const double frequency : frequencies_) {
        const double angle = static_cast<double>(position) * frequency;
        turns_.emplace_back(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle)));
      }
    }
  }

  /// Turns `heads` vectors that lie end to end, all of the token at `position`, which was reached.
  void turn(float* vectors, std::size_t heads, std::size_t position) const noexcept {
    const std::pair<float, float>* const turns = turns_.data() + position * half_;
    const std::size_t step = pairs_ == rotary_pairs::adjacent ? 2 : 1;
    const std::size_t partner = pairs_ == rotary_pairs::adjacent ? 1 : half_;
    for (std::size_t head = 0; head < heads; ++head, vectors += 2 * half_) {
      for (std::size_t i = 0; i < half_; ++i) {
        const auto [cosine, sine] = turns[i];
        float& a = vectors[i * step];
        float& b = vectors[i * step + partner];
        const float turned = a * cosine - b * sine;
        b = a * sine + b * cosine;
        a = turned;
      }
    }
  }

 private:
  rotary_pairs pairs_ = rotary_pairs::halves;
  std::size_t half_ = 0;  ///< pairs in a head
  std::vector<double> frequencies_;
  std::vector<std::pair<float, float>> turns_;  ///< [position, pair]
};

}  // namespace nibble_engine
