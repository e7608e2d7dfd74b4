#include "transformer.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/format.h>

#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/error.hpp>

#include "attention.hpp"
#include "contract_error.hpp"
#include "vector_math.hpp"
#include "weight_loader.hpp"

namespace nibble_engine {

transformer::transformer(const nibble::reader& in, model_config config, const product_options& options)
    : config_(std::move(config)), products_(options) {
  const weight_loader load(in, config_, options);
  if (const nibble::tensor_view* const embedding = load.find("token_embd.weight");
      embedding != nullptr && config_.vocabulary == 0) {
    config_.vocabulary = static_cast<std::size_t>(embedding->rows());
  }
  embedding_ = load.table("token_embd.weight", config_.vocabulary, config_.hidden);
  if (config_.architecture == architecture::gpt2) {
    positions_ = load.table("position_embd.weight", config_.context, config_.hidden);
    output_norm_bias_ = load.vector("output_norm.bias", config_.hidden);
  }
  load_blocks(load);
  output_norm_ = load.vector("output_norm.weight", config_.hidden);
  const bool has_own_head = config_.has_own_head || load.has("output.weight");
  output_ = load.matrix(has_own_head ? "output.weight" : "token_embd.weight", config_.vocabulary,
                        config_.hidden);
  stretch_angles(load);
  rotary_ = rotary(config_);
}

/// GGUF says as divisors how Llama 3's angles are stretched.
void transformer::stretch_angles(const weight_loader& load) {
  std::vector<double>& frequencies = config_.rotary_frequencies;
  const std::string name = "rope_freqs.weight";
  if (frequencies.empty() || !load.has(name)) return;
  const std::vector<float> divisors = load.vector(name, frequencies.size());
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (!(divisors[i] > 0.0F)) {
      throw contract_error(contract_error::data_quality, load.file_name(), name,
                           fmt::format("a divisor of {}", divisors[i]), "divisors above 0");
    }
    frequencies[i] /= static_cast<double>(divisors[i]);
  }
}

void transformer::load_blocks(const weight_loader& load) {
  const std::size_t hidden = config_.hidden;
  const std::size_t feed_forward = config_.feed_forward;
  const bool is_gpt2 = config_.architecture == architecture::gpt2;
  const bool is_input_major = is_gpt2 && load.is_input_major();
  for (std::size_t layer = 0; layer < config_.layers; ++layer) {
    const auto named = [&](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
    block_weights block;
    block.attention_norm = load.vector(named("attn_norm.weight"), hidden);
    block.feed_forward_norm = load.vector(named("ffn_norm.weight"), hidden);
    if (is_gpt2) {
      block.attention_norm_bias = load.vector(named("attn_norm.bias"), hidden);
      block.feed_forward_norm_bias = load.vector(named("ffn_norm.bias"), hidden);
      block.qkv = load.matrix(named("attn_qkv.weight"), 3 * hidden, hidden,
                              {.needs_bias = true, .is_input_major = is_input_major});
    } else {
      const matrix_traits projection{.needs_bias = config_.architecture == architecture::qwen2};
      block.q = load.matrix(named("attn_q.weight"), config_.query_elements(), hidden, projection);
      block.k = load.matrix(named("attn_k.weight"), config_.key_value_elements(), hidden, projection);
      block.v = load.matrix(named("attn_v.weight"), config_.key_value_elements(), hidden, projection);
      block.gate = load.matrix(named("ffn_gate.weight"), feed_forward, hidden);
    }
    const matrix_traits other{.needs_bias = is_gpt2, .is_input_major = is_input_major};
    block.attention_output =
        load.matrix(named("attn_output.weight"), hidden, config_.query_elements(), other);
    block.up = load.matrix(named("ffn_up.weight"), feed_forward, hidden, other);
    block.down = load.matrix(named("ffn_down.weight"), hidden, feed_forward, other);
    blocks_.push_back(std::move(block));
  }
}

void transformer::run(std::span<const std::uint32_t> tokens, key_value_cache& cache,
                      std::span<float> logits) {
  const std::size_t most = std::min(cache.capacity(), config_.context);
  if (tokens.size() > most - cache.length()) {
    throw nibble::error(nibble::error_code::out_of_range,
                        {.field = "tokens",
                         .found = fmt::format("{} behind {}", tokens.size(), cache.length()),
                         .expected = fmt::format("at most {} in all, the model's context", most)});
  }
  for (const std::uint32_t token : tokens) {
    if (token < config_.vocabulary) continue;
    throw nibble::error(nibble::error_code::out_of_range,
                        {.field = "token",
                         .found = std::to_string(token),
                         .expected = fmt::format("less than {}", config_.vocabulary)});
  }
  if (logits.size() % config_.vocabulary != 0 || logits.size() / config_.vocabulary > tokens.size()) {
    throw nibble::error(nibble::error_code::out_of_range,
                        {.field = "logits",
                         .found = std::to_string(logits.size()),
                         .expected = fmt::format("{} for each of at most {} tokens", config_.vocabulary,
                                                 tokens.size())});
  }
  const std::size_t silent = tokens.size() - logits.size() / config_.vocabulary;
  for (std::size_t first = 0; first < tokens.size(); first += most_rows) {
    const std::size_t rows = std::min(most_rows, tokens.size() - first);
    const std::size_t skipped = std::max(first, silent);
    const std::size_t wanted = first + rows > skipped ? first + rows - skipped : 0;
    run_rows(tokens.subspan(first, rows), cache,
             logits.subspan(wanted == 0 ? 0 : (skipped - silent) * config_.vocabulary,
                            wanted * config_.vocabulary));
  }
}

void transformer::run_rows(std::span<const std::uint32_t> tokens, key_value_cache& cache,
                           std::span<float> logits) {
  const std::size_t rows = tokens.size();
  make_room(rows);
  cache.reserve(rows);
  rotary_.reach(cache.length() + rows);
  embed(tokens, cache.length());
  for (std::size_t layer = 0; layer < blocks_.size(); ++layer) {
    run_attention(blocks_[layer], layer, rows, cache);
    run_feed_forward(blocks_[layer], rows);
  }
  cache.grow(rows);

  const std::size_t wanted = logits.size() / config_.vocabulary;
  if (wanted == 0) return;
  normalize(output_norm_, output_norm_bias_, x_.data() + (rows - wanted) * config_.hidden, wanted);
  products_.multiply({{&output_, logits.data()}}, normalized_.data(), wanted);
}

/// Activations of so many tokens.
void transformer::make_room(std::size_t rows) {
  const auto at_least = [rows](std::vector<float>& buffer, std::size_t elements) {
    if (buffer.size() < rows * elements) buffer.resize(rows * elements);
  };
  for (auto* const buffer : {&x_, &normalized_, &added_}) at_least(*buffer, config_.hidden);
  for (auto* const buffer : {&q_, &attended_}) at_least(*buffer, config_.query_elements());
  for (auto* const buffer : {&k_, &v_}) at_least(*buffer, config_.key_value_elements());
  for (auto* const buffer : {&gate_, &up_}) at_least(*buffer, config_.feed_forward);
  if (config_.architecture == architecture::gpt2) at_least(fused_, 3 * config_.hidden);
}

void transformer::embed(std::span<const std::uint32_t> tokens, std::span<float> x) {
  const std::size_t hidden = config_.hidden;
  for (std::size_t first = 0; first < tokens.size(); first += most_rows) {
    const std::size_t rows = std::min(most_rows, tokens.size() - first);
    make_room(rows);
    embed(tokens.subspan(first, rows), first);
    std::copy_n(x_.begin(), rows * hidden, x.data() + first * hidden);
  }
}

void transformer::run_block(std::size_t layer, std::span<float> x, key_value_cache& cache) {
  const std::size_t hidden = config_.hidden;
  const std::size_t tokens = x.size() / hidden;
  rotary_.reach(tokens);
  for (std::size_t first = 0; first < tokens; first += most_rows) {
    const std::size_t rows = std::min(most_rows, tokens - first);
    float* const piece = x.data() + first * hidden;
    make_room(rows);
    cache.reserve(rows);
    std::copy_n(piece, rows * hidden, x_.begin());
    run_attention(blocks_[layer], 0, rows, cache);
    run_feed_forward(blocks_[layer], rows);
    std::copy_n(x_.begin(), rows * hidden, piece);
    cache.grow(rows);
  }
  cache.clear();
}

void transformer::normalize_output(std::span<const float> x, std::span<float> normalized) {
  const std::size_t hidden = config_.hidden;
  const std::size_t tokens = x.size() / hidden;
  for (std::size_t first = 0; first < tokens; first += most_rows) {
    const std::size_t rows = std::min(most_rows, tokens - first);
    make_room(rows);
    normalize(output_norm_, output_norm_bias_, x.data() + first * hidden, rows);
    std::copy_n(normalized_.begin(), rows * hidden, normalized.data() + first * hidden);
  }
}

std::vector<std::vector<weight*>> transformer::weights_of(std::size_t layer) {
  block_weights& block = blocks_[layer];
  std::vector<std::vector<weight*>> lists;
  if (block.qkv) {
    lists.push_back({&*block.qkv});
  } else {
    lists.push_back({&block.q, &block.k, &block.v});
  }
  lists.push_back({&block.attention_output});
  if (positions_) {
    lists.push_back({&block.up});
  } else {
    lists.push_back({&block.gate, &block.up});
  }
  lists.push_back({&block.down});
  return lists;
}

void transformer::embed(std::span<const std::uint32_t> tokens, std::size_t first_position) {
  const std::size_t hidden = config_.hidden;
  for (std::size_t row = 0; row < tokens.size(); ++row) {
    const std::span<float> x(&x_[row * hidden], hidden);
    nibble::dequantize_rows(embedding_, tokens[row], 1, x);
    if (!positions_) continue;
    const std::span<float> position(&added_[row * hidden], hidden);
    nibble::dequantize_rows(*positions_, first_position + row, 1, position);
    add_scaled(1.0F, position.data(), x.data(), hidden);
  }
}

void transformer::normalize(const std::vector<float>& gain, const std::vector<float>& bias,
                            const float* from, std::size_t rows) {
  const std::size_t hidden = config_.hidden;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::span<const float> x(from + row * hidden, hidden);
    float* const to = &normalized_[row * hidden];
    if (bias.empty()) {
      rms_norm(x, gain, config_.norm_epsilon, to);
    } else {
      layer_norm(x, gain, bias, config_.norm_epsilon, to);
    }
  }
}

void transformer::run_attention(const block_weights& block, std::size_t layer, std::size_t rows,
                                key_value_cache& cache) {
  normalize(block.attention_norm, block.attention_norm_bias, x_.data(), rows);
  if (block.qkv) {
    products_.multiply({{&*block.qkv, fused_.data()}}, normalized_.data(), rows);
    split_fused(rows);
  } else {
    products_.multiply({{&block.q, q_.data()}, {&block.k, k_.data()}, {&block.v, v_.data()}},
                       normalized_.data(), rows);
  }

  const std::size_t head_dim = config_.head_dim;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t position = cache.length() + row;
    float* const k = &k_[row * config_.key_value_elements()];
    const float* const v = &v_[row * config_.key_value_elements()];
    if (!positions_) {
      rotary_.turn(&q_[row * config_.query_elements()], config_.heads, position);
      rotary_.turn(k, config_.key_value_heads, position);
    }
    for (std::size_t head = 0; head < config_.key_value_heads; ++head) {
      std::copy_n(k + head * head_dim, head_dim, cache.keys(layer, head) + position * head_dim);
      std::copy_n(v + head * head_dim, head_dim, cache.values(layer, head) + position * head_dim);
    }
  }

  attend(config_, cache, layer, q_.data(), rows, attended_.data(), products_.executor());
  products_.multiply({{&block.attention_output, added_.data()}}, attended_.data(), rows);
  add_scaled(1.0F, added_.data(), x_.data(), rows * config_.hidden);
}

/// Rows of q, k and v from rows of all three.
void transformer::split_fused(std::size_t rows) {
  const std::size_t hidden = config_.hidden;
  for (std::size_t row = 0; row < rows; ++row) {
    const float* from = &fused_[row * 3 * hidden];
    for (std::vector<float>* const to : {&q_, &k_, &v_}) {
      std::copy_n(from, hidden, &(*to)[row * hidden]);
      from += hidden;
    }
  }
}

void transformer::run_feed_forward(const block_weights& block, std::size_t rows) {
  normalize(block.feed_forward_norm, block.feed_forward_norm_bias, x_.data(), rows);
  const std::size_t elements = rows * config_.feed_forward;
  std::vector<float>* inner = &up_;
  if (positions_) {
    products_.multiply({{&block.up, up_.data()}}, normalized_.data(), rows);
    gelu(std::span(up_).first(elements));
  } else {
    products_.multiply({{&block.gate, gate_.data()}, {&block.up, up_.data()}}, normalized_.data(),
                       rows);
    swiglu(std::span(gate_).first(elements), up_.data());
    inner = &gate_;
  }
  products_.multiply({{&block.down, added_.data()}}, inner->data(), rows);
  add_scaled(1.0F, added_.data(), x_.data(), rows * config_.hidden);
}

}  // namespace nibble_engine
