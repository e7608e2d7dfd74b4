#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace nibble_command {

/// Bytes of a file's mappings whose pages this process has touched, or the system has mapped beside
/// those; nothing where the system does not say. `path` is absolute.
[[nodiscard]] inline std::optional<std::uint64_t> resident_bytes_of(const std::string& path) {
  // Linux lists each mapping by a line that ends with its file, and figures of it in lines below.
  std::ifstream in("/proc/self/smaps");
  std::optional<std::uint64_t> bytes;
  bool is_of_file = false;
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    if (!first.ends_with(':')) {
      is_of_file = line.ends_with(" " + path);
    } else if (is_of_file && first == "Rss:") {
      std::uint64_t kilobytes = 0;
      words >> kilobytes;
      bytes = bytes.value_or(0) + kilobytes * 1024;
    }
  }
  return bytes;
}

}  // namespace nibble_command
