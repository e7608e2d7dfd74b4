#pragma once

#include <cstddef>
#include <cstdint>

namespace nibble {

/// What a path or an open file is.
enum class file_type : std::uint8_t { regular, folder, special };

/// The type in words, for messages.
[[nodiscard]] constexpr const char* to_string(file_type type) noexcept {
  return type == file_type::regular  ? "a regular file"
         : type == file_type::folder ? "a directory"
                                     : "a special file";
}

/// What the system says of an open file.
struct file_status {
  std::uint64_t size_bytes = 0;
  file_type type = file_type::special;
};

/// What came of one call that reads or writes.
struct transfer {
  std::size_t count_bytes = 0;  ///< reading: 0 at the end of the file
  int reason = 0;               ///< the system's number where the call failed
};

}  // namespace nibble
