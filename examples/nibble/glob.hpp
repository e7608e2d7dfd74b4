#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

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

/// Whether any of `patterns` matches.
[[nodiscard]] inline bool any_glob_matches(const std::vector<std::string>& patterns,
                                           std::string_view name) {
  return std::ranges::any_of(patterns,
                             [&](const std::string& pattern) { return glob_matches(pattern, name); });
}

}  // namespace nibble_command
