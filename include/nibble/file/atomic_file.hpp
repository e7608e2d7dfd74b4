#pragma once

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/file_descriptor.hpp>

namespace nibble {

/// A file that appears under its name whole or not at all.
///
/// Bytes go to PATH.nibble-partial beside it, which is locked (flock) while it is written. commit()
/// syncs it, renames it over PATH and syncs the directory; a destructor without commit() removes it. A
/// process that is killed leaves that one file behind, and the next write to PATH removes it, before it
/// asks for room of its own; one that is locked belongs to a live writer and is left alone. Where PATH
/// is a symbolic link, the file that it points to is replaced; an existing file's permissions are kept.
class atomic_file {
 public:
  static constexpr const char* partial_suffix = ".nibble-partial";

  /// Creates the partial file with room for size_bytes. Throws write_failed (with the system's reason:
  /// a disk without room is found here where the file system can tell), already_being_written.
  atomic_file(const std::string& path, std::uint64_t size_bytes)
      : path_(path), target_(resolve(path)), partial_(target_.string() + partial_suffix) {
    acquire();
    try {
      prepare(size_bytes);
    } catch (...) {
      discard();
      throw;
    }
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() {
    if (!committed_) discard();
  }

  /// Removes what killed writers left in a directory (empty: the working one) of files that `is_meant`
  /// says, given their names, whether they are there or not; of those that are symbolic links, beside
  /// what they point to. Nothing else is touched, and what cannot be told to be left behind or cannot
  /// be removed stays: a file that a live writer has locked, or where nothing can be locked.
  template <std::predicate<const std::string&> Meant>
  static void remove_leftovers(const std::filesystem::path& folder, const Meant& is_meant) {
    std::error_code failure;
    std::filesystem::directory_iterator entries(folder.empty() ? "." : folder, failure);
    for (; !failure && entries != std::filesystem::directory_iterator(); entries.increment(failure)) {
      const std::filesystem::path path = folder / entries->path().filename();
      std::string name = path.filename().string();
      if (name.ends_with(partial_suffix)) {
        name.resize(name.size() - std::string_view(partial_suffix).size());
        if (is_meant(name)) remove_if_left(path.string());
      } else if (std::error_code unknown; entries->is_symlink(unknown) && is_meant(name)) {
        try {
          remove_if_left(resolve(path.string()).string() + partial_suffix);
        } catch (const error&) {  // it leads to no file that could be written
        }
      }
    }
  }

  /// Writes bytes at an offset; any thread, any order. Throws write_failed.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t count = retry_interrupted([&] {
        return ::pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
      });
      if (count <= 0) fail("write", count < 0 ? errno : EIO);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  }

  /// Makes the file durable and visible under its name. Throws write_failed; unless it was the
  /// directory's sync that failed, the old file is then untouched.
  void commit() {
    sync();
    publish();
  }

  /// Makes several files of one directory durable, then visible under their names. As no file system
  /// renames several files at once, the first one's old file goes before any other is renamed, and its
  /// new one comes last: whoever finds the first file finds the others, all old or all new. A kill or a
  /// failure in between leaves a set without its first file; one before leaves the old files untouched.
  /// Throws write_failed.
  static void commit_set(std::span<atomic_file* const> files) {
    for (atomic_file* const file : files) file->sync();
    if (files.size() > 1) files.front()->withdraw_target();
    for (atomic_file* const file : files.subspan(std::min<std::size_t>(files.size(), 1)))
      file->publish();
    if (!files.empty()) files.front()->publish();
  }

 private:
  void sync() {
    if (mode_ && ::fchmod(file_.get(), *mode_) != 0) fail("fchmod", errno);
    if (retry_interrupted([&] { return ::fsync(file_.get()); }) != 0) fail("fsync", errno);
  }

  void publish() {
    // Without locks another writer may have taken this file for a leftover and put its own there.
    if (!is_named(file_)) fail_for_another_file();
    if (::rename(partial_.c_str(), target_.c_str()) != 0) fail("rename", errno);
    committed_ = true;
    sync_directory();
  }

  void withdraw_target() {
    if (::unlink(target_.c_str()) != 0) {
      if (errno == ENOENT) return;
      fail("removal of the old file", errno);
    }
    sync_directory();
  }

  void sync_directory() const {
    const std::filesystem::path parent = target_.parent_path();
    const file_descriptor folder(
        open_file(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.is_open()) fail("open of the directory", errno);
    // Some file systems cannot sync a directory and say EINVAL; they need none.
    if (retry_interrupted([&] { return ::fsync(folder.get()); }) != 0 && errno != EINVAL) {
      fail("fsync of the directory", errno);
    }
  }

  [[noreturn]] void fail(std::string_view call, int reason) const {
    throw_system_error(error_code::write_failed, path_, call, reason);
  }
  [[noreturn]] void fail_for_another_file() const {
    throw error(error_code::write_failed, {.file = path_,
                                           .field = partial_,
                                           .found = "another file or none",
                                           .expected = "the one that this writer made"});
  }

  /// A descriptor, or -1 with the reason in errno.
  static int open_file(const char* path, int flags, mode_t mode = 0) noexcept {
    return retry_interrupted([&] { return ::open(path, flags, mode); });
  }

  static std::filesystem::path resolve(const std::string& path) {
    std::error_code failure;
    const auto status = std::filesystem::status(path, failure);
    if (failure && status.type() != std::filesystem::file_type::not_found) {
      throw_system_error(error_code::write_failed, path, "stat", failure.value());
    }
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
      throw error(error_code::write_failed,
                  {.file = path,
                   .field = "file type",
                   .found = std::filesystem::is_directory(status) ? "a directory" : "a special file",
                   .expected = "a regular file or none"});
    }
    std::filesystem::path target = path;
    while (true) {
      const auto target_status = std::filesystem::symlink_status(target, failure);
      // What cannot be looked at may be a link, which a file is not to replace.
      if (failure && target_status.type() != std::filesystem::file_type::not_found) {
        throw_system_error(error_code::write_failed, path, "lstat", failure.value());
      }
      if (!std::filesystem::is_symlink(target_status)) break;
      target = target.parent_path() / std::filesystem::read_symlink(target, failure);
      if (failure) throw_system_error(error_code::write_failed, path, "readlink", failure.value());
    }
    return target;
  }

  /// Creates the partial file and locks it. One that is there already belongs to a live writer, who
  /// holds its lock, or was left behind, and then goes.
  void acquire() {
    // Others may take it away or be in its place a few times, and not for ever.
    constexpr int max_attempts = 100;
    for (int attempt = 0; attempt < max_attempts; ++attempt) {
      file_descriptor created(open_file(partial_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      const int reason = errno;
      if (!created.is_open()) {
        if (reason != EEXIST) fail(join_text({"open of ", partial_}), reason);
        remove_leftover();
        continue;
      }
      try {
        lock(created);
        if (!is_named(created)) continue;
      } catch (const error& refusal) {
        // Whoever holds the lock of a file that was made just now removes it as a leftover.
        if (refusal.code() != error_code::already_being_written) ::unlink(partial_.c_str());
        throw;
      }
      file_ = std::move(created);
      return;
    }
    fail_for_another_file();
  }

  /// Closed, with the reason in errno, where it cannot be opened.
  static file_descriptor open_leftover(const std::string& partial) {
    // NFS locks exclusively only what is open for writing; another user's leftover may only be
    // readable.
    constexpr int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    file_descriptor leftover(open_file(partial.c_str(), flags | O_RDWR));
    if (!leftover.is_open() && errno == EACCES) {
      leftover = file_descriptor(open_file(partial.c_str(), flags | O_RDONLY));
    }
    return leftover;
  }

  static void remove_if_left(const std::string& partial) {
    struct stat status {};
    if (::lstat(partial.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    const file_descriptor leftover = open_leftover(partial);
    if (!leftover.is_open()) return;
    if (try_lock(leftover) == 0 && is_name_of(partial, leftover).value_or(false)) {
      ::unlink(partial.c_str());
    }
  }

  void remove_leftover() {
    const file_descriptor leftover = open_leftover(partial_);
    const int reason = errno;
    if (!leftover.is_open()) {
      if (reason == ENOENT) return;
      fail(join_text({"open of ", partial_}), reason);
    }
    lock(leftover);
    if (is_named(leftover) && ::unlink(partial_.c_str()) != 0 && errno != ENOENT) {
      fail(join_text({"removal of ", partial_}), errno);
    }
  }

  /// Throws already_being_written. A file system without locks has none to be held.
  void lock(const file_descriptor& file) const {
    const int reason = try_lock(file);
    if (reason == 0 || reason == ENOSYS || reason == EOPNOTSUPP || reason == ENOLCK) return;
    if (reason != EWOULDBLOCK) fail("flock", reason);
    throw error(error_code::already_being_written, {.file = path_,
                                                    .field = partial_,
                                                    .found = "a lock held by another writer",
                                                    .expected = "one writer to a path at a time"});
  }
  /// 0, or why there is no lock.
  [[nodiscard]] static int try_lock(const file_descriptor& file) noexcept {
    return retry_interrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) == 0 ? 0 : errno;
  }

  /// Whether the partial name still means this file: between open and lock its owner may have renamed
  /// or removed it, or another writer taken it for a leftover. Throws write_failed where the system
  /// does not say.
  [[nodiscard]] bool is_named(const file_descriptor& file) const {
    const std::optional<bool> answer = is_name_of(partial_, file);
    if (!answer) fail("stat", errno);
    return *answer;
  }
  /// Nothing, with the reason in errno, where the system does not say.
  [[nodiscard]] static std::optional<bool> is_name_of(const std::string& name,
                                                      const file_descriptor& file) noexcept {
    struct stat opened {};
    struct stat named {};
    if (::fstat(file.get(), &opened) != 0) return std::nullopt;
    if (::lstat(name.c_str(), &named) != 0) {
      return errno == ENOENT ? std::optional(false) : std::nullopt;
    }
    return named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
  }

  void prepare(std::uint64_t size_bytes) {
    if (size_bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
      fail("file size", EFBIG);
    }
    struct stat existing {};
    if (::stat(target_.c_str(), &existing) == 0) {
      mode_ = existing.st_mode & 07777U;
      // Readable by nobody that could not read the old file, and still open to the next writer.
      if (::fchmod(file_.get(), (*mode_ & 0777U) | 0600U) != 0) fail("fchmod", errno);
    } else if (errno != ENOENT) {
      fail("stat", errno);
    }
#if defined(__linux__)
    if (size_bytes != 0 && ::fallocate(file_.get(), 0, 0, static_cast<off_t>(size_bytes)) != 0 &&
        errno != EOPNOTSUPP && errno != EINTR && errno != ENOSYS) {
      fail("fallocate", errno);
    }
#endif
    if (retry_interrupted([&] { return ::ftruncate(file_.get(), static_cast<off_t>(size_bytes)); }) !=
        0) {
      fail("ftruncate", errno);
    }
  }

  /// While the lock is still held, so that only this writer's own file can go.
  void discard() noexcept {
    if (file_.is_open() && is_name_of(partial_, file_).value_or(false)) ::unlink(partial_.c_str());
    file_ = file_descriptor();
  }

  std::string path_;
  std::filesystem::path target_;
  std::string partial_;
  file_descriptor file_;
  std::optional<mode_t> mode_;
  bool committed_ = false;
};

}  // namespace nibble
