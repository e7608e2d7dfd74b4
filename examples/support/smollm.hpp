#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <fmt/format.h>

#include <nibble/compute/row_source.hpp>

/// SmolLM-135M's shape, and weights for it that need no download.
namespace smollm {

inline constexpr std::uint64_t hidden = 576;
inline constexpr std::uint64_t key_value = 192;
inline constexpr std::uint64_t feed_forward = 1536;
inline constexpr std::uint64_t vocabulary = 49152;
inline constexpr std::uint64_t layers = 30;

/// The sum of four uniform numbers in -1..1, which depends on seed and place alone, so that rows can be
/// had in any order.
[[nodiscard]] inline float bell_shaped(std::uint64_t seed, std::uint64_t element) noexcept {
  float sum = 0.0F;
  for (std::uint64_t part = 0; part < 4; ++part) {
    std::uint64_t mixed = seed + 0x9E3779B97F4A7C15U * (4 * element + part + 1);  // splitmix64
    mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
    sum += static_cast<float>(static_cast<std::int32_t>(mixed >> 32U)) * 0x1p-31F;
  }
  return sum;
}

/// Rows of a matrix with `cols` columns.
[[nodiscard]] inline nibble::row_source weights_of(std::uint64_t seed, std::uint64_t cols) {
  // Networks start near 1 / sqrt(inputs), and training keeps them there.
  const float deviation = 1.0F / std::sqrt(static_cast<float>(cols));
  return [=](std::uint64_t first_row, std::uint64_t, std::span<float> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = deviation * bell_shaped(seed, first_row * cols + i);
    }
  };
}

/// Calls add_matrix(name, rows, cols) and add_norm(name) for the tensors of a model with so many layers,
/// in the order in which a token meets them.
template <class AddMatrix, class AddNorm>
void for_each_tensor(std::uint64_t layer_count, AddMatrix add_matrix, AddNorm add_norm) {
  add_matrix("model.embed_tokens.weight", vocabulary, hidden);
  for (std::uint64_t layer = 0; layer < layer_count; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    add_norm(prefix + "input_layernorm.weight");
    add_matrix(prefix + "self_attn.q_proj.weight", hidden, hidden);
    add_matrix(prefix + "self_attn.k_proj.weight", key_value, hidden);
    add_matrix(prefix + "self_attn.v_proj.weight", key_value, hidden);
    add_matrix(prefix + "self_attn.o_proj.weight", hidden, hidden);
    add_norm(prefix + "post_attention_layernorm.weight");
    add_matrix(prefix + "mlp.gate_proj.weight", feed_forward, hidden);
    add_matrix(prefix + "mlp.up_proj.weight", feed_forward, hidden);
    add_matrix(prefix + "mlp.down_proj.weight", hidden, feed_forward);
  }
  add_norm("model.norm.weight");
}

}  // namespace smollm
