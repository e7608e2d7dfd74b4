#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace nibble {

/// The path that a text names. The library's paths are texts in UTF-8 on every system; on POSIX systems
/// any bytes will do. On Windows throws std::system_error where the text is not UTF-8.
[[nodiscard]] inline std::filesystem::path path_of_text(std::string_view text) {
#if defined(_WIN32)
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
