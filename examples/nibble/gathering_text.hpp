#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>

#include <examples/engine/evaluation.hpp>
#include <examples/engine/importance_gathering.hpp>
#include <examples/engine/own_text.hpp>

#include "command.hpp"
#include "text_file.hpp"

namespace nibble_command {

/// The text that statistics of inputs are gathered from, as sequences for a model. Throws usage_error,
/// unless there is one text; nibble::error.
[[nodiscard]] inline std::vector<std::vector<std::uint32_t>> gathering_sequences(
    nibble_engine::model& model, const gathering_options& options) {
  if (options.texts() != 1) {
    throw usage_error("--text, --tokens or --own-text, one of them, says what to run the model on");
  }
  if (options.own_tokens) {
    if (options.chunk_tokens == 1) {
      throw usage_error(
          "--chunk 1: pieces of --own-text have at least 2 tokens, the first is not the model's");
    }
    return nibble_engine::say_sequences(model, *options.own_tokens, options.chunk_tokens);
  }
  if (options.text_file) {
    return nibble_engine::chunks_of_text(model, read_text(*options.text_file), options.chunk_tokens);
  }
  const std::string& file = *options.tokens_file;
  const nlohmann::json document = nlohmann::json::parse(read_text(file), nullptr, false);
  if (document.is_discarded()) {
    throw nibble::error(nibble::error_code::bad_metadata,
                        {.file = file, .found = "no JSON", .expected = "lists of token ids"});
  }
  return nibble_engine::read_sequences(document, file, "calibration");
}

}  // namespace nibble_command
