#pragma once

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/json_footprint.hpp>
#include <nibble/format/json_stream.hpp>
#include <nibble/format/memory_budget.hpp>

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

/// Takes from `budget` what the tree of a JSON text takes at most. Throws bad_metadata where the text
/// is not UTF-8, has a zero byte, or nests deeper than max_json_depth; directory_too_large where less
/// is left of the budget.
template <class Json = nlohmann::json>
void require_parsable_json(std::string_view text, std::string_view field, memory_budget& budget) {
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
  // Strings may be megabytes long, so their ends are searched for.
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
  json_footprint<Json> footprint;
  std::size_t depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    switch (text[at]) {
      case '"': {
        const std::size_t start = at + 1;
        at = end_of_string(start);
        footprint.add_string(at - start);
        break;
      }
      case '{':
      case '[':
        if (++depth > max_json_depth) {
          refuse(join_text({"more than ", max_json_depth, " levels of nesting"}),
                 join_text({"at most ", max_json_depth}));
        }
        footprint.enter(text[at] == '{', depth);
        break;
      case '}':
      case ']':
        if (depth != 0) footprint.leave(depth--);
        break;
      case ',': footprint.add_value(depth); break;
      case ':': footprint.add_key(); break;
      default: break;
    }
  }
  budget.take(footprint.bytes(depth), field);
}

/// Throws bad_metadata for JSON that is no object.
template <class Json>
void require_object(const Json& value, std::string_view field) {
  if (value.is_object()) return;
  throw error(error_code::bad_metadata, {.field = std::string(field),
                                         .found = join_text({"a JSON ", value.type_name()}),
                                         .expected = "a JSON object"});
}

namespace detail {
/// Builds the tree of a JSON text that require_parsable_json() has passed. Strings, most of what
/// metadata are, are copied once.
template <class Json>
class json_tree_reader {
 public:
  json_tree_reader(std::string_view text, std::string_view field) : from_(text, field) {}

  /// The value that the text holds.
  [[nodiscard]] Json read() {
    Json value = take();
    from_.require_end();
    return value;
  }

 private:
  [[nodiscard]] Json take() {
    switch (from_.peek()) {
      case '"': return from_.take_string(unescaped_);
      case '{': return take_object();
      case '[': return take_array();
      case 'n':
      case 't':
      case 'f': {
        const std::string_view literal = from_.take_literal();
        return literal == "null" ? Json() : Json(literal == "true");
      }
      default: return number(from_.take_number());
    }
  }

  [[nodiscard]] Json take_object() {
    Json value = Json::object();
    auto& members = value.template get_ref<typename Json::object_t&>();
    from_.require('{');
    if (from_.take('}')) return value;
    do {
      Json& member = members[std::string(from_.take_string(unescaped_))];
      from_.require(':');
      member = take();
    } while (from_.take(','));
    from_.require('}');
    return value;
  }

  /// Elements are gathered behind those of the arrays around this one; so the array is allocated once,
  /// in its size.
  [[nodiscard]] Json take_array() {
    Json value = Json::array();
    from_.require('[');
    if (from_.take(']')) return value;
    const std::size_t first = gathered_.size();
    do {
      gathered_.push_back(take());
    } while (from_.take(','));
    from_.require(']');
    auto& elements = value.template get_ref<typename Json::array_t&>();
    elements.reserve(gathered_.size() - first);
    const auto start = gathered_.begin() + static_cast<std::ptrdiff_t>(first);
    std::move(start, gathered_.end(), std::back_inserter(elements));
    gathered_.erase(start, gathered_.end());
    return value;
  }

  /// The number as nlohmann::json reads it: whole numbers of 64 bits stay whole.
  [[nodiscard]] Json number(std::string_view text) {
    const auto read_as = [&](auto& value) {
      const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
      return problem == std::errc() && end == text.data() + text.size();
    };
    if (text.find_first_of(".eE") == std::string_view::npos) {
      std::uint64_t positive = 0;
      if (read_as(positive)) return positive;
      std::int64_t negative = 0;
      if (read_as(negative)) return negative;
    }
#if defined(__cpp_lib_to_chars)
    double real = 0;
    if (read_as(real)) return real;
#endif
    // Beyond the range of a double, or below it. The parser takes ten times the memory of the text.
    constexpr std::size_t max_characters = 1000;
    if (text.size() > max_characters)
      from_.refuse(join_text({"a number of at most ", max_characters, " characters"}));
    return Json::parse(text.begin(), text.end());
  }

  json_stream from_;
  std::string unescaped_;
  std::deque<Json> gathered_;
};
}  // namespace detail

/// The JSON object that `text` (trimmed) holds; of a key that is there twice the last counts. `field`
/// names the text in messages. Throws bad_metadata; directory_too_large where the tree would take more
/// memory than is left of `budget`.
template <class Json = nlohmann::json>
[[nodiscard]] Json parse_json_object(std::string_view text, std::string_view field,
                                     memory_budget& budget) {
  require_parsable_json<Json>(text, field, budget);
  Json parsed;
  try {
    parsed = detail::json_tree_reader<Json>(text, field).read();
  } catch (const typename Json::exception& problem) {
    throw error(error_code::bad_metadata,
                {.field = std::string(field), .found = problem.what(), .expected = "a JSON object"});
  }
  require_object(parsed, field);
  return parsed;
}

/// As above, without a budget.
template <class Json = nlohmann::json>
[[nodiscard]] Json parse_json_object(std::string_view text, std::string_view field) {
  memory_budget endless;
  return parse_json_object<Json>(text, field, endless);
}

/// The text of `value` for a file. Throws bad_metadata for what JSON has no text for: strings that are
/// not UTF-8, NaN and infinities (which would become null), binary values, and nesting too deep to be
/// read again.
template <class Json>
[[nodiscard]] std::string print_json(const Json& value, std::string_view field) {
  const auto require_printable = [&](const auto& self, const Json& part, std::size_t depth) -> void {
    const bool is_finite_number =
        !part.is_number_float() || (std::bit_cast<std::uint64_t>(part.template get<double>()) &
                                    0x7FF0000000000000U) != 0x7FF0000000000000U;
    if (depth > max_json_depth || !is_finite_number || part.is_binary() || part.is_discarded()) {
      throw error(
          error_code::bad_metadata,
          {.field = std::string(field),
           .found = depth > max_json_depth ? "nesting too deep" : "a value that JSON has no text for",
           .expected = join_text({"finite numbers, at most ", max_json_depth, " levels"})});
    }
    if (part.is_structured()) {
      for (const Json& inner : part) self(self, inner, depth + 1);
    }
  };
  require_printable(require_printable, value, value.is_structured() ? 1 : 0);
  try {
    return value.dump();
  } catch (const typename Json::exception& problem) {
    throw error(error_code::bad_metadata,
                {.field = std::string(field), .found = problem.what(), .expected = "UTF-8 strings"});
  }
}

}  // namespace nibble
