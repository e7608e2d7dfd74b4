#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/text.hpp>

#if defined(_WIN32)
#include "wildcards.hpp"
#else
#include <fnmatch.h>
#endif

namespace nibble_command {

/// Whether fnmatch(3) takes `name` for `pattern`: * ? [..], which all match dots and slashes too.
[[nodiscard]] inline bool glob_matches(const std::string& pattern, std::string_view name) {
#if defined(_WIN32)
  return wildcards_match(pattern, name);
#else
  return ::fnmatch(pattern.c_str(), std::string(name).c_str(), 0) == 0;
#endif
}

/// What to say beside a glob that matches none of `tensors` and would with any text before and behind it:
/// "; '*v_proj*' matches 5"; nothing where it would not either.
template <class Tensors>
[[nodiscard]] std::string wider_glob(const std::string& pattern, const Tensors& tensors) {
  const std::string wider = "*" + pattern + "*";
  const auto count = std::ranges::count_if(
      tensors, [&](const auto& tensor) { return glob_matches(wider, tensor.name()); });
  if (count == 0) return {};
  return fmt::format("; '{}' matches {}", nibble::escape_text(wider), count);
}

/// Whether any of `patterns` matches.
[[nodiscard]] inline bool any_glob_matches(const std::vector<std::string>& patterns,
                                           std::string_view name) {
  return std::ranges::any_of(patterns,
                             [&](const std::string& pattern) { return glob_matches(pattern, name); });
}

}  // namespace nibble_command
