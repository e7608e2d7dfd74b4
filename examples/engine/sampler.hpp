#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "vector_math.hpp"

namespace nibble_engine {

/// How the next token is chosen from logits.
struct sampling_options {
  double temperature = 0.0;  ///< 0: the likeliest token, always
  double top_p = 1.0;        ///< of the likeliest tokens that together have this probability
  std::uint64_t seed = 0;
};

/// The first of the largest logits.
[[nodiscard]] inline std::uint32_t likeliest(std::span<const float> logits) noexcept {
  return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Chooses tokens. The same seed and the same logits give the same tokens, run after run; on a machine
/// with another instruction set logits and probabilities are rounded differently, and a choice may be
/// another one.
class sampler {
 public:
  explicit sampler(const sampling_options& options) : options_(options), random_(options.seed) {}

  /// Nucleus sampling (Holtzman et al. 2019, arXiv:1904.09751) after dividing by the temperature.
  [[nodiscard]] std::uint32_t choose(std::span<const float> logits) {
    if (options_.temperature <= 0.0) return likeliest(logits);
    probabilities_.assign(logits.begin(), logits.end());
    // From the largest on, so that no temperature makes infinities that cancel.
    const float most = *std::max_element(logits.begin(), logits.end());
    const auto factor = static_cast<float>(
        std::min(1.0 / options_.temperature, double{std::numeric_limits<float>::max()}));
    for (float& value : probabilities_) value = (value - most) * factor;
    softmax(probabilities_);

    order_.resize(logits.size());
    std::iota(order_.begin(), order_.end(), 0U);
    std::stable_sort(order_.begin(), order_.end(), [this](std::uint32_t a, std::uint32_t b) {
      return probabilities_[a] > probabilities_[b];
    });
    std::size_t kept = 0;
    double sum = 0.0;
    while (kept < order_.size() && (kept == 0 || sum < options_.top_p)) {
      sum += static_cast<double>(probabilities_[order_[kept++]]);
    }
    // 53 bits of the generator, which the standard defines; its distributions it does not.
    double left = sum * std::ldexp(static_cast<double>(random_() >> 11U), -53);
    for (std::size_t i = 0; i < kept; ++i) {
      left -= static_cast<double>(probabilities_[order_[i]]);
      if (left < 0.0) return order_[i];
    }
    return order_[kept - 1];
  }

 private:
  sampling_options options_;
  std::mt19937_64 random_;
  std::vector<float> probabilities_;
  std::vector<std::uint32_t> order_;
};

}  // namespace nibble_engine
