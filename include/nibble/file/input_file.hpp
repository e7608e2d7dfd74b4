#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/large_memory.hpp>
#include <nibble/file/file_status.hpp>
#include <nibble/file/opened_file.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/file/system_error.hpp>

namespace nibble {

/// How a file's bytes come into memory.
enum class file_access : std::uint8_t {
  mapped,  ///< pages on demand; a file truncated by others while it is open raises SIGBUS on access
  /// Copied once at open, immune to what happens to the file afterwards; a large file into huge pages
  /// (large_memory), which products read faster where memory is what limits them.
  read,
};

/// All bytes of a file, mapped or read, for as long as this object lives.
class input_file {
 public:
  /// No file.
  input_file() = default;

  /// Throws file_not_found, read_failed (with the system's reason).
  input_file(const std::string& path, file_access how) {
    const opened_file opened = opened_file::at(path);
    if (opened.size_bytes > std::numeric_limits<std::size_t>::max()) {
      throw_system_error(error_code::read_failed, path, "file size", system_calls::too_large);
    }
    const auto size = static_cast<std::size_t>(opened.size_bytes);
    if (size == 0) return;
    if (how == file_access::mapped) {
      if (const system_failure failure = system_calls::map(opened.file, size, mapping_)) {
        throw_system_error(error_code::read_failed, path, failure);
      }
      bytes_ = {mapping_, size};
    } else {
      copy_ = large_memory(size);
      bytes_ = read_all(opened.file, path);
    }
  }
  /// Leaves `other` without a file.
  input_file(input_file&& other) noexcept
      : mapping_(std::exchange(other.mapping_, nullptr)),
        copy_(std::move(other.copy_)),
        bytes_(std::exchange(other.bytes_, {})) {}
  /// Closes the file that was open; leaves `other` without one.
  input_file& operator=(input_file&& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(copy_, other.copy_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~input_file() {
    if (mapping_ != nullptr) system_calls::unmap(mapping_, bytes_.size());
  }

  /// All bytes, valid as long as this object, or the one that it is moved to, lives.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  /// What of the copy is the file.
  [[nodiscard]] std::span<const std::byte> read_all(const system_calls::file_handle& file,
                                                    const std::string& path) const {
    std::span<std::byte> rest = copy_.bytes();
    while (!rest.empty()) {
      const transfer read = system_calls::read_next(file, rest);
      if (read.reason != 0) throw_system_error(error_code::read_failed, path, "read", read.reason);
      // Shrunk since it was opened: what is there is the file.
      if (read.count_bytes == 0) break;
      rest = rest.subspan(read.count_bytes);
    }
    return copy_.bytes().first(copy_.bytes().size() - rest.size());
  }

  const std::byte* mapping_ = nullptr;
  large_memory copy_;
  std::span<const std::byte> bytes_;
};

}  // namespace nibble
