#include "pre_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include <nibble/core/error.hpp>
#include <nibble/core/utf8.hpp>

namespace nibble_engine {
namespace {

constexpr std::string_view gpt_2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view llama_3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view qwen_2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
    R"(|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view tekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view gpt_4o =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)?)"
    R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Names of one pre-tokenizer: the pattern of the models' tokenizer.json, and names and steps as
/// llama.cpp's llama-vocab.cpp has them for GGUF.
struct family {
  std::span<const std::string_view> names;
  std::span<const std::string_view> patterns;
  bool whole_words_first = false;
  bool adds_begin = false;
};

constexpr std::string_view gpt_2_names[] = {"gpt-2",   "gpt2",    "phi-2",           "mpt",
                                            "olmo",    "jais",    "trillion",        "gigachat",
                                            "exaone4", "a.x-4.0", "granite-docling", "mellum",
                                            "jina-es", "jina-de", "jina-v2-es",      "jina-v2-de"};
constexpr std::string_view gpt_2_patterns[] = {gpt_2};

constexpr std::string_view llama_3_names[] = {"llama-bpe", "llama3",  "llama-v3", "falcon3",
                                              "falcon-h1", "pixtral", "midm-2.0", "lfm2"};
constexpr std::string_view like_llama_3_names[] = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"};
constexpr std::string_view llama_3_patterns[] = {llama_3};

constexpr std::string_view qwen_2_names[] = {"qwen2",     "deepseek-r1-qwen", "kormo", "megrez",
                                             "stablelm2", "hunyuan",          "grok-2"};
constexpr std::string_view qwen_2_patterns[] = {qwen_2};

constexpr std::string_view smollm_names[] = {"smollm",    "starcoder", "refact",    "command-r",
                                             "codeshell", "exaone",    "minerva-7b"};
constexpr std::string_view smollm_patterns[] = {R"(\p{N})", gpt_2};

constexpr std::string_view falcon_names[] = {"falcon"};
constexpr std::string_view falcon_patterns[] = {R"([\p{P}\$\+<=>\^~\|`]+)", gpt_2,
                                                R"([0-9][0-9][0-9])"};

constexpr std::string_view default_names[] = {"default"};
constexpr std::string_view default_patterns[] = {R"([\p{P}\$\+<=>\^~\|]+)", gpt_2, R"(\p{N}+)",
                                                 R"([0-9][0-9][0-9])"};

constexpr std::string_view tekken_names[] = {"tekken"};
constexpr std::string_view tekken_patterns[] = {tekken};

constexpr std::string_view gpt_4o_names[] = {"gpt-4o", "llama4", "minimax-m2"};
constexpr std::string_view gpt_4o_patterns[] = {gpt_4o};

constexpr family families[] = {
    {gpt_2_names, gpt_2_patterns},          {llama_3_names, llama_3_patterns, true, true},
    {like_llama_3_names, llama_3_patterns}, {qwen_2_names, qwen_2_patterns},
    {smollm_names, smollm_patterns},        {falcon_names, falcon_patterns},
    {default_names, default_patterns},      {tekken_names, tekken_patterns, true, true},
    {gpt_4o_names, gpt_4o_patterns},
};

/// Length of the bytes that start `text` and are UTF-8, or are not, as the first one.
std::size_t run_length(std::string_view text, bool& is_utf8) {
  is_utf8 = nibble::utf8_sequence_bytes(text) != 0;
  if (is_utf8) return std::min(nibble::find_invalid_utf8(text), text.size());
  std::size_t length = 1;
  while (length < text.size() && nibble::utf8_sequence_bytes(text.substr(length)) == 0) ++length;
  return length;
}

}  // namespace

pre_tokenizer::pre_tokenizer(const metadata_entry& name) {
  std::string known;
  for (const family& each : families) {
    if (std::ranges::find(each.names, name.text()) != each.names.end()) {
      for (const std::string_view pattern : each.patterns) patterns_.emplace_back(pattern);
      whole_words_first_ = each.whole_words_first;
      adds_begin_ = each.adds_begin;
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(each.names.front());
  }
  throw nibble::error(nibble::error_code::unsupported_feature,
                      {.field = "metadata." + name.name,
                       .found = "'" + name.text() + "'",
                       .expected = "a known pre-tokenizer, such as " + known});
}

std::vector<std::string_view> pre_tokenizer::split(std::string_view text) const {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    bool is_utf8 = false;
    const std::string_view run = text.substr(0, run_length(text, is_utf8));
    text.remove_prefix(run.size());
    std::vector<std::string_view> parts{run};
    for (std::size_t step = 0; is_utf8 && step < patterns_.size(); ++step) {
      std::vector<std::string_view> finer;
      for (const std::string_view part : parts) patterns_[step].split(part, finer);
      parts = std::move(finer);
    }
    words.insert(words.end(), parts.begin(), parts.end());
  }
  return words;
}

}  // namespace nibble_engine
