#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/file/file_status.hpp>
#include <nibble/file/opened_file.hpp>
#include <nibble/file/system_calls.hpp>
#include <nibble/file/system_error.hpp>

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
  explicit file_source(std::string path) : path_(std::move(path)), opened_(opened_file::at(path_)) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return opened_.size_bytes; }

  /// Throws read_failed, also where the file has become shorter.
  void read_at(std::uint64_t offset, std::span<std::byte> to) const override {
    while (!to.empty()) {
      const transfer read = system_calls::read_at(opened_.file, offset, to);
      if (read.reason != 0) throw_system_error(error_code::read_failed, path_, "read", read.reason);
      if (read.count_bytes == 0) {
        throw error(error_code::read_failed, {.file = path_,
                                              .field = "read",
                                              .found = "the end of the file",
                                              .expected = "the bytes that it had when it was opened"});
      }
      to = to.subspan(read.count_bytes);
      offset += read.count_bytes;
    }
  }

 private:
  std::string path_;
  opened_file opened_;
};

}  // namespace nibble
