#include "model.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace nibble_engine {
namespace {

nlohmann::json values_of(const nibble::reader& in) {
  return in.container() == nibble::container::safetensors ? parsed_values(in.metadata())
                                                          : in.metadata();
}

/// The tokens under any of the names, one each or a list of them.
std::vector<std::uint32_t> tokens_under(const nlohmann::json& metadata,
                                        std::initializer_list<const char*> names) {
  std::vector<std::uint32_t> tokens;
  const auto add = [&](const nlohmann::json& value) {
    if (!value.is_number_integer() || value < 0 || value > 0xffff'ffffU) return;
    tokens.push_back(value.get<std::uint32_t>());
  };
  for (const char* const name : names) {
    const auto found = metadata.find(name);
    if (found == metadata.end()) continue;
    if (found->is_array()) {
      for (const nlohmann::json& value : *found) add(value);
    } else {
      add(*found);
    }
  }
  return tokens;
}

}  // namespace

model::model(nibble::reader in, const product_options& options, const spread& over)
    : in_(std::move(in)),
      metadata_(values_of(in_)),
      transformer_(in_, read_config(metadata_, in_.name()), options, over),
      ends_(tokens_under(metadata_, {"tokenizer.eos_token_id", "eos_token_id",
                                     "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"})) {}

const tokenizer& model::text() {
  if (tokenizer_ == nullptr) tokenizer_ = make_tokenizer(metadata_);
  return *tokenizer_;
}

std::optional<std::uint32_t> model::opening_token() const {
  std::vector<std::uint32_t> tokens = tokens_under(
      metadata_, {"tokenizer.bos_token_id", "bos_token_id", "tokenizer.ggml.bos_token_id"});
  tokens.insert(tokens.end(), ends_.begin(), ends_.end());
  const auto found = std::ranges::find_if(
      tokens, [this](std::uint32_t token) { return token < transformer_.vocabulary(); });
  return found == tokens.end() ? std::nullopt : std::optional(*found);
}

std::string model::continuation(std::span<const std::uint32_t> tokens) {
  std::string bytes;
  for (const std::uint32_t token : tokens) {
    if (token >= text().size()) continue;
    if (text().type(token) != token_type::control) bytes += text().piece(token);
  }
  return bytes;
}

std::vector<std::uint32_t> model::prompt_tokens(std::string_view text_of_prompt) {
  std::vector<std::uint32_t> tokens = text().encode(text_of_prompt);
  if (const auto begin = text().begin_token(); begin && text().adds_begin()) {
    tokens.insert(tokens.begin(), *begin);
  }
  return tokens;
}

}  // namespace nibble_engine
