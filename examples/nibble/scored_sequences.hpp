#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>

#include <examples/engine/evaluation.hpp>

#include "text_file.hpp"

namespace nibble_command {

using token_sequences = std::vector<std::vector<std::uint32_t>>;

/// What a model is scored on: the text in a file where there is one, else the token ids in the other.
/// Throws nibble::error.
[[nodiscard]] inline token_sequences scored_sequences(nibble_engine::model& model,
                                                      const std::optional<std::string>& tokens_file,
                                                      const std::optional<std::string>& text_file) {
  if (text_file) return nibble_engine::sequences_of_text(model, read_text(*text_file));
  const nlohmann::json document = nlohmann::json::parse(read_text(*tokens_file), nullptr, false);
  if (document.is_discarded()) {
    throw nibble::error(nibble::error_code::bad_metadata,
                        {.file = *tokens_file, .found = "no JSON", .expected = "lists of token ids"});
  }
  return nibble_engine::read_sequences(document, *tokens_file);
}

/// The fields of a score that README lists.
[[nodiscard]] inline nlohmann::json score_fields(const nibble_engine::score& score) {
  return {{"scored_tokens", score.scored_tokens},
          {"mean_negative_log_likelihood", score.mean_negative_log_likelihood},
          {"perplexity", score.perplexity}};
}

}  // namespace nibble_command
