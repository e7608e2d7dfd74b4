#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nibble/core/error.hpp>
#include <nibble/file/file_descriptor.hpp>

namespace nibble {

/// How a file's bytes come into memory.
enum class file_access : std::uint8_t {
  mapped,  ///< pages on demand; a file truncated by others while it is open raises SIGBUS on access
  read,    ///< copied once at open, immune to what happens to the file afterwards
};

/// All bytes of a file, mapped or read, for as long as this object lives.
class input_file {
 public:
  /// No file.
  input_file() = default;

  /// Throws file_not_found, read_failed (with the system's reason).
  input_file(const std::string& path, file_access how) {
    // Without blocking, so that a pipe without a writer is told apart from a file, and not waited for.
    const file_descriptor file(
        retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
    if (!file.is_open()) {
      const int reason = errno;
      throw_system_error(reason == ENOENT ? error_code::file_not_found : error_code::read_failed, path,
                         "open", reason);
    }
    struct stat status {};
    if (::fstat(file.get(), &status) != 0) {
      throw_system_error(error_code::read_failed, path, "fstat", errno);
    }
    if (!S_ISREG(status.st_mode)) {
      throw error(error_code::read_failed,
                  {.file = path,
                   .field = "file type",
                   .found = S_ISDIR(status.st_mode) ? "a directory" : "a special file",
                   .expected = "a regular file"});
    }
    if (static_cast<std::uint64_t>(status.st_size) > std::numeric_limits<std::size_t>::max()) {
      throw_system_error(error_code::read_failed, path, "file size", EFBIG);
    }
    const auto size = static_cast<std::size_t>(status.st_size);
    if (size == 0) return;
    if (how == file_access::mapped) {
      void* const address = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
      if (address == MAP_FAILED) throw_system_error(error_code::read_failed, path, "mmap", errno);
      mapping_ = address;
      bytes_ = {static_cast<const std::byte*>(address), size};
    } else {
      copy_.resize(size);
      read_all(file, path);
      bytes_ = copy_;
    }
  }
  input_file(input_file&& other) noexcept
      : mapping_(std::exchange(other.mapping_, nullptr)),
        copy_(std::move(other.copy_)),
        bytes_(std::exchange(other.bytes_, {})) {}
  input_file& operator=(input_file&& other) noexcept {
    std::swap(mapping_, other.mapping_);
    std::swap(copy_, other.copy_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~input_file() {
    if (mapping_ != nullptr) ::munmap(mapping_, bytes_.size());
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  void read_all(const file_descriptor& file, const std::string& path) {
    std::span<std::byte> rest(copy_);
    while (!rest.empty()) {
      const ssize_t count =
          retry_interrupted([&] { return ::read(file.get(), rest.data(), rest.size()); });
      if (count < 0) throw_system_error(error_code::read_failed, path, "read", errno);
      if (count == 0) {  // shrunk since fstat: what is there is the file
        copy_.resize(copy_.size() - rest.size());
        return;
      }
      rest = rest.subspan(static_cast<std::size_t>(count));
    }
  }

  void* mapping_ = nullptr;
  std::vector<std::byte> copy_;
  std::span<const std::byte> bytes_;
};

}  // namespace nibble
