#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// The path that a text names. The library's paths are texts: in UTF-8 on Windows, any bytes on POSIX
/// systems. Throws invalid_argument on Windows where a text is not UTF-8.
[[nodiscard]] inline std::filesystem::path path_of_text(std::string_view text) {
#if defined(_WIN32)
  if (find_invalid_utf8(text) != std::string_view::npos) {
    throw error(error_code::invalid_argument, {.file = std::string(text),
                                               .field = "path",
                                               .found = "bytes that are not UTF-8",
                                               .expected = "UTF-8"});
  }
  return {std::u8string(text.begin(), text.end())};
#else
  return {text};
#endif
}

/// The text that names a path: path_of_text's inverse.
[[nodiscard]] inline std::string text_of_path(const std::filesystem::path& path) {
#if defined(_WIN32)
  const std::u8string text = path.u8string();
  return {text.begin(), text.end()};
#else
  return path.string();
#endif
}

}  // namespace nibble
