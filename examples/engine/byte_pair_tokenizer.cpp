#include "byte_pair_tokenizer.hpp"

#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include <nibble/core/text.hpp>

#include "byte_alphabet.hpp"
#include "tokenizer_metadata.hpp"

namespace nibble_engine {
namespace {

/// Special tokens are spelt as they are; so are pieces with a character that is no letter.
std::vector<std::string> bytes_of_pieces(const vocabulary& words) {
  std::vector<std::string> pieces;
  pieces.reserve(words.size());
  for (std::size_t id = 0; id < words.size(); ++id) {
    const std::string& text = words.texts[id];
    const bool is_spelt_in_letters =
        words.types[id] == token_type::normal || words.types[id] == token_type::unused;
    pieces.push_back(is_spelt_in_letters ? byte_alphabet::bytes(text).value_or(text) : text);
  }
  return pieces;
}

std::vector<std::uint32_t> all_ids(const vocabulary& words) {
  std::vector<std::uint32_t> ids(words.size());
  std::iota(ids.begin(), ids.end(), 0U);
  return ids;
}

std::vector<token_merge> read_merges(const metadata_entry& entry, const token_index& tokens) {
  const nlohmann::json::array_t& values = entry.array();
  if (values.size() > std::numeric_limits<std::uint32_t>::max()) {
    entry.refuse(nibble::join_text({values.size(), " merges"}), "ranks of 32 bits");
  }
  std::vector<token_merge> merges;
  merges.reserve(values.size());
  std::string both_text;
  for (const nlohmann::json& value : values) {
    const auto rank = static_cast<std::uint32_t>(merges.size());
    const auto* const string = value.get_ptr<const std::string*>();
    const std::string_view text = string == nullptr ? std::string_view() : *string;
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
      entry.refuse(nibble::join_text({value.dump(), " as merge ", rank}),
                   "two tokens with a space between them");
    }
    const auto id_of = [&](std::string_view token) {
      const std::optional<std::uint32_t> id = tokens.find(token);
      if (!id) {
        entry.refuse(
            nibble::join_text({"merge ", rank, " of '", text, "', but no token '", token, "'"}),
            "merges of tokens into tokens");
      }
      return *id;
    };
    const std::uint32_t left = id_of(text.substr(0, space));
    const std::uint32_t right = id_of(text.substr(space + 1));
    both_text.assign(text.substr(0, space)).append(text.substr(space + 1));
    merges.push_back({left, right, rank, id_of(both_text)});
  }
  return merges;
}

}  // namespace

byte_pair_tokenizer::byte_pair_tokenizer(const nlohmann::json& metadata)
    : byte_pair_tokenizer(
          metadata, read_vocabulary(metadata, false),
          pre_tokenizer(find_entry(metadata, "tokenizer.pre_tokenizer", "tokenizer.ggml.pre"))) {}

byte_pair_tokenizer::byte_pair_tokenizer(const nlohmann::json& metadata, vocabulary&& read_words,
                                         pre_tokenizer&& splitter)
    : tokenizer(std::move(read_words), bytes_of_pieces(read_words), splitter.adds_begin(), false),
      pre_tokenizer_(std::move(splitter)),
      whole_words_first_(pre_tokenizer_.whole_words_first()),
      by_text_(words().texts, all_ids(words())),
      merges_(read_merges(find_entry(metadata, "tokenizer.merges", "tokenizer.ggml.merges"), by_text_),
              words().size()) {
  const metadata_entry ignore_merges = find_entry(metadata, "tokenizer.ignore_merges");
  if (ignore_merges.is_there()) whole_words_first_ = ignore_merges.flag();
  for (unsigned byte = 0; byte < 256; ++byte) {
    bytes_[byte] = by_text_.find(byte_alphabet::letter(static_cast<unsigned char>(byte)));
  }
}

void byte_pair_tokenizer::encode_plain(std::string_view text, std::vector<std::uint32_t>& ids) const {
  for (const std::string_view word : pre_tokenizer_.split(text)) {
    const std::optional<std::uint32_t> whole = whole_words_first_ ? token_of_word(word) : std::nullopt;
    if (whole) {
      ids.push_back(*whole);
    } else {
      merge_word(word, ids);
    }
  }
}

std::optional<std::uint32_t> byte_pair_tokenizer::token_of_word(std::string_view word) const {
  std::string letters;
  for (const char byte : word) letters += byte_alphabet::letter(static_cast<unsigned char>(byte));
  const std::optional<std::uint32_t> token = by_text_.find(letters);
  return token && type(*token) == token_type::normal ? token : std::nullopt;
}

void byte_pair_tokenizer::merge_word(std::string_view word, std::vector<std::uint32_t>& ids) const {
  std::vector<symbol> symbols;
  symbols.reserve(word.size());
  for (std::size_t at = 0; at < word.size(); ++at) {
    symbols.push_back({at, 1, bytes_[static_cast<unsigned char>(word[at])]});
  }
  merge_symbols(symbols, [&](const symbol& left, const symbol& right) -> std::optional<symbol_merge> {
    if (!left.token || !right.token) return std::nullopt;
    return merges_.find(*left.token, *right.token);
  });
  for (const symbol& each : symbols) {
    if (each.token) {
      ids.push_back(*each.token);
    } else {
      add_unknown(word.substr(each.begin, each.size), ids);
    }
  }
}

}  // namespace nibble_engine
