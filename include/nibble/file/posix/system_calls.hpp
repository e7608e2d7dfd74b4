#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nibble/core/error.hpp>
#include <nibble/file/file_status.hpp>
#include <nibble/file/posix/file_descriptor.hpp>
#include <nibble/file/system_error.hpp>

/// The calls that file/ is built on, for POSIX systems; see nibble/file/system_calls.hpp.
namespace nibble::system_calls {

using file_handle = file_descriptor;

/// Why the call that has just failed did so.
[[nodiscard]] inline int last_reason() noexcept { return errno; }

[[nodiscard]] constexpr bool means_not_found(int reason) noexcept { return reason == ENOENT; }
[[nodiscard]] constexpr bool means_name_is_taken(int reason) noexcept { return reason == EEXIST; }
/// Another writer holds the lock.
[[nodiscard]] constexpr bool means_locked(int reason) noexcept { return reason == EWOULDBLOCK; }
/// The file system has no locks.
[[nodiscard]] constexpr bool means_no_locks(int reason) noexcept {
  return reason == ENOSYS || reason == EOPNOTSUPP || reason == ENOLCK;
}
/// For sizes that no file, or no memory, can have.
inline constexpr int too_large = EFBIG;
/// For calls that say neither that they failed nor that they did anything.
inline constexpr int no_progress = EIO;

/// Closed, with the reason in errno, where it cannot be opened.
[[nodiscard]] inline file_handle open_file(const char* path, int flags, mode_t mode = 0) noexcept {
  return file_handle(retry_interrupted([&] { return ::open(path, flags, mode); }));
}

// What reading needs.

/// Without blocking, so that a pipe without a writer is told apart from a file, and not waited for.
[[nodiscard]] inline file_handle open_to_read(const std::string& path) noexcept {
  return open_file(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

[[nodiscard]] inline system_failure describe(const file_handle& file, file_status& status) noexcept {
  struct stat found {};
  if (::fstat(file.get(), &found) != 0) return {.call = "fstat", .reason = errno};
  status.size_bytes = static_cast<std::uint64_t>(found.st_size);
  status.type = S_ISREG(found.st_mode)   ? file_type::regular
                : S_ISDIR(found.st_mode) ? file_type::folder
                                         : file_type::special;
  return {};
}

/// What came of a call that answers with a count of bytes, or -1.
[[nodiscard]] inline transfer transfer_of(ssize_t count) noexcept {
  if (count < 0) return {.reason = errno};
  return {.count_bytes = static_cast<std::size_t>(count)};
}

/// Goes on where the last call of it ended.
[[nodiscard]] inline transfer read_next(const file_handle& file, std::span<std::byte> to) noexcept {
  return transfer_of(retry_interrupted([&] { return ::read(file.get(), to.data(), to.size()); }));
}

[[nodiscard]] inline transfer read_at(const file_handle& file, std::uint64_t offset,
                                      std::span<std::byte> to) noexcept {
  return transfer_of(retry_interrupted(
      [&] { return ::pread(file.get(), to.data(), to.size(), static_cast<off_t>(offset)); }));
}

/// Maps `size_bytes` > 0 from the file's start on, to be read.
[[nodiscard]] inline system_failure map(const file_handle& file, std::size_t size_bytes,
                                        const std::byte*& mapped) noexcept {
  void* const address = ::mmap(nullptr, size_bytes, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) return {.call = "mmap", .reason = errno};
  mapped = static_cast<const std::byte*>(address);
  return {};
}

inline void unmap(const std::byte* mapped, std::size_t size_bytes) noexcept {
  ::munmap(const_cast<std::byte*>(mapped), size_bytes);
}

// What writing needs.

/// The file that a write to `path` replaces: where symbolic links lead to, whether it is there or not.
/// Throws write_failed for what is there and is no regular file.
[[nodiscard]] inline std::string replaced_path(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code failure;
  const fs::file_status status = fs::status(path, failure);
  if (failure && status.type() != fs::file_type::not_found) {
    throw_system_error(error_code::write_failed, path, "stat", failure.value());
  }
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    const file_type type = fs::is_directory(status) ? file_type::folder : file_type::special;
    throw error(error_code::write_failed, {.file = path,
                                           .field = "file type",
                                           .found = to_string(type),
                                           .expected = "a regular file or none"});
  }
  fs::path target = path;
  while (true) {
    const fs::file_status target_status = fs::symlink_status(target, failure);
    // What cannot be looked at may be a link, which a file is not to replace.
    if (failure && target_status.type() != fs::file_type::not_found) {
      throw_system_error(error_code::write_failed, path, "lstat", failure.value());
    }
    if (!fs::is_symlink(target_status)) break;
    target = target.parent_path() / fs::read_symlink(target, failure);
    if (failure) throw_system_error(error_code::write_failed, path, "readlink", failure.value());
  }
  return target.string();
}

/// Fails where the name is taken.
[[nodiscard]] inline file_handle create_new(const std::string& path) noexcept {
  return open_file(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

/// A file that another writer may have left, to be locked; links are not followed.
[[nodiscard]] inline file_handle open_leftover(const std::string& path) noexcept {
  // NFS locks exclusively only what is open for writing; another user's leftover may only be readable.
  constexpr int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  file_handle leftover = open_file(path.c_str(), flags | O_RDWR);
  if (!leftover.is_open() && errno == EACCES) {
    leftover = open_file(path.c_str(), flags | O_RDONLY);
  }
  return leftover;
}

/// Whether a name means a regular file; a link to one is none.
[[nodiscard]] inline bool is_regular_file(const std::string& path) noexcept {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// Whether a name means this open file; nothing, with the reason in last_reason(), where the system
/// does not say.
[[nodiscard]] inline std::optional<bool> is_name_of(const std::string& path,
                                                    const file_handle& file) noexcept {
  struct stat opened {};
  struct stat named {};
  if (::fstat(file.get(), &opened) != 0) return std::nullopt;
  if (::lstat(path.c_str(), &named) != 0) {
    return errno == ENOENT ? std::optional(false) : std::nullopt;
  }
  return named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

/// Locks a file against other writers for as long as it is open, without waiting.
[[nodiscard]] inline system_failure try_lock(const file_handle& file) noexcept {
  if (retry_interrupted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) == 0) return {};
  return {.call = "flock", .reason = errno};
}

/// The permissions of the file that is replaced, for the new one.
class kept_permissions {
 public:
  /// Before the first byte: makes `file` readable by nobody that could not read the old file, and still
  /// open to the next writer.
  [[nodiscard]] system_failure restrict_file(const file_handle& file, const std::string& /*path*/,
                                             const std::string& old_path) noexcept {
    struct stat existing {};
    if (::stat(old_path.c_str(), &existing) != 0) {
      return errno == ENOENT ? system_failure{} : system_failure{.call = "stat", .reason = errno};
    }
    mode_ = existing.st_mode & 07777U;
    if (::fchmod(file.get(), (*mode_ & 0777U) | 0600U) == 0) return {};
    return {.call = "fchmod", .reason = errno};
  }

  /// After the last one: gives it all of them.
  [[nodiscard]] system_failure restore(const file_handle& file) const noexcept {
    if (!mode_ || ::fchmod(file.get(), *mode_) == 0) return {};
    return {.call = "fchmod", .reason = errno};
  }

 private:
  std::optional<mode_t> mode_;
};

/// Gives a new file its size, of zeros, and room on the disk where the file system can tell.
[[nodiscard]] inline system_failure reserve(const file_handle& file,
                                            std::uint64_t size_bytes) noexcept {
#if defined(__linux__)
  if (size_bytes != 0 && ::fallocate(file.get(), 0, 0, static_cast<off_t>(size_bytes)) != 0 &&
      errno != EOPNOTSUPP && errno != EINTR && errno != ENOSYS) {
    return {.call = "fallocate", .reason = errno};
  }
#endif
  const auto size = static_cast<off_t>(size_bytes);
  if (retry_interrupted([&] { return ::ftruncate(file.get(), size); }) == 0) return {};
  return {.call = "ftruncate", .reason = errno};
}
/// Offsets of files are not greater.
inline constexpr std::uint64_t max_file_bytes =
    static_cast<std::uint64_t>(std::numeric_limits<off_t>::max());

[[nodiscard]] inline transfer write_at(const file_handle& file, std::uint64_t offset,
                                       std::span<const std::byte> bytes) noexcept {
  return transfer_of(retry_interrupted(
      [&] { return ::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)); }));
}

/// Makes a file's bytes durable.
[[nodiscard]] inline system_failure sync(const file_handle& file) noexcept {
  if (retry_interrupted([&] { return ::fsync(file.get()); }) == 0) return {};
  return {.call = "fsync", .reason = errno};
}

/// Gives an open file, which bears the name `from`, the name `to`, in place of the file that bears it.
[[nodiscard]] inline system_failure rename(const file_handle& /*file*/, const std::string& from,
                                           const std::string& to) noexcept {
  if (::rename(from.c_str(), to.c_str()) == 0) return {};
  return {.call = "rename", .reason = errno};
}

/// Takes away a name. 0, or why it is there still.
[[nodiscard]] inline int remove(const std::string& path) noexcept {
  return ::unlink(path.c_str()) == 0 ? 0 : errno;
}

/// Makes durable that names beside `path` have come or gone. `file`: one that was renamed to it, or
/// none.
[[nodiscard]] inline system_failure sync_names(const file_handle& /*file*/, const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const file_handle folder =
      open_file(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (!folder.is_open()) return {.call = "open of the directory", .reason = errno};
  // Some file systems cannot sync a directory and say EINVAL; they need none.
  if (retry_interrupted([&] { return ::fsync(folder.get()); }) == 0 || errno == EINVAL) return {};
  return {.call = "fsync of the directory", .reason = errno};
}

/// Calls visit(name, is_link) for what is in a directory (empty: the working one), as far as it can be
/// read; is_link() says whether it is a symbolic link.
template <class Visit>
void for_each_name(const std::filesystem::path& folder, const Visit& visit) {
  std::error_code failure;
  std::filesystem::directory_iterator entries(folder.empty() ? "." : folder, failure);
  for (; !failure && entries != std::filesystem::directory_iterator(); entries.increment(failure)) {
    visit(entries->path().filename().string(), [&] {
      std::error_code unknown;
      return entries->is_symlink(unknown);
    });
  }
}

}  // namespace nibble::system_calls
