#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>

#include "exit_code.hpp"

namespace nibble_command {

/// Whether a file name is the hash of what the file holds, as caches of model hubs and git-lfs name
/// them: 40 or 64 hexadecimal digits, "sha256-" before them or not.
[[nodiscard]] inline bool is_name_of_content(std::string_view name) {
  constexpr std::string_view algorithm = "sha256-";
  if (name.starts_with(algorithm)) name.remove_prefix(algorithm.size());
  constexpr std::size_t sha1_digits = 40;
  constexpr std::size_t sha256_digits = 64;
  return (name.size() == sha1_digits || name.size() == sha256_digits) &&
         name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// Throws usage_error where writing to `path` would replace a file that is named by its content, be it
/// through links: other names share such a file, and rely on what it holds.
inline void require_no_content_of_cache(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path given = nibble::path_of_text(path);
  const std::filesystem::path target = std::filesystem::canonical(given, ignored);
  if (ignored || !is_name_of_content(nibble::text_of_path(target.filename()))) return;
  throw usage_error(fmt::format(
      "{}: leads to {}, which is named by the hash of its content and may be shared: -o writes another "
      "file",
      nibble::escape_text(path), nibble::escape_text(nibble::text_of_path(target))));
}

}  // namespace nibble_command
