#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/when_used.hpp>

namespace nibble {

/// How deep JSON from a file may nest: printing and comparing it recurse.
inline constexpr std::size_t max_json_depth = 128;

/// `text` without a byte order mark, surrounding white space and trailing zero padding.
[[nodiscard]] constexpr std::string_view trim_json(std::string_view text) noexcept {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  constexpr std::string_view white_space = " \t\r\n";
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  const auto is_padding = [&](char byte) {
    return byte == '\0' || white_space.find(byte) != std::string_view::npos;
  };
  while (!text.empty() && is_padding(text.back())) text.remove_suffix(1);
  while (!text.empty() && white_space.find(text.front()) != std::string_view::npos) {
    text.remove_prefix(1);
  }
  return text;
}

/// Throws bad_metadata unless `text` is UTF-8 and its brackets nest at most max_json_depth deep.
inline void require_parsable_json(std::string_view text, std::string_view field) {
  const auto refuse = [&](std::string found, std::string expected) {
    throw error(
        error_code::bad_metadata,
        {.field = std::string(field), .found = std::move(found), .expected = std::move(expected)});
  };
  if (const std::size_t at = find_invalid_utf8(text); at != std::string_view::npos) {
    refuse(join_text({"byte 0x", hex_text(static_cast<unsigned char>(text[at]), 2), " at ", at}),
           "UTF-8");
  }
  // A parser may take a zero byte for the end of the text and never see what follows it.
  if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
    refuse(join_text({"a zero byte at ", at}), "a JSON object");
  }
  std::size_t depth = 0;
  bool in_string = false;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char byte = text[at];
    if (in_string) {
      if (byte == '\\') ++at;
      if (byte == '"') in_string = false;
    } else if (byte == '"') {
      in_string = true;
    } else if (byte == '{' || byte == '[') {
      if (++depth > max_json_depth) {
        refuse(join_text({"more than ", max_json_depth, " levels of nesting"}),
               join_text({"at most ", max_json_depth}));
      }
    } else if ((byte == '}' || byte == ']') && depth != 0) {
      --depth;
    }
  }
}

/// Throws bad_metadata for JSON that is no object.
inline void require_object(const nlohmann::json& value, std::string_view field) {
  if (value.is_object()) return;
  throw error(error_code::bad_metadata, {.field = std::string(field),
                                         .found = join_text({"a JSON ", value.type_name()}),
                                         .expected = "a JSON object"});
}

/// The JSON object that `text` (trimmed) holds; of doubled keys the last counts. Throws bad_metadata.
template <class = when_used>
[[nodiscard]] nlohmann::json parse_json_object(std::string_view text, std::string_view field) {
  require_parsable_json(text, field);
  nlohmann::json parsed;
  try {
    parsed = nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& problem) {
    throw error(error_code::bad_metadata,
                {.field = std::string(field), .found = problem.what(), .expected = "a JSON object"});
  }
  require_object(parsed, field);
  return parsed;
}

/// Text of `value` for a file. Throws bad_metadata for what JSON cannot say: strings that are not
/// UTF-8, NaN and infinities (which would silently become null), binary values, nesting too deep to be
/// read back.
template <class = when_used>
[[nodiscard]] std::string print_json(const nlohmann::json& value, std::string_view field) {
  const auto require_printable = [&](const auto& self, const nlohmann::json& part,
                                     std::size_t depth) -> void {
    const bool is_finite_number =
        !part.is_number_float() ||
        (std::bit_cast<std::uint64_t>(part.get<double>()) & 0x7FF0000000000000U) != 0x7FF0000000000000U;
    if (depth > max_json_depth || !is_finite_number || part.is_binary() || part.is_discarded()) {
      throw error(
          error_code::bad_metadata,
          {.field = std::string(field),
           .found = depth > max_json_depth ? "nesting too deep" : "a value that JSON has no text for",
           .expected = join_text({"finite numbers, at most ", max_json_depth, " levels"})});
    }
    if (part.is_structured()) {
      for (const nlohmann::json& inner : part) self(self, inner, depth + 1);
    }
  };
  require_printable(require_printable, value, value.is_structured() ? 1 : 0);
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& problem) {
    throw error(error_code::bad_metadata,
                {.field = std::string(field), .found = problem.what(), .expected = "UTF-8 strings"});
  }
}

}  // namespace nibble
