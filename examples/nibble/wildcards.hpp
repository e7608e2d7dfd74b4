#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace nibble_command {

/// A set of bytes at the start of a pattern: "[a-z_]", "[!0-9]".
struct byte_set {
  bool holds;                 ///< whether the byte asked for is in it
  std::size_t pattern_bytes;  ///< of the pattern, brackets included
};

/// Reads the set at the start of `pattern`, which begins with a bracket; nothing where none closes it.
[[nodiscard]] constexpr std::optional<byte_set> match_set(std::string_view pattern, char wanted) {
  const auto number = [](char byte) { return static_cast<unsigned char>(byte); };
  std::size_t at = 1;
  const bool is_negated = at < pattern.size() && (pattern[at] == '!' || pattern[at] == '^');
  if (is_negated) ++at;
  bool holds = false;
  for (const std::size_t first = at; at < pattern.size(); ++at) {
    if (pattern[at] == ']' && at != first) return byte_set{holds != is_negated, at + 1};
    if (pattern[at] == '\\' && ++at == pattern.size()) break;
    const char low = pattern[at];
    char high = low;
    if (at + 2 < pattern.size() && pattern[at + 1] == '-' && pattern[at + 2] != ']') {
      at += 2;
      if (pattern[at] == '\\' && ++at == pattern.size()) break;
      high = pattern[at];
    }
    holds = holds || (number(low) <= number(wanted) && number(wanted) <= number(high));
  }
  return std::nullopt;
}

/// Whether `name` is what `pattern` says, as fnmatch(3) has it in the C locale, but for [:classes:]:
/// * any bytes, ? one byte, [..] one of a set, \ before what means itself.
[[nodiscard]] constexpr bool wildcards_match(std::string_view pattern, std::string_view name) {
  // Where to go on when the bytes after the last * do not fit: one byte later.
  std::optional<std::string_view> after_star;
  std::string_view name_at_star;
  while (true) {
    std::size_t taken = 0;  // of the pattern, for one byte of the name
    if (pattern.empty()) {
      if (name.empty()) return true;
    } else if (pattern[0] == '*') {
      pattern.remove_prefix(1);
      after_star = pattern;
      name_at_star = name;
      continue;
    } else if (name.empty()) {
      return false;
    } else if (pattern[0] == '?') {
      taken = 1;
    } else if (const auto set = pattern[0] == '[' ? match_set(pattern, name[0]) : std::nullopt) {
      taken = set->holds ? set->pattern_bytes : 0;
    } else if (pattern[0] == '\\') {
      taken = pattern.size() > 1 && pattern[1] == name[0] ? 2 : 0;
    } else {
      taken = pattern[0] == name[0] ? 1 : 0;
    }
    if (taken != 0) {
      pattern.remove_prefix(taken);
      name.remove_prefix(1);
      continue;
    }
    if (!after_star || name_at_star.empty()) return false;
    name_at_star.remove_prefix(1);
    pattern = *after_star;
    name = name_at_star;
  }
}

}  // namespace nibble_command
