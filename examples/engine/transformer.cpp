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

transformer::transformer(const nibble::reader& in, model_config config, const product_options& options,
                         const spread& over)
    : config_(std::move(config)),
      file_(in.name()),
      group_(over.group),
      cut_(over.cut),
      products_(options) {
  const weight_loader load(in, config_, options);
  if (const nibble::tensor_view* const embedding = load.find("token_embd.weight");
      embedding != nullptr && config_.vocabulary == 0) {
    config_.vocabulary = static_cast<std::size_t>(embedding->rows());
  }
  spread_over(over, load);
  embedding_ =
      load.table("token_embd.weight", config_.vocabulary, config_.hidden, mine(split_.vocabulary));
  if (config_.architecture == architecture::gpt2) {
    positions_ = load.table("position_embd.weight", config_.context, config_.hidden);
    output_norm_bias_ = load.vector("output_norm.bias", config_.hidden);
  }
  load_blocks(load);
  output_norm_ = load.vector("output_norm.weight", config_.hidden);
  const bool has_own_head = config_.has_own_head || load.has("output.weight");
  output_ = load.matrix(has_own_head ? "output.weight" : "token_embd.weight", config_.vocabulary,
                        config_.hidden, {.outputs = mine(split_.vocabulary)});
  stretch_angles(load);
  rotary_ = rotary(config_);
  zeros_of_parts_ = load.zeros_of_parts();
}

/// Says which outputs of every weight are this rank's.
void transformer::spread_over(const spread& over, const weight_loader& load) {
  const std::size_t ranks = is_alone() ? 1 : group_->size();
  const bool has_shares = !over.shares.empty();
  if (has_shares && (is_alone() || over.shares.size() != ranks)) {
    throw nibble::error(nibble::error_code::invalid_argument,
                        {.field = "shares",
                         .found = std::to_string(over.shares.size()),
                         .expected = fmt::format("as many as there are ranks, {}", ranks)});
  }
  input_units units;
  if (!is_alone() && cut_ == final_cut::columns) {
    units = {load.input_unit("attn_output.weight", config_.layers),
             load.input_unit("ffn_down.weight", config_.layers)};
  }
  split_ = split_rows(config_, has_shares ? over.shares : std::vector<std::uint64_t>(ranks, 1), units);
  mine_ = split_.heads[is_alone() ? 0 : group_->rank()];
}

/// This rank's part; nothing where it has all.
std::optional<part> transformer::mine(const std::vector<part>& parts) const {
  if (is_alone()) return std::nullopt;
  return parts[group_->rank()];
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
  const auto of_heads = [&](const part& heads) -> std::optional<part> {
    if (is_alone()) return std::nullopt;
    return part{heads.first * config_.head_dim, heads.count * config_.head_dim};
  };
  const std::optional<part> queries = of_heads(mine_.queries);
  const std::optional<part> key_values = of_heads(mine_.key_values);
  const std::optional<part> inner = mine(split_.feed_forward);
  for (std::size_t layer = 0; layer < config_.layers; ++layer) {
    const auto named = [&](std::string_view part) { return fmt::format("blk.{}.{}", layer, part); };
    block_weights block;
    block.attention_norm = load.vector(named("attn_norm.weight"), hidden);
    block.feed_forward_norm = load.vector(named("ffn_norm.weight"), hidden);
    if (is_gpt2) {
      block.attention_norm_bias = load.vector(named("attn_norm.bias"), hidden);
      block.feed_forward_norm_bias = load.vector(named("ffn_norm.bias"), hidden);
      matrix_traits traits{.needs_bias = true, .is_input_major = is_input_major};
      const auto fused = [&] {
        return load.matrix(named("attn_qkv.weight"), 3 * hidden, hidden, traits);
      };
      if (is_alone()) {
        block.qkv = fused();
      } else {
        // A rank's heads are three runs of rows.
        std::size_t below = 0;
        for (weight* const each : {&block.q, &block.k, &block.v}) {
          traits.outputs = part{below + queries->first, queries->count};
          *each = fused();
          below += hidden;
        }
      }
    } else {
      const bool needs_bias = config_.architecture == architecture::qwen2;
      block.q = load.matrix(named("attn_q.weight"), config_.query_elements(), hidden,
                            {.needs_bias = needs_bias, .outputs = queries});
      block.k = load.matrix(named("attn_k.weight"), config_.key_value_elements(), hidden,
                            {.needs_bias = needs_bias, .outputs = key_values});
      block.v = load.matrix(named("attn_v.weight"), config_.key_value_elements(), hidden,
                            {.needs_bias = needs_bias, .outputs = key_values});
      block.gate = load.matrix(named("ffn_gate.weight"), feed_forward, hidden, {.outputs = inner});
    }
    matrix_traits other{.needs_bias = is_gpt2, .is_input_major = is_input_major};
    other.outputs = inner;
    block.up = load.matrix(named("ffn_up.weight"), feed_forward, hidden, other);
    other.outputs.reset();
    block.attention_output =
        load_final(load, named("attn_output.weight"), config_.query_elements(), split_.attended, other);
    block.down = load_final(load, named("ffn_down.weight"), feed_forward, split_.feed_forward, other);
    blocks_.push_back(std::move(block));
  }
}

/// The weight of a product that ends half a block, whose inputs are cut into `parts`.
weight transformer::load_final(const weight_loader& load, const std::string& name, std::size_t inputs,
                               const std::vector<part>& parts, matrix_traits traits) const {
  if (!is_alone() && cut_ == final_cut::columns &&
      load.has_columns(name, parts, traits.is_input_major)) {
    traits.inputs = mine(parts);
    traits.adds_bias = group_->rank() == 0;
  } else {
    traits.outputs = mine(split_.hidden);
  }
  return load.matrix(name, config_.hidden, inputs, traits);
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
  if (!is_alone())
    announce({tokens.size(), logits.size() / config_.vocabulary, cache.length()}, tokens);
  run_pieces(tokens, cache, logits);
}

void transformer::run_pieces(std::span<const std::uint32_t> tokens, key_value_cache& cache,
                             std::span<float> logits) {
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
  products_.multiply({{&output_, own_rows(logits.data(), split_.vocabulary, wanted)}},
                     normalized_.data(), wanted);
  gather(logits.data(), split_.vocabulary, wanted, true);
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
  run_block_pieces(x, cache, [&](std::size_t rows) {
    run_attention(blocks_[layer], 0, rows, cache);
    run_feed_forward(blocks_[layer], rows);
  });
}

void transformer::run_block_to(std::size_t layer, block_inputs wanted, std::span<float> x,
                               key_value_cache& cache, std::vector<float>& inputs) {
  const block_weights& block = blocks_[layer];
  inputs.clear();
  const auto keep = [&](const float* from, std::size_t elements) {
    inputs.insert(inputs.end(), from, from + elements);
  };
  run_block_pieces(x, cache, [&](std::size_t rows) {
    if (wanted == block_inputs::attention) {
      normalize(block.attention_norm, block.attention_norm_bias, x_.data(), rows);
      return keep(normalized_.data(), rows * config_.hidden);
    }
    run_heads(block, 0, rows, cache);
    if (wanted == block_inputs::attention_output) {
      return keep(attended_.data(), rows * config_.query_elements());
    }
    add_final(block.attention_output, attended_.data(), split_.attended, rows);
    if (wanted == block_inputs::feed_forward) {
      normalize(block.feed_forward_norm, block.feed_forward_norm_bias, x_.data(), rows);
      return keep(normalized_.data(), rows * config_.hidden);
    }
    float* const inner = run_inner(block, rows);
    keep(inner, rows * config_.feed_forward);
    add_final(block.down, inner, split_.feed_forward, rows);
  });
}

/// Calls run(rows) for pieces of a sequence, whose activations are in x_ before and after.
template <class Run>
void transformer::run_block_pieces(std::span<float> x, key_value_cache& cache, const Run& run) {
  const std::size_t hidden = config_.hidden;
  const std::size_t tokens = x.size() / hidden;
  rotary_.reach(tokens);
  for (std::size_t first = 0; first < tokens; first += most_rows) {
    const std::size_t rows = std::min(most_rows, tokens - first);
    float* const piece = x.data() + first * hidden;
    make_room(rows);
    cache.reserve(rows);
    std::copy_n(piece, rows * hidden, x_.begin());
    run(rows);
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
  // Each rank has some rows of the embedding: those of a rank's tokens lie together until all have all.
  const std::vector<part>& owned = split_.vocabulary;
  std::vector<part> held(owned.size());
  std::vector<std::size_t> owners;
  for (const std::uint32_t token : tokens) {
    std::size_t owner = 0;
    while (token >= owned[owner].end()) ++owner;
    owners.push_back(owner);
    ++held[owner].count;
  }
  for (std::size_t rank = 1; rank < held.size(); ++rank) held[rank].first = held[rank - 1].end();
  std::vector<std::size_t> places;
  std::vector<std::size_t> before(owned.size());
  for (const std::size_t owner : owners) places.push_back(held[owner].first + before[owner]++);

  float* const rows = is_alone() ? x_.data() : added_.data();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (!is_alone() && owners[i] != group_->rank()) continue;
    nibble::dequantize_rows(embedding_, tokens[i], 1, std::span(rows + places[i] * hidden, hidden));
  }
  if (!is_alone()) {
    std::vector<std::size_t> counts;
    for (const part& each : held) counts.push_back(each.count * hidden * sizeof(float));
    group_->gather(std::as_writable_bytes(std::span(rows, tokens.size() * hidden)), counts);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::copy_n(rows + places[i] * hidden, hidden, &x_[i * hidden]);
    }
  }
  if (!positions_) return;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::span<float> position(&added_[i * hidden], hidden);
    nibble::dequantize_rows(*positions_, first_position + i, 1, position);
    add_scaled(1.0F, position.data(), &x_[i * hidden], hidden);
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
  run_heads(block, layer, rows, cache);
  add_final(block.attention_output, attended_.data(), split_.attended, rows);
}

/// What attention's output is made of, in attended_.
void transformer::run_heads(const block_weights& block, std::size_t layer, std::size_t rows,
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
  const std::size_t query_elements = mine_.queries.count * head_dim;
  const std::size_t key_value_elements = mine_.key_values.count * head_dim;
  for (std::size_t row = 0; row < rows; ++row) {
    const std::size_t position = cache.length() + row;
    float* const k = k_.data() + row * key_value_elements;
    const float* const v = v_.data() + row * key_value_elements;
    if (!positions_) {
      rotary_.turn(q_.data() + row * query_elements, mine_.queries.count, position);
      rotary_.turn(k, mine_.key_values.count, position);
    }
    for (std::size_t head = 0; head < mine_.key_values.count; ++head) {
      std::copy_n(k + head * head_dim, head_dim, cache.keys(layer, head) + position * head_dim);
      std::copy_n(v + head * head_dim, head_dim, cache.values(layer, head) + position * head_dim);
    }
  }

  attend(config_, mine_, cache, layer, q_.data(), rows,
         own_rows(attended_.data(), split_.attended, rows), products_.executor());
}

/// Adds to x_ the product that ends half a block. `inputs` are this rank's, where own_rows() has them.
void transformer::add_final(const weight& by, float* inputs, const std::vector<part>& parts,
                            std::size_t rows) {
  if (by.is_summand) {
    products_.multiply({{&by, added_.data()}}, own_rows(inputs, parts, rows), rows);
    sums_.add(*group_, std::span(added_.data(), rows * config_.hidden));
  } else {
    gather(inputs, parts, rows);
    products_.multiply({{&by, own_rows(added_.data(), split_.hidden, rows)}}, inputs, rows);
    gather(added_.data(), split_.hidden, rows);
  }
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
  add_final(block.down, run_inner(block, rows), split_.feed_forward, rows);
}

/// What the product that ends the block is made of.
float* transformer::run_inner(const block_weights& block, std::size_t rows) {
  normalize(block.feed_forward_norm, block.feed_forward_norm_bias, x_.data(), rows);
  const std::size_t elements = rows * block.up.outputs();
  float* const inner = positions_ ? up_.data() : gate_.data();
  float* const own = own_rows(inner, split_.feed_forward, rows);
  if (positions_) {
    products_.multiply({{&block.up, own}}, normalized_.data(), rows);
    gelu(std::span(own, elements));
  } else {
    products_.multiply({{&block.gate, own}, {&block.up, up_.data()}}, normalized_.data(), rows);
    swiglu(std::span(own, elements), up_.data());
  }
  return inner;
}

/// Where this rank's part of [rows, ...] goes before it is gathered: parts lie behind each other, each
/// with all rows.
float* transformer::own_rows(float* values, const std::vector<part>& parts, std::size_t rows) const {
  return is_alone() ? values : values + parts[group_->rank()].first * rows;
}

/// Makes [rows, all elements] of every rank's [rows, its elements], on all ranks or on the first alone.
void transformer::gather(float* values, const std::vector<part>& parts, std::size_t rows,
                         bool to_first) {
  if (is_alone()) return;
  std::vector<std::size_t> counts;
  for (const part& each : parts) counts.push_back(each.count * rows * sizeof(float));
  const std::size_t all = parts.back().end();
  const auto bytes = std::as_writable_bytes(std::span(values, all * rows));
  if (to_first) {
    group_->gather_to_first(bytes, counts);
    if (group_->rank() != 0) return;
  } else {
    group_->gather(bytes, counts);
  }
  if (rows == 1) return;
  gathered_.assign(values, values + all * rows);
  const float* from = gathered_.data();
  for (const part& each : parts) {
    for (std::size_t row = 0; row < rows; ++row, from += each.count) {
      std::copy_n(from, each.count, values + row * all + each.first);
    }
  }
}

/// Tells the other ranks what to run.
void transformer::announce(const announcement& what, std::span<const std::uint32_t> tokens) {
  announcement said = what;
  group_->broadcast(std::as_writable_bytes(std::span(&said, 1)));
  if (tokens.empty()) return;
  std::vector<std::uint32_t> copy(tokens.begin(), tokens.end());
  group_->broadcast(std::as_writable_bytes(std::span(copy)));
}

void transformer::dismiss() {
  if (!is_alone()) announce({}, {});
}

void transformer::follow() {
  key_value_cache cache = make_cache(config_.context);
  std::vector<std::uint32_t> tokens;
  std::vector<float> logits;
  while (true) {
    announcement heard;
    group_->broadcast(std::as_writable_bytes(std::span(&heard, 1)));
    if (heard.tokens == 0) return;
    tokens.resize(static_cast<std::size_t>(heard.tokens));
    group_->broadcast(std::as_writable_bytes(std::span(tokens)));
    if (heard.cached == 0) cache.clear();
    logits.resize(static_cast<std::size_t>(heard.logits) * config_.vocabulary);
    run_pieces(tokens, cache, logits);
  }
}

void transformer::check_zeros() {
  if (is_alone()) return;
  std::vector<std::uint64_t> own;
  for (const zero_count& each : zeros_of_parts_) own.push_back(each.zeros);
  for (const zero_count& each : zeros_of_parts_) own.push_back(each.values);
  const auto lists = gather_lists(*group_, std::span<const std::uint64_t>(own));
  const std::size_t weights = zeros_of_parts_.size();
  for (std::size_t i = 0; i < weights; ++i) {
    zero_count sum{zeros_of_parts_[i].tensor, 0, 0, zeros_of_parts_[i].whole_values};
    for (const std::vector<std::uint64_t>& list : lists) {
      sum.zeros += list.at(i);
      sum.values += list.at(weights + i);
    }
    // Some looked at all of it.
    if (sum.values < sum.whole_values) continue;
    weight_loader::check_zeros(file_, sum);
  }
}

std::uint64_t transformer::weight_bytes() const noexcept {
  std::uint64_t bytes = output_.stored.size_bytes();
  for (const block_weights& block : blocks_) {
    for (const weight* const each :
         {&block.q, &block.k, &block.v, &block.attention_output, &block.gate, &block.up, &block.down}) {
      bytes += each->stored.size_bytes();
    }
    if (block.qkv) bytes += block.qkv->stored.size_bytes();
  }
  return bytes;
}

}  // namespace nibble_engine
