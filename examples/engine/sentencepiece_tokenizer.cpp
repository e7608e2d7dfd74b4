#include "sentencepiece_tokenizer.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>

#include "merge_symbols.hpp"
#include "tokenizer_metadata.hpp"

namespace nibble_engine {
namespace {

constexpr std::string_view written_space = "\xE2\x96\x81";  // U+2581

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const std::size_t at = std::min(text.find(from), text.size());
    out += text.substr(0, at);
    if (at == text.size()) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

std::vector<float> read_scores(const metadata_entry& entry, std::size_t vocabulary_size) {
  const nlohmann::json::array_t& values = entry.array();
  if (values.size() != vocabulary_size) {
    entry.refuse(nibble::join_text({values.size(), " scores"}),
                 nibble::join_text({"one for each of ", vocabulary_size, " tokens"}));
  }
  std::vector<float> scores;
  scores.reserve(values.size());
  for (const nlohmann::json& value : values) {
    const float score = value.is_number() ? value.get<float>() : NAN;
    if (!std::isfinite(score)) {
      entry.refuse(nibble::join_text({value.dump(), " as score of token ", scores.size()}),
                   "a finite number");
    }
    scores.push_back(score);
  }
  return scores;
}

bool puts_space_before(const nlohmann::json& metadata) {
  const metadata_entry entry =
      find_entry(metadata, "tokenizer.add_space_prefix", "tokenizer.ggml.add_space_prefix");
  return !entry.is_there() || entry.flag();
}

std::vector<std::string> text_of_pieces(const vocabulary& words) {
  std::vector<std::string> pieces;
  pieces.reserve(words.size());
  for (std::size_t id = 0; id < words.size(); ++id) {
    const std::string& text = words.texts[id];
    const std::optional<unsigned char> byte =
        words.types[id] == token_type::byte ? byte_of_token(text) : std::nullopt;
    if (byte) {
      pieces.emplace_back(1, static_cast<char>(*byte));
    } else if (words.types[id] == token_type::normal) {
      pieces.push_back(replace_all(text, written_space, " "));
    } else {
      pieces.push_back(text);
    }
  }
  return pieces;
}

}  // namespace

sentencepiece_tokenizer::sentencepiece_tokenizer(const nlohmann::json& metadata)
    : sentencepiece_tokenizer(metadata, read_vocabulary(metadata, true), puts_space_before(metadata)) {}

sentencepiece_tokenizer::sentencepiece_tokenizer(const nlohmann::json& metadata,
                                                 vocabulary&& read_words, bool space_before_text)
    : tokenizer(std::move(read_words), text_of_pieces(read_words), true, space_before_text),
      scores_(read_scores(find_entry(metadata, "tokenizer.scores", "tokenizer.ggml.scores"),
                          words().size())),
      normal_(words().texts, words().ids_of(token_type::normal)),
      space_before_text_(space_before_text) {
  for (std::uint32_t id = 0; id < words().size(); ++id) {
    const std::string& text = words().texts[id];
    if (words().types[id] == token_type::byte) {
      const std::optional<unsigned char> byte = byte_of_token(text);
      if (byte && !bytes_[*byte]) bytes_[*byte] = id;
    } else if (words().types[id] == token_type::normal) {
      longest_bytes_ = std::max(longest_bytes_, text.size());
    }
  }
}

void sentencepiece_tokenizer::encode_plain(std::string_view text,
                                           std::vector<std::uint32_t>& ids) const {
  std::string word(space_before_text_ ? written_space : "");
  word += replace_all(text, " ", written_space);
  const std::string_view all = word;

  const auto token_of = [&](std::size_t begin, std::size_t size) -> std::optional<std::uint32_t> {
    if (size > longest_bytes_) return std::nullopt;
    return normal_.find(all.substr(begin, size));
  };

  std::vector<symbol> symbols;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t size = std::max<std::size_t>(1, nibble::utf8_sequence_bytes(all.substr(at)));
    symbols.push_back({at, size, token_of(at, size)});
    at += size;
  }
  merge_symbols(symbols, [&](const symbol& left, const symbol& right) -> std::optional<symbol_merge> {
    const auto token = token_of(left.begin, left.size + right.size);
    if (!token) return std::nullopt;
    return symbol_merge{scores_[*token], *token};
  });

  for (const symbol& each : symbols) {
    if (each.token) {
      ids.push_back(*each.token);
      continue;
    }
    const std::string_view bytes = all.substr(each.begin, each.size);
    const auto token_of_byte = [&](char byte) { return bytes_[static_cast<unsigned char>(byte)]; };
    if (std::ranges::all_of(bytes, [&](char byte) { return token_of_byte(byte).has_value(); })) {
      for (const char byte : bytes) ids.push_back(*token_of_byte(byte));
    } else {
      add_unknown(bytes, ids);
    }
  }
}

}  // namespace nibble_engine
