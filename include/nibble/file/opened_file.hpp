#pragma once

#include <cstdint>
#include <string>

#include <nibble/core/error.hpp>
#include <nibble/file/file_status.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/file/system_error.hpp>

namespace nibble {

/// A regular file that is open to be read, and its size then.
struct opened_file {
  system_calls::file_handle file;
  std::uint64_t size_bytes;

  /// Throws file_not_found, read_failed (with the system's reason).
  [[nodiscard]] static opened_file at(const std::string& path) {
    opened_file opened{.file = system_calls::open_to_read(path), .size_bytes = 0};
    if (!opened.file.is_open()) {
      const int reason = system_calls::last_reason();
      throw_system_error(
          system_calls::means_not_found(reason) ? error_code::file_not_found : error_code::read_failed,
          path, "open", reason);
    }
    file_status status;
    if (const system_failure failure = system_calls::describe(opened.file, status)) {
      throw_system_error(error_code::read_failed, path, failure);
    }
    if (status.type != file_type::regular) {
      throw error(error_code::read_failed, {.file = path,
                                            .field = "file type",
                                            .found = to_string(status.type),
                                            .expected = "a regular file"});
    }
    opened.size_bytes = status.size_bytes;
    return opened;
  }
};

}  // namespace nibble
