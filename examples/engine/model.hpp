#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/reader.hpp>

#include "model_config.hpp"
#include "tokenizer.hpp"
#include "transformer.hpp"

namespace nibble_engine {

/// A model that is open and checked: weights in the file, and its tokenizer where it has one.
class model {
 public:
  /// Takes over the reader, of any container or of a checkpoint folder. Throws contract_error,
  /// nibble::error.
  /// Spread over ranks, it has this rank's rows of the weights; see transformer.
  model(nibble::reader in, const product_options& options, const spread& over = {});

  [[nodiscard]] const nibble::reader& file() const noexcept { return in_; }
  [[nodiscard]] const model_config& config() const noexcept { return transformer_.config(); }
  [[nodiscard]] transformer& decoder() noexcept { return transformer_; }
  /// Throws nibble::error (bad_metadata) where the metadata describes no tokenizer.
  [[nodiscard]] const tokenizer& text();

  /// Whether the model ends its text with this token.
  [[nodiscard]] bool ends_text(std::uint32_t token) const noexcept {
    return std::find(ends_.begin(), ends_.end(), token) != ends_.end();
  }

  /// The token that a text of the model's own starts with: the one for the beginning of a text, whether
  /// prompts start with it or not; where the model has none, the one that ends a text, which often stands
  /// between those that a model learns from. Ids beyond the vocabulary count as none. Nothing where it has
  /// neither.
  [[nodiscard]] std::optional<std::uint32_t> opening_token() const;

  /// The text of tokens that stand behind others. Control tokens have none, nor have those beyond the
  /// tokenizer's vocabulary, with which embeddings are padded.
  [[nodiscard]] std::string continuation(std::span<const std::uint32_t> tokens);

  /// Ids of a prompt, behind the token for the beginning of a text where the model wants one.
  [[nodiscard]] std::vector<std::uint32_t> prompt_tokens(std::string_view text_of_prompt);

 private:
  nibble::reader in_;
  nlohmann::json metadata_;
  transformer transformer_;
  std::unique_ptr<tokenizer> tokenizer_;
  std::vector<std::uint32_t> ends_;
};

}  // namespace nibble_engine
