#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/tensor_view.hpp>
#include <nibble/reader.hpp>

#include "key_value_cache.hpp"
#include "model_config.hpp"
#include "products.hpp"
#include "rotary.hpp"

namespace nibble_engine {

class weight_loader;

/// The weights of one block.
struct block_weights {
  std::vector<float> attention_norm{}, attention_norm_bias{};
  weight q{}, k{}, v{};         ///< llama and qwen2
  std::optional<weight> qkv{};  ///< gpt2: all three, one below the other
  weight attention_output{};
  std::vector<float> feed_forward_norm{}, feed_forward_norm_bias{};
  weight gate{};  ///< llama and qwen2
  weight up{}, down{};
};

/// A decoder that runs from the blocks of an open file: nothing is expanded but norms, biases and one
/// row of the embedding a token.
///
/// One token, or a block of a prompt's tokens, in each of `layers` blocks:
///
///   x += attention_output * attend(rotary(q * norm(x)), rotary(k * norm(x)), v * norm(x))
///   x += down * (silu(gate * norm(x)) * (up * norm(x)))          llama, qwen2
///   x += down * gelu(up * norm(x))                               gpt2
///
/// and logits = output * norm(x) at the end.
class transformer {
 public:
  /// Finds and checks all weights. `in` must outlive the transformer. Throws contract_error,
  /// nibble::error.
  transformer(const nibble::reader& in, model_config config, const product_options& options);

  [[nodiscard]] const model_config& config() const noexcept { return config_; }
  /// Logits of one position.
  [[nodiscard]] std::size_t vocabulary() const noexcept { return config_.vocabulary; }

  /// Time that products with weights took so far; what else a run took is the engine's own.
  [[nodiscard]] double product_seconds() const noexcept { return products_.seconds(); }

  /// Runs `tokens` behind those in the cache, which grows by them, and writes the logits of the last
  /// `logits.size() / vocabulary()` of them, [positions, vocabulary].
  ///
  /// Throws nibble::error: out_of_range (a token beyond the vocabulary, more tokens than the cache has
  /// room for, logits of a part of a position or of more positions than there are tokens).
  void run(std::span<const std::uint32_t> tokens, key_value_cache& cache, std::span<float> logits);

  /// Shows the inputs of every product from now on; see product_engine::observe().
  void observe(input_observer observer) { products_.observe(std::move(observer)); }

  // A run taken apart, for who changes weights on the way: embed, every block, the head's inputs.

  /// What the first block is given: rows of the embedding, [tokens, hidden]. The tokens are within the
  /// vocabulary and start a sequence.
  void embed(std::span<const std::uint32_t> tokens, std::span<float> x);
  /// Takes the activations of a sequence's tokens, [tokens, hidden], through one block. Of `cache` the
  /// first layer is used; it is empty before and after.
  void run_block(std::size_t layer, std::span<float> x, key_value_cache& cache);
  /// What the head is multiplied by, [tokens, hidden], of what the last block gave.
  void normalize_output(std::span<const float> x, std::span<float> normalized);
  /// The matrices of a block in the order in which it multiplies by them; those of one list share their
  /// inputs. A weight may be given others of its shape in `stored`.
  [[nodiscard]] std::vector<std::vector<weight*>> weights_of(std::size_t layer);
  /// The head: the embedding where the model has none of its own.
  [[nodiscard]] weight& head() noexcept { return output_; }
  /// The matrices whose rows are looked up: tokens' rows, and those of positions where there are some.
  [[nodiscard]] std::vector<nibble::tensor_view*> tables() {
    std::vector<nibble::tensor_view*> all{&embedding_};
    if (positions_) all.push_back(&*positions_);
    return all;
  }

 private:
  /// Tokens that go through the blocks together.
  static constexpr std::size_t most_rows = 256;

  void stretch_angles(const weight_loader& load);
  void load_blocks(const weight_loader& load);
  void run_rows(std::span<const std::uint32_t> tokens, key_value_cache& cache, std::span<float> logits);
  void make_room(std::size_t rows);
  void embed(std::span<const std::uint32_t> tokens, std::size_t first_position);
  void run_attention(const block_weights& block, std::size_t layer, std::size_t rows,
                     key_value_cache& cache);
  void split_fused(std::size_t rows);
  void run_feed_forward(const block_weights& block, std::size_t rows);
  void normalize(const std::vector<float>& gain, const std::vector<float>& bias, const float* from,
                 std::size_t rows);

  model_config config_;
  product_engine products_;
  rotary rotary_;
  nibble::tensor_view embedding_;
  std::optional<nibble::tensor_view> positions_;  ///< gpt2
  std::vector<block_weights> blocks_;
  std::vector<float> output_norm_, output_norm_bias_;
  weight output_;
  // Activations of a block of tokens, [rows, ...].
  std::vector<float> x_, normalized_, fused_, q_, k_, v_, attended_, gate_, up_, added_;
};

}  // namespace nibble_engine
