#pragma once

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/format/directory.hpp>
#include <nibble/reader.hpp>

namespace nibble_command {

/// The metadata of a file as values. Safetensors hold text alone: where a file names its architecture, as
/// one does that was written from .apr or GGUF, text that is a number, a truth value, an array or an object
/// of JSON, written as it is written there, is that value again.
[[nodiscard]] inline nlohmann::json typed_metadata(const nibble::reader& from) {
  nlohmann::json metadata = from.metadata();
  const bool names_architecture =
      metadata.contains("architecture") || metadata.contains("general.architecture");
  if (from.container() != nibble::container::safetensors || !names_architecture) return metadata;
  for (auto& [key, value] : metadata.items()) {
    if (!value.is_string()) continue;
    const auto& text = value.get_ref<const std::string&>();
    nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
    if (parsed.is_discarded() || parsed.is_string() || parsed.is_null()) continue;
    if (parsed.dump() == text) value = std::move(parsed);
  }
  return metadata;
}

}  // namespace nibble_command
