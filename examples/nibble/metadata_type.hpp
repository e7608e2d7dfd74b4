#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/convert_value.hpp>
#include <nibble/format/gguf/known_keys.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/gguf/value_record.hpp>

namespace nibble_command {

/// The name of a kind: "f32", "[str]" for an array, "[[u8],[i8]]" for one of arrays of several kinds.
[[nodiscard]] inline std::string kind_text(const nibble::gguf::value_kind& kind) {
  if (kind.type != nibble::gguf::value_type::array) return std::string(to_string(kind.type));
  std::string text;
  for (const nibble::gguf::value_kind& element : kind.elements) {
    text += fmt::format("{}{}", text.empty() ? "" : ",", kind_text(element));
  }
  return "[" + text + "]";
}

/// The kind of that name: of a value, or of an array all of whose elements are of one kind.
[[nodiscard]] inline std::optional<nibble::gguf::value_kind> kind_named(std::string_view name) {
  using nibble::gguf::value_type;
  if (name.size() > 2 && name.front() == '[' && name.back() == ']') {
    auto element = kind_named(name.substr(1, name.size() - 2));
    if (!element) return std::nullopt;
    return nibble::gguf::value_kind{value_type::array, {std::move(*element)}};
  }
  for (const auto& known : nibble::gguf::value_types) {
    if (known.name == name && known.type != value_type::array) {
      return nibble::gguf::value_kind{known.type, {}};
    }
  }
  return std::nullopt;
}

/// What JSON calls the type of a value: null, boolean, integer, number (with a fraction), string,
/// array, object.
[[nodiscard]] inline std::string json_type_text(const nlohmann::json& value) {
  if (value.is_number_integer()) return "integer";
  return value.type_name();
}

/// The type that a file of this container has for the value of a key: GGUF's, JSON's in .apr, always a
/// string in safetensors.
[[nodiscard]] inline std::string type_text(nibble::container which, const nlohmann::json& metadata,
                                           const std::string& key) {
  const nlohmann::json& value = metadata.at(key);
  if (which == nibble::container::safetensors) return "string";
  if (which == nibble::container::apr) return json_type_text(value);
  const auto record = nibble::gguf::value_record::find(metadata);
  auto kind = record.kind_of(key);
  if (!kind) kind = nibble::gguf::natural_kind(value);
  return kind ? kind_text(*kind) : "str";
}

}  // namespace nibble_command
