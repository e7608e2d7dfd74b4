#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nibble/core/error.hpp>
#include <nibble/file/file_descriptor.hpp>

namespace nibble {

/// Bytes that can be read anywhere, which a host brings: a member of an archive, an object in a store.
class byte_source {
 public:
  virtual ~byte_source() = default;

  /// How many bytes there are, the same for as long as the source lives.
  [[nodiscard]] virtual std::uint64_t size_bytes() const = 0;
  /// Fills all of `to` with the bytes from `offset` on, which lie within size_bytes(). Whatever it
  /// throws passes through to who asked. Called by several threads at once where the reader's caller
  /// does so.
  virtual void read_at(std::uint64_t offset, std::span<std::byte> to) const = 0;

 protected:
  byte_source() = default;
  byte_source(const byte_source&) = default;
  byte_source& operator=(const byte_source&) = default;
};

/// A file, read piece by piece rather than mapped.
class file_source final : public byte_source {
 public:
  /// Throws file_not_found, read_failed.
  explicit file_source(std::string path)
      : path_(std::move(path)), file_(retry_interrupted([&] {
          return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        })) {
    if (!file_.is_open()) {
      const int reason = errno;
      throw_system_error(reason == ENOENT ? error_code::file_not_found : error_code::read_failed, path_,
                         "open", reason);
    }
    struct stat status {};
    if (::fstat(file_.get(), &status) != 0) {
      throw_system_error(error_code::read_failed, path_, "fstat", errno);
    }
    if (!S_ISREG(status.st_mode)) {
      throw error(error_code::read_failed,
                  {.file = path_,
                   .field = "file type",
                   .found = S_ISDIR(status.st_mode) ? "a directory" : "a special file",
                   .expected = "a regular file"});
    }
    size_bytes_ = static_cast<std::uint64_t>(status.st_size);
  }

  [[nodiscard]] std::uint64_t size_bytes() const override { return size_bytes_; }

  /// Throws read_failed, also where the file has become shorter.
  void read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    while (!to.empty()) {
      const ssize_t count = retry_interrupted(
          [&] { return ::pread(file_.get(), to.data(), to.size(), static_cast<off_t>(offset)); });
      if (count < 0) throw_system_error(error_code::read_failed, path_, "read", errno);
      if (count == 0) {
        throw error(error_code::read_failed, {.file = path_,
                                              .field = "read",
                                              .found = "the end of the file",
                                              .expected = "the bytes that it had when it was opened"});
      }
      to = to.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  }

 private:
  std::string path_;
  file_descriptor file_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace nibble
