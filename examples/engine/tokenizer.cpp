#include "tokenizer.hpp"

#include <algorithm>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

#include "byte_pair_tokenizer.hpp"
#include "sentencepiece_tokenizer.hpp"
#include "tokenizer_metadata.hpp"

namespace nibble_engine {

tokenizer::tokenizer(vocabulary&& words, std::vector<std::string> pieces, bool adds_begin,
                     bool space_before_text)
    : words_(std::move(words)),
      pieces_(std::move(pieces)),
      special_(words_),
      adds_begin_(words_.begin.has_value() && words_.adds_begin.value_or(adds_begin)),
      space_before_text_(space_before_text) {}

std::vector<std::uint32_t> tokenizer::encode(std::string_view text, bool special) const {
  std::vector<std::uint32_t> ids;
  for (const text_part& part : special_.split(text, special)) {
    if (part.token) {
      ids.push_back(*part.token);
    } else {
      encode_plain(part.text, ids);
    }
  }
  return ids;
}

std::string tokenizer::decode(std::span<const std::uint32_t> ids, bool special) const {
  std::string text;
  bool starts_part = true;
  for (const std::uint32_t id : ids) {
    std::string_view bytes = piece(id);
    const token_type kind = words_.types[id];
    if (kind == token_type::control || kind == token_type::unknown ||
        kind == token_type::user_defined) {
      starts_part = true;
      if (special || kind != token_type::control) text += bytes;
      continue;
    }
    if (starts_part && space_before_text_ && kind != token_type::byte && bytes.starts_with(' ')) {
      bytes.remove_prefix(1);
    }
    starts_part = false;
    text += bytes;
  }
  return text;
}

std::string_view tokenizer::piece(std::uint32_t id) const {
  if (id >= pieces_.size()) {
    throw nibble::error(
        nibble::error_code::out_of_range,
        {.field = "token",
         .found = nibble::join_text({"id ", id}),
         .expected = nibble::join_text({"the id of one of ", pieces_.size(), " tokens"})});
  }
  return pieces_[id];
}

token_type tokenizer::type(std::uint32_t id) const {
  static_cast<void>(piece(id));
  return words_.types[id];
}

bool tokenizer::is_end(std::uint32_t id) const {
  return std::ranges::find(words_.ends, id) != words_.ends.end();
}

void tokenizer::add_unknown(std::string_view bytes, std::vector<std::uint32_t>& ids) const {
  if (!words_.unknown) {
    throw nibble::error(nibble::error_code::not_representable,
                        {.field = "text",
                         .found = nibble::join_text({"'", bytes, "', which no token says"}),
                         .expected = "text of the vocabulary, which has no unknown token"});
  }
  ids.push_back(*words_.unknown);
}

std::unique_ptr<tokenizer> make_tokenizer(const nlohmann::json& metadata) {
  const metadata_entry model = find_entry(metadata, "tokenizer.model_type", "tokenizer.ggml.model");
  const std::string& name = model.text();
  if (name == "sentencepiece" || name == "llama") {
    return std::make_unique<sentencepiece_tokenizer>(metadata);
  }
  if (name == "bpe" || name == "gpt2") return std::make_unique<byte_pair_tokenizer>(metadata);
  throw nibble::error(nibble::error_code::unsupported_feature,
                      {.field = "metadata." + model.name,
                       .found = "'" + name + "'",
                       .expected = "sentencepiece, bpe, or GGUF's llama and gpt2"});
}

}  // namespace nibble_engine
