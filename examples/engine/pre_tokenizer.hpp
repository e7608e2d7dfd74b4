#pragma once

#include <string_view>
#include <vector>

#include "regular_expression.hpp"
#include "tokenizer_metadata.hpp"

namespace nibble_engine {

/// Splits text into words, beyond which byte pair encoding merges nothing. Which words a model was
/// trained on goes by name: those that GGUF's tokenizer.ggml.pre has.
class pre_tokenizer {
 public:
  /// The one that the file names. Throws nibble::error: bad_metadata where it names none,
  /// unsupported_feature where the name is not known.
  explicit pre_tokenizer(const metadata_entry& name);

  /// Words in order, none empty; together they are the text, which they borrow. Bytes that are not UTF-8
  /// are words of their own, as many of them as stand together.
  [[nodiscard]] std::vector<std::string_view> split(std::string_view text) const;

  /// Whether models of that name take a word that is a token as it is, whatever merges would make.
  [[nodiscard]] bool whole_words_first() const { return whole_words_first_; }
  /// Whether models of that name start a prompt with begin of text.
  [[nodiscard]] bool adds_begin() const { return adds_begin_; }

 private:
  std::vector<regular_expression> patterns_;  ///< each splits what those before it left
  bool whole_words_first_ = false;
  bool adds_begin_ = false;
};

}  // namespace nibble_engine
