#pragma once

#include <filesystem>
#include <string>
#include <system_error>

#include <unistd.h>

namespace nibble_fuzz {

/// A folder for this process, in memory where there is such a place. It goes when the process ends.
[[nodiscard]] inline const std::string& folder() {
  static const struct made {
    made() {
      const std::filesystem::path memory = "/dev/shm";
      path = (std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path()) /
             ("nibble-fuzz-" + std::to_string(::getpid()));
      std::filesystem::create_directory(path);
    }
    made(const made&) = delete;
    made& operator=(const made&) = delete;
    ~made() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::string path;
  } one;
  return one.path;
}

}  // namespace nibble_fuzz
