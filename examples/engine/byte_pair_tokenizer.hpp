#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

#include "merge_symbols.hpp"
#include "pre_tokenizer.hpp"
#include "tokenizer.hpp"

namespace nibble_engine {

/// Byte-level byte pair encoding, as of GPT-2, Qwen and Llama 3. A pre-tokenizer splits text into
/// words. Within a word single bytes merge, pair by pair, in the order of the merges that training
/// found. Vocabulary and merges are spelt in byte_alphabet's letters.
class byte_pair_tokenizer final : public tokenizer {
 public:
  /// From a model's metadata, see make_tokenizer(). Throws as that does.
  explicit byte_pair_tokenizer(const nlohmann::json& metadata);

 private:
  byte_pair_tokenizer(const nlohmann::json& metadata, vocabulary&& words, pre_tokenizer&& splitter);

  void encode_plain(std::string_view text, std::vector<std::uint32_t>& ids) const override;
  void encode_word(std::string_view word, std::vector<std::uint32_t>& ids) const;

  pre_tokenizer pre_tokenizer_;
  bool whole_words_first_;  ///< a word that is a token is not merged
  ids_by_text ids_;         ///< of normal tokens, by the bytes they stand for
  std::array<std::optional<std::uint32_t>, 256> bytes_;
  std::unordered_map<std::uint64_t, symbol_merge> merges_;  ///< by left id << 32 | right id
};

}  // namespace nibble_engine
