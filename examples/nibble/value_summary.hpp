#pragma once

#include <cstddef>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>

#include "text_layout.hpp"

namespace nibble_command {

/// A metadata value on one line: as JSON where that is short, otherwise what it is and how large.
[[nodiscard]] inline std::string summarise(const nlohmann::json& value) {
  constexpr std::size_t most_columns = 64;
  if (value.is_structured() && value.size() > 8) {
    return fmt::format("{} of {}", value.is_array() ? "array" : "object", grouped(value.size()));
  }
  std::string text =
      nibble::escape_text(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (display_columns(text) <= most_columns) return text;
  if (value.is_structured()) {
    return fmt::format("{} of {}", value.is_array() ? "array" : "object", grouped(value.size()));
  }
  return fmt::format(
      "{}... ({})", fit_columns(text, most_columns - 16),
      counted(value.is_string() ? value.get_ref<const std::string&>().size() : text.size(), "byte"));
}

}  // namespace nibble_command
