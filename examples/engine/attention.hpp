#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/compute/executor.hpp>

#include "key_value_cache.hpp"
#include "model_config.hpp"
#include "row_split.hpp"
#include "vector_math.hpp"

namespace nibble_engine {

/// Causal attention of `tokens` new tokens to themselves and to those in the cache, whose layer holds
/// keys and values of all of them: out = softmax(q * k^T / sqrt(head_dim)) * v, for each head. Heads in
/// groups of heads / key_value_heads share keys and values.
///
/// Of the heads those of `mine` are here, and the cache has its keys and values. q and out are
/// [tokens, heads, head_dim]. A task is one head of one token.
inline void attend(const model_config& config, const head_part& mine, key_value_cache& cache,
                   std::size_t layer, const float* q, std::size_t tokens, float* out,
                   nibble::executor* executor) {
  const std::size_t head_dim = config.head_dim;
  const std::size_t group = config.heads / config.key_value_heads;
  const float scale = 1.0F / std::sqrt(static_cast<float>(head_dim));
  const auto one_head = [&](std::size_t task) {
    const std::size_t token = task / mine.queries.count;
    const std::size_t head = mine.queries.first + task % mine.queries.count;
    const std::size_t key_value_head = head / group - mine.key_values.first;
    const std::size_t positions = cache.length() + token + 1;
    const float* const query = q + task * head_dim;
    const float* const keys = cache.keys(layer, key_value_head);
    const float* const values = cache.values(layer, key_value_head);
    float* const result = out + task * head_dim;

    static thread_local std::vector<float> scores;
    if (scores.size() < positions) scores.resize(positions);
    for (std::size_t position = 0; position < positions; ++position) {
      scores[position] = scale * dot(query, keys + position * head_dim, head_dim);
    }
    softmax(std::span(scores).first(positions));
    scaled_sum(std::span(scores).first(positions), values, result, head_dim);
  };
  const std::size_t tasks = tokens * mine.queries.count;
  // To hand work over takes microseconds, and few positions take no more.
  constexpr std::size_t least_shared_products = 1U << 16U;
  const std::size_t products = tasks * 2 * head_dim * (cache.length() + tokens);
  nibble::run_tasks(products < least_shared_products ? nullptr : executor, tasks, one_head);
}

}  // namespace nibble_engine
