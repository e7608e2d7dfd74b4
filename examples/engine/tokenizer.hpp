#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "special_tokens.hpp"
#include "vocabulary.hpp"

namespace nibble_engine {

/// Text to token ids and back. Const members may be called from several threads at once.
class tokenizer {
 public:
  virtual ~tokenizer() = default;
  tokenizer(const tokenizer&) = delete;
  tokenizer& operator=(const tokenizer&) = delete;

  /// The ids of a text, without begin of text before them. With `special`, control tokens that the text
  /// spells out ("<|im_start|>") become their ids; without, they are text like any other, as a user's
  /// words in a chat should be. Bytes that are not UTF-8 are tokens of single bytes; no character is
  /// normalised. Throws nibble::error not_representable where no token says a byte, and the vocabulary
  /// has no unknown token either.
  [[nodiscard]] std::vector<std::uint32_t> encode(std::string_view text, bool special = true) const;

  /// The bytes that the ids stand for: decode(encode(text)) is the text, except that "▁" (U+2581) is a
  /// space to sentencepiece, and what became the unknown token is lost. Control tokens are spelt out
  /// with `special`, left out without. Bytes may end within a character or be no UTF-8 at all; see
  /// utf8_stream. Throws nibble::error out_of_range for an id that is no token's.
  [[nodiscard]] std::string decode(std::span<const std::uint32_t> ids, bool special = true) const;

  /// The bytes of one token as it stands behind another. Throws as decode() does.
  [[nodiscard]] std::string_view piece(std::uint32_t id) const;

  /// What kind of token it is. Throws as decode() does.
  [[nodiscard]] token_type type(std::uint32_t id) const;

  /// The number of tokens: ids are below it.
  [[nodiscard]] std::size_t size() const { return words_.size(); }
  /// Begin of text, where there is such a token.
  [[nodiscard]] std::optional<std::uint32_t> begin_token() const { return words_.begin; }
  /// Whether a prompt starts with begin_token(): as the file says; where it does not, as models of that
  /// kind of tokenizer do. Never without such a token.
  [[nodiscard]] bool adds_begin() const { return adds_begin_; }
  /// Tokens that end a text.
  [[nodiscard]] std::span<const std::uint32_t> end_tokens() const { return words_.ends; }
  /// Whether the token ends a text.
  [[nodiscard]] bool is_end(std::uint32_t id) const;

 protected:
  /// `pieces` has the bytes of each token, `adds_begin` stands where the file says nothing.
  /// `space_before_text`: encode_plain() puts a space before each part, which decode() takes away.
  tokenizer(vocabulary&& words, std::vector<std::string> pieces, bool adds_begin,
            bool space_before_text);

  /// Adds the ids of a part of a text that holds no special token and is not empty.
  virtual void encode_plain(std::string_view text, std::vector<std::uint32_t>& ids) const = 0;

  /// The tokens.
  [[nodiscard]] const vocabulary& words() const { return words_; }
  /// Adds the unknown token for bytes that no token says. Throws nibble::error not_representable
  /// where there is none.
  void add_unknown(std::string_view bytes, std::vector<std::uint32_t>& ids) const;

 private:
  vocabulary words_;
  std::vector<std::string> pieces_;
  special_tokens special_;
  bool adds_begin_;
  bool space_before_text_;
};

/// The tokenizer that a model's metadata describes: of an .apr file or a checkpoint folder by
/// tokenizer.model_type ("sentencepiece" or "bpe"), of GGUF by tokenizer.ggml.model ("llama" or "gpt2").
/// Beside vocabulary.hpp's keys it reads, each with GGUF's name behind it:
///
///     sentencepiece   tokenizer.scores              tokenizer.ggml.scores
///                     tokenizer.add_space_prefix    tokenizer.ggml.add_space_prefix   (true)
///     bpe             tokenizer.merges              tokenizer.ggml.merges
///                     tokenizer.pre_tokenizer       tokenizer.ggml.pre
///                     tokenizer.ignore_merges                                         (pre_tokenizer.hpp)
///
/// Throws nibble::error: bad_metadata where a key is missing or contradicts another,
/// unsupported_feature for a tokenizer or pre-tokenizer that is not known.
[[nodiscard]] std::unique_ptr<tokenizer> make_tokenizer(const nlohmann::json& metadata);

}  // namespace nibble_engine
