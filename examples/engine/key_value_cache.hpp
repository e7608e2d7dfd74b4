#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "model_config.hpp"

namespace nibble_engine {

/// Keys and values of the tokens so far, in every layer: f32, [layer, head, position, head_dim].
/// Memory grows with the tokens that are in it, not with those that it may hold.
class key_value_cache {
 public:
  /// Room for `positions` tokens at most.
  key_value_cache(const model_config& config, std::size_t positions)
      : key_value_cache(config, positions, config.key_value_heads) {}
  /// Of so many of a layer's heads, where others have the rest.
  key_value_cache(const model_config& config, std::size_t positions, std::size_t key_value_heads)
      : head_dim_(config.head_dim),
        all_heads_(config.layers * key_value_heads),
        heads_(key_value_heads),
        capacity_(positions) {}

  /// Tokens that are in it.
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Makes memory for `tokens` more; at most as many as there is room for.
  void reserve(std::size_t tokens) {
    const std::size_t needed = length_ + tokens;
    if (needed <= positions_) return;
    const std::size_t positions = std::max(needed, std::min(capacity_, 2 * positions_));
    for (std::vector<float>* const each : {&keys_, &values_}) {
      std::vector<float> grown(all_heads_ * positions * head_dim_);
      for (std::size_t head = 0; head < all_heads_; ++head) {
        std::copy_n(each->data() + head * positions_ * head_dim_, length_ * head_dim_,
                    grown.data() + head * positions * head_dim_);
      }
      each->swap(grown);
    }
    positions_ = positions;
  }
  /// Counts tokens whose keys and values all layers have written.
  void grow(std::size_t tokens) noexcept { length_ += tokens; }
  /// Forgets all tokens.
  void clear() noexcept { length_ = 0; }

  /// A head's keys, [position, head_dim], until reserve().
  [[nodiscard]] float* keys(std::size_t layer, std::size_t head) noexcept {
    return keys_.data() + (layer * heads_ + head) * positions_ * head_dim_;
  }
  [[nodiscard]] float* values(std::size_t layer, std::size_t head) noexcept {
    return values_.data() + (layer * heads_ + head) * positions_ * head_dim_;
  }

 private:
  std::size_t head_dim_;
  std::size_t all_heads_;  ///< of all layers
  std::size_t heads_;      ///< of one
  std::size_t capacity_;
  std::size_t positions_ = 0;  ///< that there is memory for
  std::size_t length_ = 0;
  std::vector<float> keys_;
  std::vector<float> values_;
};

}  // namespace nibble_engine
