#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/tensor_view.hpp>
#include <nibble/reader.hpp>

#include "key_value_cache.hpp"
#include "model_config.hpp"
#include "products.hpp"
#include "rank_group.hpp"
#include "rank_sums.hpp"
#include "rotary.hpp"
#include "row_split.hpp"
#include "weight_loader.hpp"

namespace nibble_engine {

/// The ranks that a model is spread over.
struct spread {
  rank_group* group = nullptr;          ///< null: this process has all of the model
  std::vector<std::uint64_t> shares{};  ///< of each rank; none: all have as much
  final_cut cut = final_cut::rows;      ///< where the file's encodings can be cut so
};

/// The weights of one block.
struct block_weights {
  std::vector<float> attention_norm{}, attention_norm_bias{};
  weight q{}, k{}, v{};         ///< llama and qwen2
  std::optional<weight> qkv{};  ///< gpt2 on one rank: all three, one below the other
  weight attention_output{};
  std::vector<float> feed_forward_norm{}, feed_forward_norm_bias{};
  weight gate{};  ///< llama and qwen2
  weight up{}, down{};
};

/// What the matrices of a block are multiplied by, in the order in which it multiplies; several may share
/// it.
enum class block_inputs {
  attention,           ///< of q, k and v
  attention_output,    ///< of what ends attention
  feed_forward,        ///< of gate and up
  feed_forward_output  ///< of what ends the block
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
///
/// Spread over ranks, each has some rows of every weight, and gathers what the others make of theirs:
/// four times a block. Every output is the product of the same rows on any number of ranks, bit for
/// bit. Where final_cut is columns, ranks have columns of attention_output and down, and add up what they
/// make: two sums a block, which differ from one rank's by rounding and are the same in every run of as
/// many ranks and the same shares. Weights whose blocks cannot be cut so are cut by rows all the same.
/// Rank 0 runs tokens, the others follow() until it dismisses them.
class transformer {
 public:
  /// Finds and checks all weights, or this rank's rows of them. `in` and the group must outlive the
  /// transformer. Throws contract_error, nibble::error: invalid_argument (as many shares as there are
  /// ranks are expected, or none). Sends nothing.
  transformer(const nibble::reader& in, model_config config, const product_options& options,
              const spread& over = {});

  [[nodiscard]] const model_config& config() const noexcept { return config_; }
  /// Logits of one position.
  [[nodiscard]] std::size_t vocabulary() const noexcept { return config_.vocabulary; }

  /// A cache for this model, with this rank's heads.
  [[nodiscard]] key_value_cache make_cache(std::size_t positions) const {
    return {config_, positions, mine_.key_values.count};
  }

  /// Once all ranks have their rows: throws contract_error, on all of them, where a weight's rows have
  /// too many zeros together.
  void check_zeros();
  /// What ranks other than 0 do: their part of all runs of rank 0, until dismiss().
  void follow();
  /// Ends what other ranks do in follow(); of rank 0 alone.
  void dismiss();
  /// Bytes of the weights that this rank multiplies by, as they are stored.
  [[nodiscard]] std::uint64_t weight_bytes() const noexcept;

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
  /// As run_block(), and keeps what some of the block's weights are multiplied by, [tokens, inputs]. What
  /// comes after is not run: `x` leaves the block where they are those that end it, and is unspecified
  /// otherwise. For one rank.
  void run_block_to(std::size_t layer, block_inputs wanted, std::span<float> x, key_value_cache& cache,
                    std::vector<float>& inputs);
  /// What the head is multiplied by, [tokens, hidden], of what the last block gave.
  void normalize_output(std::span<const float> x, std::span<float> normalized);
  /// The matrices of a block, a list for each of block_inputs; those of one list share their inputs. A
  /// weight may be given others of its shape in `stored`.
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
  void run_heads(const block_weights& block, std::size_t layer, std::size_t rows,
                 key_value_cache& cache);
  void run_feed_forward(const block_weights& block, std::size_t rows);
  [[nodiscard]] float* run_inner(const block_weights& block, std::size_t rows);
  template <class Run>
  void run_block_pieces(std::span<float> x, key_value_cache& cache, const Run& run);
  /// What rank 0 has the others run; nothing: they are dismissed.
  struct announcement {
    std::uint64_t tokens = 0;
    std::uint64_t logits = 0;  ///< positions whose logits are wanted
    std::uint64_t cached = 0;  ///< tokens before these
  };
  void announce(const announcement& what, std::span<const std::uint32_t> tokens);
  [[nodiscard]] bool is_alone() const noexcept { return group_ == nullptr; }
  void spread_over(const spread& over, const weight_loader& load);
  [[nodiscard]] weight load_final(const weight_loader& load, const std::string& name,
                                  std::size_t inputs, const std::vector<part>& parts,
                                  matrix_traits traits) const;
  void add_final(const weight& by, float* inputs, const std::vector<part>& parts, std::size_t rows);
  [[nodiscard]] std::optional<part> mine(const std::vector<part>& parts) const;
  [[nodiscard]] float* own_rows(float* values, const std::vector<part>& parts, std::size_t rows) const;
  void gather(float* values, const std::vector<part>& parts, std::size_t rows, bool to_first = false);
  void run_pieces(std::span<const std::uint32_t> tokens, key_value_cache& cache,
                  std::span<float> logits);
  void normalize(const std::vector<float>& gain, const std::vector<float>& bias, const float* from,
                 std::size_t rows);

  model_config config_;
  std::string file_;
  rank_group* group_ = nullptr;
  final_cut cut_;
  rank_sums sums_;
  row_split split_;  ///< over ranks
  head_part mine_;   ///< this rank's heads
  std::vector<zero_count> zeros_of_parts_;
  product_engine products_;
  rotary rotary_;
  nibble::tensor_view embedding_;
  std::optional<nibble::tensor_view> positions_;  ///< gpt2
  std::vector<block_weights> blocks_;
  std::vector<float> output_norm_, output_norm_bias_;
  weight output_;
  // Activations of a block of tokens, [rows, ...].
  std::vector<float> x_, normalized_, fused_, q_, k_, v_, attended_, gate_, up_, added_;
  std::vector<float> gathered_;  ///< [ranks, rows, ...]
};

}  // namespace nibble_engine
