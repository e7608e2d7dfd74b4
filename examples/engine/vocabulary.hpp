#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

namespace nibble_engine {

/// What a token is, by the numbers of GGUF's tokenizer.ggml.token_type.
enum class token_type : std::uint8_t {
  normal = 1,        ///< a piece of text
  unknown = 2,       ///< stands for what the vocabulary cannot say
  control = 3,       ///< begin of text, end of text, roles of a chat
  user_defined = 4,  ///< text that is one token wherever it occurs
  unused = 5,        ///< fills the vocabulary up
  byte = 6,          ///< "<0xNN>": one byte of a character that no piece holds
};

/// The tokens of a model and what is said of them.
struct vocabulary {
  std::vector<std::string> texts;        ///< by id, as the file spells them
  std::vector<token_type> types;         ///< by id
  std::optional<std::uint32_t> begin;    ///< begin of text
  std::vector<std::uint32_t> ends;       ///< each of which ends a text
  std::optional<std::uint32_t> unknown;  ///< for what no token says
  std::optional<bool> adds_begin;        ///< whether `begin` goes before a prompt, where it is said

  /// The number of tokens.
  [[nodiscard]] std::size_t size() const { return texts.size(); }
};

/// Reads the tokens, their types and the ids of special tokens: tokenizer.vocabulary,
/// tokenizer.token_types, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unknown_token_id and
/// tokenizer.add_bos_token, or GGUF's names of them. Where no types are given, begin and end of text are
/// control tokens, "<unk>" is the unknown token, "<0x00>" to "<0xFF>" are bytes where
/// `has_byte_tokens`, and all others are normal. Throws nibble::error bad_metadata: there is no vocabulary, it
/// is empty or holds something other than strings; the types are as many as the tokens and known; an
/// id is that of a token.
[[nodiscard]] vocabulary read_vocabulary(const nlohmann::json& metadata, bool has_byte_tokens);

/// The byte of "<0xNN>", NN two hexadecimal digits, or nothing where `text` is no such token.
[[nodiscard]] std::optional<unsigned char> byte_of_token(std::string_view text);

/// Ids by the text of a token. Of two tokens of one text the lower id counts. Borrows the texts.
using ids_by_text = std::unordered_map<std::string_view, std::uint32_t>;

}  // namespace nibble_engine
