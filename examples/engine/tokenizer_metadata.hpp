#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace nibble_engine {

/// A key of the tokenizer's metadata and its value. A key has two names: that of .apr files and of
/// checkpoint folders ("tokenizer.vocabulary"), and GGUF's ("tokenizer.ggml.tokens").
struct metadata_entry {
  std::string name;                       ///< as the file spells it; the .apr name where there is none
  const nlohmann::json* value = nullptr;  ///< null where the file does not say

  /// Whether the file says anything.
  [[nodiscard]] bool is_there() const { return value != nullptr; }

  /// The value as an array. Throws nibble::error bad_metadata where it is none.
  [[nodiscard]] const nlohmann::json::array_t& array() const;
  /// The value as text. Throws nibble::error bad_metadata where it is none.
  [[nodiscard]] const std::string& text() const;
  /// The value as true or false. Throws nibble::error bad_metadata where it is neither.
  [[nodiscard]] bool flag() const;
  /// The value as token ids: one number, or an array of them, each below `vocabulary_size`. Throws
  /// nibble::error bad_metadata where it is neither.
  [[nodiscard]] std::vector<std::uint32_t> token_ids(std::size_t vocabulary_size) const;

  /// Throws nibble::error bad_metadata that names the key.
  [[noreturn]] void refuse(std::string found, std::string expected) const;
};

/// Looks `name` up, and `gguf_name` (empty: GGUF has none) where that is missing. JSON's null counts
/// as missing. Borrows `metadata`.
[[nodiscard]] metadata_entry find_entry(const nlohmann::json& metadata, std::string_view name,
                                        std::string_view gguf_name = {});

}  // namespace nibble_engine
