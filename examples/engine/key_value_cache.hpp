#pragma once

#include <cstddef>
#include <vector>

#include "model_config.hpp"

namespace nibble_engine {

/// Keys and values of the tokens so far, in every layer: f32, [layer, head, position, head_dim].
class key_value_cache {
 public:
  /// Room for `positions` tokens.
  key_value_cache(const model_config& config, std::size_t positions)
      : head_dim_(config.head_dim),
        heads_(config.key_value_heads),
        capacity_(positions),
        keys_(config.layers * heads_ * capacity_ * head_dim_),
        values_(keys_.size()) {}

  /// Tokens that are in it.
  [[nodiscard]] std::size_t length() const noexcept { return length_; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
  /// Counts tokens whose keys and values all layers have written.
  void grow(std::size_t tokens) noexcept { length_ += tokens; }
  /// Forgets all tokens.
  void clear() noexcept { length_ = 0; }

  /// A head's keys, [position, head_dim].
  [[nodiscard]] float* keys(std::size_t layer, std::size_t head) noexcept {
    return keys_.data() + (layer * heads_ + head) * capacity_ * head_dim_;
  }
  [[nodiscard]] float* values(std::size_t layer, std::size_t head) noexcept {
    return values_.data() + (layer * heads_ + head) * capacity_ * head_dim_;
  }

 private:
  std::size_t head_dim_;
  std::size_t heads_;
  std::size_t capacity_;
  std::size_t length_ = 0;
  std::vector<float> keys_;
  std::vector<float> values_;
};

}  // namespace nibble_engine
