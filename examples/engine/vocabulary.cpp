#include "vocabulary.hpp"

#include <limits>

#include <nibble/core/text.hpp>

#include "tokenizer_metadata.hpp"

namespace nibble_engine {
namespace {

std::vector<std::string> read_texts(const metadata_entry& entry) {
  const nlohmann::json::array_t& values = entry.array();
  if (values.empty()) entry.refuse("no token", "at least one");
  if (values.size() > std::numeric_limits<std::uint32_t>::max()) {
    entry.refuse(nibble::join_text({values.size(), " tokens"}), "ids of 32 bits");
  }
  std::vector<std::string> texts;
  texts.reserve(values.size());
  for (const nlohmann::json& value : values) {
    const auto* const text = value.get_ptr<const std::string*>();
    if (text == nullptr) {
      entry.refuse(nibble::join_text({value.type_name(), " as token ", texts.size()}), "a string");
    }
    texts.push_back(*text);
  }
  return texts;
}

std::vector<token_type> read_types(const metadata_entry& entry, std::size_t vocabulary_size) {
  const nlohmann::json::array_t& values = entry.array();
  if (values.size() != vocabulary_size) {
    entry.refuse(nibble::join_text({values.size(), " types"}),
                 nibble::join_text({"one for each of ", vocabulary_size, " tokens"}));
  }
  std::vector<token_type> types;
  types.reserve(values.size());
  for (const nlohmann::json& value : values) {
    const std::int64_t number = value.is_number_integer() ? value.get<std::int64_t>() : -1;
    if (number < 0 || number > 6) {
      entry.refuse(nibble::join_text({value.is_number() ? value.dump() : value.type_name(),
                                      " as type of token ", types.size()}),
                   "0 to 6");
    }
    // 0 is GGUF's "undefined", of which nothing is said.
    types.push_back(number == 0 ? token_type::normal : static_cast<token_type>(number));
  }
  return types;
}

std::vector<token_type> guess_types(const vocabulary& words, bool has_byte_tokens) {
  std::vector<token_type> types(words.size(), token_type::normal);
  if (has_byte_tokens) {
    for (std::size_t id = 0; id < words.size(); ++id) {
      if (byte_of_token(words.texts[id])) types[id] = token_type::byte;
    }
  }
  if (words.begin) types[*words.begin] = token_type::control;
  for (const std::uint32_t id : words.ends) types[id] = token_type::control;
  if (words.unknown) types[*words.unknown] = token_type::unknown;
  return types;
}

}  // namespace

std::optional<unsigned char> byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  unsigned value = 0;
  for (const char digit : text.substr(3, 2)) {
    constexpr std::string_view digits = "0123456789ABCDEF0123456789abcdef";
    const std::size_t at = digits.find(digit);
    if (at == std::string_view::npos) return std::nullopt;
    value = value * 16 + static_cast<unsigned>(at % 16);
  }
  return static_cast<unsigned char>(value);
}

vocabulary read_vocabulary(const nlohmann::json& metadata, bool has_byte_tokens) {
  vocabulary words;
  words.texts = read_texts(find_entry(metadata, "tokenizer.vocabulary", "tokenizer.ggml.tokens"));

  const auto one_id = [&](const metadata_entry& entry) -> std::optional<std::uint32_t> {
    if (!entry.is_there()) return std::nullopt;
    const std::vector<std::uint32_t> ids = entry.token_ids(words.size());
    if (ids.size() != 1) entry.refuse(nibble::join_text({ids.size(), " ids"}), "one");
    return ids.front();
  };
  words.begin = one_id(find_entry(metadata, "tokenizer.bos_token_id", "tokenizer.ggml.bos_token_id"));
  words.unknown =
      one_id(find_entry(metadata, "tokenizer.unknown_token_id", "tokenizer.ggml.unknown_token_id"));
  // GGUF has ends of a turn and of a message beside the end of text.
  for (const char* const kind : {"eos", "eot", "eom"}) {
    const metadata_entry entry =
        find_entry(metadata, nibble::join_text({"tokenizer.", kind, "_token_id"}),
                   nibble::join_text({"tokenizer.ggml.", kind, "_token_id"}));
    if (!entry.is_there()) continue;
    for (const std::uint32_t id : entry.token_ids(words.size())) words.ends.push_back(id);
  }
  const metadata_entry adds =
      find_entry(metadata, "tokenizer.add_bos_token", "tokenizer.ggml.add_bos_token");
  if (adds.is_there()) words.adds_begin = adds.flag();

  const metadata_entry types =
      find_entry(metadata, "tokenizer.token_types", "tokenizer.ggml.token_type");
  if (types.is_there()) {
    words.types = read_types(types, words.size());
  } else {
    for (std::uint32_t id = 0; !words.unknown && id < words.size(); ++id) {
      if (words.texts[id] == "<unk>") words.unknown = id;
    }
    words.types = guess_types(words, has_byte_tokens);
  }
  return words;
}

}  // namespace nibble_engine
