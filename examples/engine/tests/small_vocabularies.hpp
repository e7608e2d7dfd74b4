#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/code_points.hpp>

namespace nibble_engine_test {

using token_ids = std::vector<std::uint32_t>;

/// A few sentencepiece tokens, no types given: ids 0 to 2 are "<unk>", "<s>" and "</s>", 3 to 258 the bytes, and
/// then what is named.
inline nlohmann::json small_sentencepiece() {
  nlohmann::json vocabulary = {"<unk>", "<s>", "</s>"};
  nlohmann::json scores = {0.0, 0.0, 0.0};
  for (unsigned byte = 0; byte < 256; ++byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    vocabulary.push_back(std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">");
    scores.push_back(0.0);
  }
  const auto add = [&](const char* text, double score) {
    vocabulary.push_back(text);
    scores.push_back(score);
  };
  add("▁", -10);   // 259
  add("a", -10);   // 260
  add("b", -10);   // 261
  add("c", -10);   // 262
  add("ab", -1);   // 263
  add("bc", 0);    // 264
  add("▁a", -2);   // 265
  add("abc", -3);  // 266
  add("▁ab", -4);  // 267
  add("aa", -5);   // 268
  add("▁▁", -6);   // 269
  return {{"tokenizer.model_type", "sentencepiece"},
          {"tokenizer.vocabulary", vocabulary},
          {"tokenizer.scores", scores},
          {"tokenizer.bos_token_id", 1},
          {"tokenizer.eos_token_id", 2}};
}

/// A few byte-level tokens: ids 0 to 255 are the bytes, whose letters are written out below from the
/// table of the GPT-2 release, and then what is named.
inline nlohmann::json small_byte_pair(const std::string& pre_tokenizer = "gpt-2") {
  nlohmann::json vocabulary = nlohmann::json::array();
  const auto letter = [&](std::uint32_t point) {
    vocabulary.push_back(nibble_test::encode_code_point(point));
  };
  for (std::uint32_t byte = 0; byte <= 0x20; ++byte) letter(0x100 + byte);
  for (std::uint32_t byte = 0x21; byte <= 0x7E; ++byte) letter(byte);
  for (std::uint32_t byte = 0x7F; byte <= 0xA0; ++byte) letter(0x121 + (byte - 0x7F));
  for (std::uint32_t byte = 0xA1; byte <= 0xAC; ++byte) letter(byte);
  letter(0x143);
  for (std::uint32_t byte = 0xAE; byte <= 0xFF; ++byte) letter(byte);
  nlohmann::json types(256, 1);
  const auto add = [&](const char* text, int type) {
    vocabulary.push_back(text);
    types.push_back(type);
  };
  add("ab", 1);       // 256
  add("abc", 1);      // 257
  add("bc", 1);       // 258
  add("Ġa", 1);       // 259
  add("Ġab", 1);      // 260
  add("<|end|>", 3);  // 261
  add("<tool>", 4);   // 262
  add("Ã©", 1);       // 263, of the bytes C3 A9: é
  return {{"tokenizer.model_type", "bpe"},
          {"tokenizer.vocabulary", vocabulary},
          {"tokenizer.token_types", types},
          {"tokenizer.merges", {"b c", "a b", "Ġ a", "ab c", "Ġ ab", "Ã ©"}},
          {"tokenizer.pre_tokenizer", pre_tokenizer},
          {"tokenizer.bos_token_id", 261},
          {"tokenizer.eos_token_id", 261}};
}

/// Characters from all of Unicode, and often from those that pre-tokenizers tell apart. Never U+2581,
/// which sentencepiece reads as a space.
inline std::string random_text(std::mt19937& random, std::size_t count) {
  static constexpr std::uint32_t often[] = {
      'a', 'b', 'c',  ' ',  ' ',    '\n',   '\r', '\t',  '\'', 's',    'T',     '1',   '2',    '!',
      '<', '|', 0xE9, 0xA0, 0x3000, 0x180E, 0x85, 0x17F, 0xBD, 0x4F60, 0x1F999, 0x301, 0x200D, 0};
  std::string text;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t point = often[random() % std::size(often)];
    if (random() % 4 == 0) point = static_cast<std::uint32_t>(random() % 0x110000);
    if (nibble_test::is_surrogate(point) || point == 0x2581) point = 'x';
    text += nibble_test::encode_code_point(point);
  }
  return text;
}

/// Bytes of any value.
inline std::string random_bytes(std::mt19937& random, std::size_t count) {
  std::string bytes;
  for (std::size_t i = 0; i < count; ++i) bytes += static_cast<char>(random() & 0xFFU);
  return bytes;
}

}  // namespace nibble_engine_test
