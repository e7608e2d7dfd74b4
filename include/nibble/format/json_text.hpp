#pragma once

#include <algorithm>
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
#include <nibble/format/json_stream.hpp>

namespace nibble {

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
  // Strings may be megabytes long: their ends are looked for, not stepped to.
  const auto end_of_string = [&](std::size_t start) {
    std::size_t quote = start;
    while ((quote = text.find('"', quote)) != std::string_view::npos) {
      std::size_t backslashes = 0;
      while (quote - backslashes > start && text[quote - backslashes - 1] == '\\') ++backslashes;
      if (backslashes % 2 == 0) break;
      ++quote;
    }
    return std::min(quote, text.size());
  };
  std::size_t depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char byte = text[at];
    if (byte == '"') {
      at = end_of_string(at + 1);
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

namespace detail {
/// The value that comes next in `from`, whose nesting has been proved to be bounded. Strings, most of
/// what metadata is, are copied once; what a number means is left to the library.
template <class = when_used>
[[nodiscard]] nlohmann::json take_value(json_stream& from, std::string& unescaped) {
  nlohmann::json value;
  switch (from.peek()) {
    case '"': value = from.take_string(unescaped); break;
    case '{':
      from.require('{');
      value = nlohmann::json::object();
      if (from.take('}')) break;
      do {
        std::string key(from.take_string(unescaped));
        from.require(':');
        value[std::move(key)] = take_value(from, unescaped);
      } while (from.take(','));
      from.require('}');
      break;
    case '[':
      from.require('[');
      value = nlohmann::json::array();
      if (from.take(']')) break;
      do {
        value.push_back(take_value(from, unescaped));
      } while (from.take(','));
      from.require(']');
      break;
    case 'n':
    case 't':
    case 'f': {
      const std::string_view literal = from.take_literal();
      if (literal != "null") value = literal == "true";
      break;
    }
    default: {
      const std::string_view number = from.take_number();
      value = nlohmann::json::parse(number.begin(), number.end());
      break;
    }
  }
  return value;
}
}  // namespace detail

/// The JSON object that `text` (trimmed) holds; of doubled keys the last counts. Throws bad_metadata.
template <class = when_used>
[[nodiscard]] nlohmann::json parse_json_object(std::string_view text, std::string_view field) {
  require_parsable_json(text, field);
  nlohmann::json parsed;
  try {
    json_stream stream(text, field);
    std::string unescaped;
    parsed = detail::take_value(stream, unescaped);
    stream.require_end();
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
