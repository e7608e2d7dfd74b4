#pragma once

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/format/json_text.hpp>

#include "standard_streams.hpp"
#include "strict_json.hpp"

namespace nibble_command {

/// All bytes of a file, which may be a pipe; of standard input where the path is "-". Throws
/// file_not_found, read_failed.
[[nodiscard]] inline std::string read_text(const std::string& path) {
  using nibble::error_code;
  struct closer {
    void operator()(std::FILE* file) const {
      if (file != stdin) std::fclose(file);
    }
  };
#if defined(_WIN32)
  const std::unique_ptr<std::FILE, closer> file(
      path == "-" ? stdin : ::_wfopen(nibble::windows::native_path(path).c_str(), L"rb"));
#else
  const std::unique_ptr<std::FILE, closer> file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"));
#endif
  if (!file) {
    const int reason = errno;
    throw_stream_error(reason == ENOENT ? error_code::file_not_found : error_code::read_failed, path,
                       "open", reason);
  }
  std::string text;
  std::array<char, 65536> buffer;
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file.get())) {
    text.append(buffer.data(), count);
  }
  if (std::ferror(file.get()) != 0) {
    throw_stream_error(error_code::read_failed, path, "read", errno);
  }
  return text;
}

/// The JSON object in a file that a person wrote, or on standard input ("-"). Throws as read_text does,
/// and bad_metadata, also for a key that is there twice and a number that JSON cannot hold.
[[nodiscard]] inline nlohmann::json read_json_object(const std::string& path) {
  const std::string text = read_text(path);
  try {
    nlohmann::json object = parse_strictly(text, "JSON");
    nibble::require_object(object, "JSON");
    return object;
  } catch (const nibble::error& problem) {
    throw problem.in_file(path);
  }
}

}  // namespace nibble_command
