#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/json_stream.hpp>
#include <nibble/format/json_text.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble {

/// The numbers that GGUF has for what a token is (tokenizer.ggml.token_type).
enum class token_kind : unsigned char {
  normal = 1,        ///< a piece of text
  unknown = 2,       ///< for what the vocabulary does not hold
  control = 3,       ///< steers the model, such as the beginning of a text
  user_defined = 4,  ///< found in texts before they are split
  unused = 5,        ///< nothing: the id of no token
  byte = 6           ///< one byte, such as <0x0A>
};

namespace tokenizer_json {

/// A pre-tokenizer by GGUF's name (tokenizer.ggml.pre) and the pattern by which a Split of tokenizer.json
/// does the same.
struct pre_tokenizer {
  std::string_view name;
  std::string_view pattern;
};

/// One row a pattern. Source: convert_hf_to_gguf.py and llama-vocab.cpp in llama.cpp.
inline constexpr auto pre_tokenizers = std::to_array<pre_tokenizer>({
    {"llama-bpe",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
     R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"qwen2", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
              R"(|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {"tekken", R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
               R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
               R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
});

/// The space of SentencePiece, U+2581.
inline constexpr std::string_view space_mark = "\xE2\x96\x81";

/// A token as the text lists it.
struct token {
  std::string text;
  std::uint32_t id;
  float score = 0;
};

/// What a tokenizer.json says, its lists apart from the rest.
template <class Json>
struct contents {
  Json sections = Json::object();    ///< added_tokens, normalizer, pre_tokenizer, ...
  Json model = Json::object();       ///< its plain values: type, unk_token, byte_fallback, ...
  std::deque<token> vocabulary{};    ///< in the order of the text
  std::deque<std::string> merges{};  ///< "left right"
};

/// Memory that reading may take for each byte of the text, beside memory_budget::base_bytes: a token or a
/// merge of ten characters has a hundred bytes as JSON in memory.
inline constexpr std::uint64_t memory_per_byte = 8;

/// Reads the text without a tree of its two long lists.
template <class Json>
class parser {
 public:
  explicit parser(std::string_view text)
      : budget_(text.size(), memory_per_byte), from_(text, "tokenizer.json") {
    if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
      throw error(error_code::bad_metadata,
                  {.field = join_text({"tokenizer.json, byte ", at}), .expected = "UTF-8"});
    }
  }

  [[nodiscard]] contents<Json> read() {
    for_each_member([&](const std::string& section) {
      if (section == "model" && from_.peek() == '{') {
        for_each_member([&](const std::string& name) { read_of_model(name); });
      } else {
        read_.sections[section] = tree(1);
      }
    });
    from_.require_end();
    return std::move(read_);
  }

 private:
  [[noreturn]] void refuse(std::string_view field, std::string_view expected) {
    throw error(error_code::bad_metadata, {.field = std::string(field),
                                           .found = from_.describe_next(),
                                           .expected = std::string(expected)});
  }

  template <class ReadValue>
  void for_each_member(const ReadValue& read_value) {
    from_.require('{');
    if (from_.take('}')) return;
    do {
      const std::string key(from_.take_string(unescaped_));
      from_.require(':');
      read_value(key);
    } while (from_.take(','));
    from_.require('}');
  }

  template <class ReadElement>
  void for_each_element(const ReadElement& read_element) {
    from_.require('[');
    if (from_.take(']')) return;
    do {
      read_element();
    } while (from_.take(','));
    from_.require(']');
  }

  /// The next value, of any kind, inside `depth` levels.
  [[nodiscard]] Json tree(std::size_t depth) {
    const std::string object = join_text({"{\"v\":", from_.take_value(depth), "}"});
    return std::move(parse_json_object<Json>(object, "tokenizer.json", budget_)["v"]);
  }

  void read_of_model(const std::string& name) {
    const char next = from_.peek();
    if (name == "vocab" && next == '{') {
      for_each_member([&](const std::string& text) { add_token({text, read_id(text)}); });
    } else if (name == "vocab" && next == '[') {
      for_each_element([&] { add_token(read_scored()); });
    } else if (name == "merges" && next == '[') {
      for_each_element([&] { add_merge(); });
    } else if (next == '{' || next == '[') {
      from_.skip_value(2);
    } else {
      read_.model[name] = tree(2);
    }
  }

  void add_token(token&& read) {
    budget_.take(sizeof(token) + sizeof(std::string) + 3 * sizeof(Json) +
                     memory_budget::string_bytes(read.text.size()),
                 "tokenizer.json model.vocab");
    read_.vocabulary.push_back(std::move(read));
  }

  [[nodiscard]] std::uint32_t read_id(std::string_view text) {
    const std::string field = join_text({"model.vocab['", text, "']"});
    const char next = from_.peek();
    if (next < '0' || next > '9') refuse(field, "the id of a token");
    return id_of_text(from_.take_number(), field);
  }

  [[nodiscard]] static std::uint32_t id_of_text(std::string_view number, std::string_view field) {
    std::uint32_t id = 0;
    const char* const end = number.data() + number.size();
    const auto [stop, problem] = std::from_chars(number.data(), end, id);
    if (problem == std::errc() && stop == end) return id;
    throw error(
        error_code::bad_metadata,
        {.field = std::string(field), .found = std::string(number), .expected = "the id of a token"});
  }

  /// [text, score], whose id is its place.
  [[nodiscard]] token read_scored() {
    const std::string field = join_text({"model.vocab[", read_.vocabulary.size(), "]"});
    if (from_.peek() != '[') refuse(field, "a token and its score");
    const Json pair = tree(3);
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_number()) {
      throw error(error_code::bad_metadata,
                  {.field = field, .found = "another array", .expected = "a token and its score"});
    }
    return {pair[0].template get<std::string>(), static_cast<std::uint32_t>(read_.vocabulary.size()),
            static_cast<float>(pair[1].template get<double>())};
  }

  /// "left right", or [left, right].
  void add_merge() {
    const std::string field = join_text({"model.merges[", read_.merges.size(), "]"});
    std::string merge;
    if (from_.peek() == '"') {
      merge = from_.take_string(unescaped_);
    } else {
      if (!from_.take('[')) refuse(field, "two tokens");
      merge = from_.take_string(unescaped_);
      from_.require(',');
      merge.append(" ").append(from_.take_string(unescaped_));
      from_.require(']');
    }
    const std::size_t space = merge.find(' ');
    if (space == std::string::npos || merge.find(' ', space + 1) != std::string::npos) {
      throw error(error_code::bad_metadata,
                  {.field = field, .found = join_text({"'", merge, "'"}), .expected = "two tokens"});
    }
    budget_.take(2 * sizeof(std::string) + sizeof(Json) + memory_budget::string_bytes(merge.size()),
                 "tokenizer.json model.merges");
    read_.merges.push_back(std::move(merge));
  }

  memory_budget budget_;
  json_stream from_;
  std::string unescaped_;
  contents<Json> read_;
};

/// Calls visit(step) for a normalizer, pre-tokenizer, post-processor or decoder, or for each step of a
/// sequence.
template <class Json, class Visit>
void for_each_step(const Json& sections, const char* section, const Visit& visit) {
  const auto found = sections.find(section);
  if (found == sections.end()) return;
  const auto walk = [&](const auto& self, const Json& step) -> void {
    if (!step.is_object()) return;
    for (const char* const list : {"normalizers", "pretokenizers", "processors", "decoders"}) {
      const auto steps = step.find(list);
      if (steps == step.end() || !steps->is_array()) continue;
      for (const Json& inner : *steps) self(self, inner);
      return;
    }
    visit(step);
  };
  walk(walk, *found);
}

template <class Json>
[[nodiscard]] std::string text_of(const Json& from, const char* name) {
  const auto found = from.find(name);
  return found != from.end() && found->is_string() ? found->template get<std::string>() : std::string();
}
template <class Json>
[[nodiscard]] bool is_set(const Json& from, const char* name) {
  const auto found = from.find(name);
  return found != from.end() && found->is_boolean() && found->template get<bool>();
}

/// GGUF's name of the pre-tokenizer; "unknown" for one that has none here.
template <class Json>
[[nodiscard]] std::string name_pre_tokenizer(const Json& sections) {
  std::string steps;
  std::string pattern;
  for_each_step(sections, "pre_tokenizer", [&](const Json& step) {
    std::string type = text_of(step, "type");
    if (type == "ByteLevel" && step.value("use_regex", true)) type = "ByteLevel with words";
    if (type == "Digits" && !is_set(step, "individual_digits")) type = "runs of Digits";
    if (const auto found = step.find("pattern"); found != step.end() && found->is_object()) {
      pattern = text_of(*found, "Regex");
      if (text_of(step, "behavior") != "Isolated" || is_set(step, "invert")) type = "other Split";
    }
    steps += join_text({steps.empty() ? "" : ", ", type});
  });
  if (steps == "ByteLevel with words") return "gpt-2";
  if (steps == "Digits, ByteLevel with words") return "smollm";
  if (steps == "Split, ByteLevel") {
    for (const pre_tokenizer& each : pre_tokenizers) {
      if (each.pattern == pattern) return std::string(each.name);
    }
  }
  return "unknown";
}

/// Whether the tokenizer is one of SentencePiece in the form of a byte-pair encoding: spaces are marked,
/// and bytes are no letters of an alphabet.
template <class Json>
[[nodiscard]] bool is_sentencepiece(const contents<Json>& from) {
  bool has_byte_alphabet = false;
  bool marks_spaces = is_set(from.model, "byte_fallback");
  for (const char* const section : {"normalizer", "pre_tokenizer", "decoder"}) {
    for_each_step(from.sections, section, [&](const Json& step) {
      const std::string type = text_of(step, "type");
      has_byte_alphabet = has_byte_alphabet || type == "ByteLevel";
      marks_spaces = marks_spaces || type == "Metaspace" || text_of(step, "content") == space_mark ||
                     text_of(step, "prepend") == space_mark;
    });
  }
  return marks_spaces && !has_byte_alphabet;
}

/// Whether a space is put before a text.
template <class Json>
[[nodiscard]] bool adds_space(const Json& sections) {
  bool adds = false;
  for_each_step(sections, "normalizer",
                [&](const Json& step) { adds = adds || text_of(step, "prepend") == space_mark; });
  for_each_step(sections, "pre_tokenizer", [&](const Json& step) {
    const std::string scheme = text_of(step, "prepend_scheme");
    adds = adds || (scheme.empty() ? is_set(step, "add_prefix_space") : scheme != "never");
  });
  return adds;
}

/// Whether the post-processor puts a special token before a text; nothing where there is none that does
/// such a thing.
template <class Json>
[[nodiscard]] std::optional<bool> adds_token_before(const Json& sections) {
  std::optional<bool> adds;
  for_each_step(sections, "post_processor", [&](const Json& step) {
    const auto single = step.find("single");
    if (single == step.end() || !single->is_array() || single->empty()) return;
    adds = (*single)[0].is_object() && (*single)[0].contains("SpecialToken");
  });
  return adds;
}

/// "<0x0A>" and its like.
[[nodiscard]] inline bool is_byte_token(std::string_view text) noexcept {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>') &&
         text.substr(3, 2).find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}

/// The tokens by id, with what they are.
struct token_table {
  std::vector<std::string> texts;
  std::vector<token_kind> kinds;
  std::vector<float> scores;
};

/// Puts the tokens in their places. Throws bad_metadata for an id far beyond the number of tokens, and
/// for two tokens of one id.
template <class Json>
[[nodiscard]] token_table order_tokens(contents<Json>& from, bool has_byte_tokens) {
  const auto added = from.sections.find("added_tokens");
  const std::size_t added_count = added != from.sections.end() && added->is_array() ? added->size() : 0;
  const std::uint64_t id_limit = 4 * (from.vocabulary.size() + added_count) + 4096;
  token_table table;
  const auto place = [&](std::uint64_t id, std::string_view field) {
    if (id >= id_limit) {
      throw error(
          error_code::bad_metadata,
          {.field = std::string(field),
           .found = join_text({"id ", id}),
           .expected = join_text({"ids of ", from.vocabulary.size() + added_count, " tokens"})});
    }
    const auto at = static_cast<std::size_t>(id);
    if (at >= table.texts.size()) {
      table.texts.resize(at + 1);
      table.kinds.resize(at + 1, token_kind::unused);
      table.scores.resize(at + 1);
    }
    return at;
  };
  for (token& each : from.vocabulary) {
    const std::size_t at = place(each.id, "model.vocab");
    if (table.kinds[at] != token_kind::unused) {
      throw error(error_code::bad_metadata,
                  {.field = "model.vocab",
                   .found = join_text({"'", each.text, "' with the id ", at, " of another token"}),
                   .expected = "every id once"});
    }
    const bool is_byte = has_byte_tokens && is_byte_token(each.text);
    table.kinds[at] = is_byte ? token_kind::byte : token_kind::normal;
    table.scores[at] = each.score;
    table.texts[at] = std::move(each.text);
  }
  from.vocabulary.clear();
  for (std::size_t i = 0; i < added_count; ++i) {
    const Json& each = (*added)[i];
    const std::string field = join_text({"added_tokens[", i, "]"});
    const auto id = each.is_object() ? each.find("id") : each.end();
    if (!each.is_object() || id == each.end() || !id->is_number_unsigned() ||
        !each.contains("content") || !each["content"].is_string()) {
      throw error(error_code::bad_metadata,
                  {.field = field, .found = "another value", .expected = "an id and a content"});
    }
    const std::size_t at = place(id->template get<std::uint64_t>(), field);
    table.texts[at] = text_of(each, "content");
    table.kinds[at] = is_set(each, "special") ? token_kind::control : token_kind::user_defined;
  }
  for (std::size_t i = 0; i < table.texts.size(); ++i) {
    if (table.kinds[i] == token_kind::unused) table.texts[i] = join_text({"[PAD", i, "]"});
  }
  return table;
}

/// Marks the unknown token: by its text (BPE) or its id (Unigram). Returns its id.
template <class Json>
std::optional<std::uint64_t> mark_unknown(token_table& table, const Json& model) {
  std::size_t at = table.texts.size();
  if (const std::string text = text_of(model, "unk_token"); !text.empty()) {
    at = static_cast<std::size_t>(std::find(table.texts.begin(), table.texts.end(), text) -
                                  table.texts.begin());
  } else if (const auto id = model.find("unk_id"); id != model.end() && id->is_number_unsigned()) {
    at = static_cast<std::size_t>(
        std::min<std::uint64_t>(id->template get<std::uint64_t>(), table.texts.size()));
  }
  if (at == table.texts.size()) return std::nullopt;
  table.kinds[at] = token_kind::unknown;
  return at;
}

/// Scores by which SentencePiece merges in the order of `merges`: minus the place of the first merge that
/// makes the token. Normal tokens that none makes come last.
inline void score_by_merges(token_table& table, const std::deque<std::string>& merges) {
  std::unordered_map<std::string_view, std::size_t> places;
  places.reserve(table.texts.size());
  for (std::size_t i = 0; i < table.texts.size(); ++i) {
    places.emplace(table.texts[i], i);
    const bool is_normal = table.kinds[i] == token_kind::normal;
    table.scores[i] = is_normal ? -static_cast<float>(merges.size()) : 0.0F;
  }
  std::string merged;
  for (std::size_t i = merges.size(); i-- != 0;) {
    merged = merges[i];
    merged.erase(merged.find(' '), 1);
    const auto place = places.find(merged);
    if (place != places.end()) table.scores[place->second] = -static_cast<float>(i);
  }
}

}  // namespace tokenizer_json

/// The flat metadata keys of .apr that a tokenizer.json says; none for a kind of tokenizer that has no
/// such keys (WordPiece, word lists).
///
///   tokenizer.model_type        "bpe" (bytes as letters of an alphabet), "sentencepiece" (a byte-pair
///                               encoding that marks spaces), "unigram"
///   tokenizer.vocabulary        the tokens by id, added ones too; an id of no token is "[PAD7]"
///   tokenizer.token_types       token_kind of each
///   tokenizer.merges            "left right", of bpe
///   tokenizer.scores            of sentencepiece (by the order of the merges) and unigram
///   tokenizer.pre_tokenizer     GGUF's name, of bpe: "gpt-2", "llama-bpe", "qwen2", "smollm", "tekken",
///                               or "unknown"
///   tokenizer.add_space_prefix  whether a space is put before a text, of sentencepiece and unigram
///   tokenizer.add_bos_token     whether the post-processor puts a token before a text, where it says so
///   tokenizer.ignore_merges     true where a word that is a token is not merged
///   tokenizer.unknown_token_id  where there is such a token
///
/// Throws bad_metadata, naming the key; directory_too_large where reading takes more than eight times the
/// text and 15 MB. The errors name no file.
template <class Json>
[[nodiscard]] Json metadata_of_tokenizer(std::string_view text) {
  using namespace tokenizer_json;
  contents<Json> from = parser<Json>(text).read();
  const std::string type = text_of(from.model, "type");
  // Old files do not name the model's type.
  const bool is_bpe = type == "BPE" || (type.empty() && !from.merges.empty());
  const bool is_unigram = type == "Unigram";
  Json metadata = Json::object();
  if (!is_bpe && !is_unigram) return metadata;
  const bool is_marked = is_bpe && is_sentencepiece(from);

  token_table table = order_tokens(from, is_marked || is_unigram);
  if (const auto unknown = mark_unknown(table, from.model)) {
    metadata["tokenizer.unknown_token_id"] = *unknown;
  }
  if (is_marked) score_by_merges(table, from.merges);
  metadata["tokenizer.model_type"] = is_marked ? "sentencepiece" : is_bpe ? "bpe" : "unigram";
  if (is_marked || is_unigram) {
    metadata["tokenizer.scores"] = table.scores;
    metadata["tokenizer.add_space_prefix"] = adds_space(from.sections);
  } else {
    metadata["tokenizer.pre_tokenizer"] = name_pre_tokenizer(from.sections);
    Json& merges = metadata["tokenizer.merges"] = Json::array();
    for (std::string& each : from.merges) merges.push_back(std::move(each));
    if (is_set(from.model, "ignore_merges")) metadata["tokenizer.ignore_merges"] = true;
  }
  if (const auto adds = adds_token_before(from.sections)) metadata["tokenizer.add_bos_token"] = *adds;
  Json& types = metadata["tokenizer.token_types"] = Json::array();
  for (const token_kind kind : table.kinds) types.push_back(static_cast<unsigned>(kind));
  Json& vocabulary = metadata["tokenizer.vocabulary"] = Json::array();
  for (std::string& each : table.texts) vocabulary.push_back(std::move(each));
  return metadata;
}

}  // namespace nibble
