#include "byte_pair_tokenizer.hpp"

#include <string>
#include <utility>

#include <nibble/core/text.hpp>

#include "byte_alphabet.hpp"
#include "tokenizer_metadata.hpp"

namespace nibble_engine {
namespace {

/// Special tokens are spelt as they are; so are pieces with a character that is no letter.
std::vector<std::string> make_pieces(const vocabulary& words) {
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

std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32U | right;
}

}  // namespace

byte_pair_tokenizer::byte_pair_tokenizer(const nlohmann::json& metadata)
    : byte_pair_tokenizer(
          metadata, read_vocabulary(metadata, false),
          pre_tokenizer(find_entry(metadata, "tokenizer.pre_tokenizer", "tokenizer.ggml.pre"))) {}

byte_pair_tokenizer::byte_pair_tokenizer(const nlohmann::json& metadata, vocabulary&& read_words,
                                         pre_tokenizer&& splitter)
    : tokenizer(std::move(read_words), make_pieces(read_words), splitter.adds_begin(), false),
      pre_tokenizer_(std::move(splitter)),
      whole_words_first_(pre_tokenizer_.whole_words_first()) {
  const metadata_entry ignore_merges = find_entry(metadata, "tokenizer.ignore_merges");
  if (ignore_merges.is_there()) whole_words_first_ = ignore_merges.flag();

  ids_by_text ids;
  ids.reserve(words().size());
  for (std::uint32_t id = 0; id < words().size(); ++id) {
    ids.try_emplace(words().texts[id], id);
    if (words().types[id] == token_type::normal) ids_.try_emplace(piece(id), id);
  }
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(byte_alphabet::letter(static_cast<unsigned char>(byte)));
    if (found != ids.end()) bytes_[byte] = found->second;
  }

  const metadata_entry entry = find_entry(metadata, "tokenizer.merges", "tokenizer.ggml.merges");
  const nlohmann::json::array_t& merges = entry.array();
  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const auto* const text = merges[rank].get_ptr<const std::string*>();
    const std::size_t space = text == nullptr ? std::string::npos : text->find(' ');
    if (space == std::string::npos || text->find(' ', space + 1) != std::string::npos) {
      entry.refuse(nibble::join_text({merges[rank].dump(), " as merge ", rank}),
                   "two tokens with a space between them");
    }
    const auto id_of = [&](const std::string& token) {
      const auto found = ids.find(token);
      if (found == ids.end()) {
        entry.refuse(
            nibble::join_text({"merge ", rank, " of '", *text, "', but no token '", token, "'"}),
            "merges of tokens into tokens");
      }
      return found->second;
    };
    const std::string left_text = text->substr(0, space);
    const std::string right_text = text->substr(space + 1);
    const std::uint32_t left = id_of(left_text);
    const std::uint32_t right = id_of(right_text);
    const std::uint32_t both = id_of(left_text + right_text);
    // Of a pair that is there twice the first rank counts.
    merges_.try_emplace(pair_key(left, right), symbol_merge{-static_cast<double>(rank), both});
  }
}

void byte_pair_tokenizer::encode_plain(std::string_view text, std::vector<std::uint32_t>& ids) const {
  for (const std::string_view word : pre_tokenizer_.split(text)) encode_word(word, ids);
}

void byte_pair_tokenizer::encode_word(std::string_view word, std::vector<std::uint32_t>& ids) const {
  if (whole_words_first_) {
    const auto whole = ids_.find(word);
    if (whole != ids_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  std::vector<symbol> symbols;
  symbols.reserve(word.size());
  for (std::size_t at = 0; at < word.size(); ++at) {
    symbols.push_back({at, 1, bytes_[static_cast<unsigned char>(word[at])]});
  }
  merge_symbols(symbols, [&](const symbol& left, const symbol& right) -> std::optional<symbol_merge> {
    if (!left.token || !right.token) return std::nullopt;
    const auto found = merges_.find(pair_key(*left.token, *right.token));
    return found == merges_.end() ? std::nullopt : std::optional(found->second);
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
