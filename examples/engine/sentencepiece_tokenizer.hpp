#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "tokenizer.hpp"

namespace nibble_engine {

/// The tokenizer of Llama's first models: sentencepiece trained by byte pair encoding. A space is
/// written "▁", and one is put before each text. Of two neighbouring pieces whose texts together are a
/// token those of the highest score merge first. Of a character that is left and is no token each
/// byte is a token, "<0xNN>".
class sentencepiece_tokenizer final : public tokenizer {
 public:
  /// From a model's metadata, see make_tokenizer(). Throws as that does.
  explicit sentencepiece_tokenizer(const nlohmann::json& metadata);

 private:
  sentencepiece_tokenizer(const nlohmann::json& metadata, vocabulary&& words, bool space_before_text);

  void encode_plain(std::string_view text, std::vector<std::uint32_t>& ids) const override;

  std::vector<float> scores_;
  ids_by_text ids_;                ///< of tokens that merging may make
  std::size_t longest_bytes_ = 0;  ///< of these
  std::array<std::optional<std::uint32_t>, 256> bytes_;
  bool space_before_text_;
};

}  // namespace nibble_engine
