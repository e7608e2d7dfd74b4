#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/file/file_status.hpp>
#include <nibble/file/system_error.hpp>
#include <nibble/file/windows/declarations.hpp>
#include <nibble/file/windows/file_handle.hpp>
#include <nibble/file/windows/native_path.hpp>
#include <nibble/file/windows/rename_information.hpp>

/// The calls that file/ is built on, for Windows; see nibble/file/system_calls.hpp.
namespace nibble::system_calls {

using file_handle = nibble::file_handle;

/// Why the call that has just failed did so.
[[nodiscard]] inline int last_reason() noexcept { return static_cast<int>(::GetLastError()); }

[[nodiscard]] constexpr bool means_not_found(int reason) noexcept {
  return reason == windows::error_file_not_found || reason == windows::error_path_not_found;
}
[[nodiscard]] constexpr bool means_name_is_taken(int reason) noexcept {
  return reason == windows::error_file_exists || reason == windows::error_already_exists;
}
/// Another writer holds the lock.
[[nodiscard]] constexpr bool means_locked(int reason) noexcept {
  return reason == windows::error_lock_violation;
}
/// The file system has no locks.
[[nodiscard]] constexpr bool means_no_locks(int reason) noexcept {
  return reason == windows::error_invalid_function || reason == windows::error_not_supported;
}
/// For sizes that no file, or no memory, can have.
inline constexpr int too_large = windows::error_file_too_large;
/// For calls that say neither that they failed nor that they did anything.
inline constexpr int no_progress = windows::error_write_fault;

/// Closed, with the reason in GetLastError(), where it cannot be opened.
[[nodiscard]] inline file_handle open_file(const std::string& path, unsigned long access,
                                           unsigned long how, unsigned long flags) noexcept {
  const std::wstring native = windows::native_path(path);
  if (native.empty()) return {};
  return file_handle(
      ::CreateFileW(native.c_str(), access, windows::share_everything, nullptr, how, flags, nullptr));
}

/// Calls `attempt`, which returns a reason, again for up to a quarter of a second while others are in
/// the way: a file that is being removed keeps its name until the last one closes it, and scanners open
/// what has just been written.
template <class Attempt>
[[nodiscard]] int try_patiently(const Attempt& attempt) noexcept {
  int reason = attempt();
  for (unsigned long wait_ms = 1; wait_ms <= 128; wait_ms *= 2) {
    if (reason != windows::error_access_denied && reason != windows::error_sharing_violation &&
        reason != windows::error_delete_pending) {
      return reason;
    }
    ::Sleep(wait_ms);
    reason = attempt();
  }
  return reason;
}

/// As open_file.
[[nodiscard]] inline file_handle open_patiently(const std::string& path, unsigned long access,
                                                unsigned long how, unsigned long flags) noexcept {
  file_handle file;
  const int reason = try_patiently([&] {
    file = open_file(path, access, how, flags);
    return file.is_open() ? 0 : last_reason();
  });
  ::SetLastError(static_cast<unsigned long>(reason));
  return file;
}

// What reading needs.

/// Others may go on to write, rename and remove the file.
[[nodiscard]] inline file_handle open_to_read(const std::string& path) noexcept {
  return open_file(path, windows::generic_read, windows::open_existing, windows::flag_backup_semantics);
}

[[nodiscard]] inline system_failure describe(const file_handle& file, file_status& status) noexcept {
  if (::GetFileType(file.get()) != windows::type_disk) {
    status = {.size_bytes = 0, .type = file_type::special};
    return {};
  }
  windows::file_information found{};
  if (::GetFileInformationByHandle(file.get(), found.get()) == 0) {
    return {.call = "GetFileInformationByHandle", .reason = last_reason()};
  }
  status.size_bytes = std::uint64_t{found.size_high} << 32U | found.size_low;
  status.type =
      (found.attributes & windows::attribute_directory) != 0 ? file_type::folder : file_type::regular;
  return {};
}

/// The most that one call reads or writes: they count in 32 bits.
inline constexpr std::size_t max_transfer_bytes = std::size_t{1} << 30U;

[[nodiscard]] inline transfer read(const file_handle& file, std::span<std::byte> to,
                                   _OVERLAPPED* where) noexcept {
  const auto wanted = static_cast<unsigned long>(std::min(to.size(), max_transfer_bytes));
  unsigned long count = 0;
  if (::ReadFile(file.get(), to.data(), wanted, &count, where) != 0) return {.count_bytes = count};
  const int reason = last_reason();
  if (reason == windows::error_handle_end_of_file) return {};
  return {.reason = reason};
}

/// Goes on where the last call of it ended.
[[nodiscard]] inline transfer read_next(const file_handle& file, std::span<std::byte> to) noexcept {
  return read(file, to, nullptr);
}

[[nodiscard]] inline transfer read_at(const file_handle& file, std::uint64_t offset,
                                      std::span<std::byte> to) noexcept {
  windows::overlapped where(offset);
  return read(file, to, where.get());
}

/// Maps `size_bytes` > 0 from the file's start on, to be read.
[[nodiscard]] inline system_failure map(const file_handle& file, std::size_t size_bytes,
                                        const std::byte*& mapped) noexcept {
  // The view keeps the mapping, which keeps the file.
  const file_handle mapping(
      ::CreateFileMappingW(file.get(), nullptr, windows::page_readonly, 0, 0, nullptr));
  if (!mapping.is_open()) return {.call = "CreateFileMapping", .reason = last_reason()};
  const void* const address = ::MapViewOfFile(mapping.get(), windows::map_read, 0, 0, size_bytes);
  if (address == nullptr) return {.call = "MapViewOfFile", .reason = last_reason()};
  mapped = static_cast<const std::byte*>(address);
  return {};
}

inline void unmap(const std::byte* mapped, std::size_t /*size_bytes*/) noexcept {
  ::UnmapViewOfFile(mapped);
}

// What writing needs.

/// The file that a write to `path` replaces: where symbolic links lead to. Throws write_failed for what
/// is there and is no regular file, and for links that lead to nothing.
[[nodiscard]] inline std::string replaced_path(const std::string& path) {
  const file_handle existing =
      open_file(path, windows::read_attributes, windows::open_existing, windows::flag_backup_semantics);
  if (!existing.is_open()) {
    const int reason = last_reason();
    if (!means_not_found(reason)) throw_system_error(error_code::write_failed, path, "open", reason);
    const std::wstring native = windows::native_path(path);
    if (::GetFileAttributesW(native.c_str()) == windows::invalid_attributes) return path;
    throw_system_error(
        error_code::write_failed, path,
        {.call = "open", .reason = reason, .expected = "a symbolic link to lead to a file"});
  }
  file_status status;
  if (const system_failure failure = describe(existing, status)) {
    throw_system_error(error_code::write_failed, path, failure);
  }
  if (status.type != file_type::regular) {
    throw error(error_code::write_failed, {.file = path,
                                           .field = "file type",
                                           .found = to_string(status.type),
                                           .expected = "a regular file or none"});
  }
  const unsigned long attributes = ::GetFileAttributesW(windows::native_path(path).c_str());
  const bool is_link =
      attributes != windows::invalid_attributes && (attributes & windows::attribute_reparse_point) != 0;
  if (!is_link) return path;
  const unsigned long room = ::GetFinalPathNameByHandleW(existing.get(), nullptr, 0, 0);
  std::wstring target(room, L'\0');
  target.resize(::GetFinalPathNameByHandleW(existing.get(), target.data(), room, 0));
  const std::string text = windows::utf8_of(target);
  if (text.empty()) {
    throw_system_error(error_code::write_failed, path, "GetFinalPathNameByHandle", last_reason());
  }
  return text;
}

/// Fails where the name is taken.
[[nodiscard]] inline file_handle create_new(const std::string& path) noexcept {
  return open_patiently(path, windows::generic_read | windows::generic_write | windows::delete_access,
                        windows::create_new, windows::attribute_normal);
}

/// A file that another writer may have left, to be locked; links are not followed.
[[nodiscard]] inline file_handle open_leftover(const std::string& path) noexcept {
  file_handle leftover = open_patiently(path, windows::generic_read | windows::generic_write,
                                        windows::open_existing, windows::flag_open_reparse_point);
  windows::file_information found{};
  if (leftover.is_open() && ::GetFileInformationByHandle(leftover.get(), found.get()) != 0 &&
      (found.attributes & windows::attribute_reparse_point) != 0) {
    leftover = file_handle();
    ::SetLastError(windows::error_cannot_access_file);
  }
  return leftover;
}

/// Whether a name means a regular file; a link to one is none.
[[nodiscard]] inline bool is_regular_file(const std::string& path) noexcept {
  constexpr unsigned long others =
      windows::attribute_directory | windows::attribute_reparse_point | windows::attribute_device;
  const std::wstring native = windows::native_path(path);
  return !native.empty() && (::GetFileAttributesW(native.c_str()) & others) == 0;
}

/// Whether a name means this open file; nothing, with the reason in last_reason(), where the system
/// does not say.
[[nodiscard]] inline std::optional<bool> is_name_of(const std::string& path,
                                                    const file_handle& file) noexcept {
  const file_handle other =
      open_patiently(path, windows::read_attributes, windows::open_existing,
                     windows::flag_backup_semantics | windows::flag_open_reparse_point);
  windows::file_information opened{};
  windows::file_information named{};
  if (!other.is_open()) return means_not_found(last_reason()) ? std::optional(false) : std::nullopt;
  if (::GetFileInformationByHandle(file.get(), opened.get()) == 0) return std::nullopt;
  if (::GetFileInformationByHandle(other.get(), named.get()) == 0) return std::nullopt;
  return named.index_low == opened.index_low && named.index_high == opened.index_high &&
         named.volume == opened.volume;
}

/// Locks a file against other writers for as long as it is open, without waiting. Locks of Windows keep
/// others from the locked bytes: the one that is locked lies where no file has any.
[[nodiscard]] inline system_failure try_lock(const file_handle& file) noexcept {
  windows::overlapped where(static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) - 1);
  constexpr unsigned long how = windows::lock_exclusive | windows::lock_fail_immediately;
  if (::LockFileEx(file.get(), how, 0, 1, 0, where.get()) != 0) return {};
  return {.call = "LockFileEx", .reason = last_reason()};
}

/// The permissions of the file that is replaced, for the new one: its list of who may do what.
class kept_permissions {
 public:
  /// Before the first byte: lets others do with the file at `path` what they may do with the old one.
  [[nodiscard]] system_failure restrict_file(const file_handle& /*file*/, const std::string& path,
                                             const std::string& old_path) noexcept {
    const std::wstring old_name = windows::native_path(old_path);
    const std::wstring name = windows::native_path(path);
    unsigned long bytes = 0;
    if (::GetFileSecurityW(old_name.c_str(), windows::access_list_information, nullptr, 0, &bytes) ==
            0 &&
        bytes == 0) {
      return failed("GetFileSecurity");
    }
    const std::unique_ptr<std::byte[]> list(new (std::nothrow) std::byte[bytes]);
    if (!list) return {.call = "GetFileSecurity", .reason = windows::error_not_enough_memory};
    if (::GetFileSecurityW(old_name.c_str(), windows::access_list_information, list.get(), bytes,
                           &bytes) == 0) {
      return failed("GetFileSecurity");
    }
    if (::SetFileSecurityW(name.c_str(), windows::access_list_information, list.get()) == 0) {
      return failed("SetFileSecurity");
    }
    return {};
  }

  /// After the last one: nothing is left to do.
  [[nodiscard]] system_failure restore(const file_handle& /*file*/) const noexcept { return {}; }

 private:
  /// No failure where there is no old file, or file systems know no permissions.
  [[nodiscard]] static system_failure failed(std::string_view call) noexcept {
    const int reason = last_reason();
    if (means_not_found(reason) || reason == windows::error_invalid_function ||
        reason == windows::error_not_supported || reason == windows::error_call_not_implemented) {
      return {};
    }
    return {.call = call, .reason = reason};
  }
};

/// Gives a new file its size, of zeros, and room on the disk.
[[nodiscard]] inline system_failure reserve(const file_handle& file,
                                            std::uint64_t size_bytes) noexcept {
  auto high = static_cast<long>(size_bytes >> 32U);
  const auto low = static_cast<long>(static_cast<std::int32_t>(size_bytes & 0xFFFFFFFFU));
  ::SetLastError(0);
  // 2^32 - 1 is a position like others unless there is a reason, too.
  if (::SetFilePointer(file.get(), low, &high, 0) == 0xFFFFFFFFU && last_reason() != 0) {
    return {.call = "SetFilePointer", .reason = last_reason()};
  }
  if (::SetEndOfFile(file.get()) != 0) return {};
  return {.call = "SetEndOfFile", .reason = last_reason()};
}
/// Offsets of files are not greater.
inline constexpr std::uint64_t max_file_bytes =
    static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

[[nodiscard]] inline transfer write_at(const file_handle& file, std::uint64_t offset,
                                       std::span<const std::byte> bytes) noexcept {
  windows::overlapped where(offset);
  const auto wanted = static_cast<unsigned long>(std::min(bytes.size(), max_transfer_bytes));
  unsigned long count = 0;
  if (::WriteFile(file.get(), bytes.data(), wanted, &count, where.get()) != 0) {
    return {.count_bytes = count};
  }
  return {.reason = last_reason()};
}

/// Makes a file's bytes durable.
[[nodiscard]] inline system_failure sync(const file_handle& file) noexcept {
  if (::FlushFileBuffers(file.get()) != 0) return {};
  return {.call = "FlushFileBuffers", .reason = last_reason()};
}

/// Gives an open file, which bears the name `from`, the name `to`, in place of the file that bears it:
/// as POSIX does where the file system can, and then even while others have the old file open.
[[nodiscard]] inline system_failure rename(const file_handle& file, const std::string& from,
                                           const std::string& to) noexcept {
  const std::wstring old_name = windows::native_path(from);
  const std::wstring new_name = windows::native_path(to);
  constexpr unsigned long how = windows::move_replace_existing | windows::move_write_through;
  const int reason = try_patiently([&] {
    if (windows::rename_over_open_file(file.get(), new_name)) return 0;
    return ::MoveFileExW(old_name.c_str(), new_name.c_str(), how) != 0 ? 0 : last_reason();
  });
  if (reason == 0) return {};
  const bool is_held = reason == windows::error_access_denied ||
                       reason == windows::error_sharing_violation ||
                       reason == windows::error_user_mapped_file;
  return {.call = "rename",
          .reason = reason,
          .expected = is_held
                          ? std::string_view("an old file that can be replaced: not read-only, and not "
                                             "open or mapped elsewhere")
                          : std::string_view()};
}

/// Takes away a name. 0, or why it is there still.
[[nodiscard]] inline int remove(const std::string& path) noexcept {
  const std::wstring native = windows::native_path(path);
  if (native.empty()) return last_reason();
  return try_patiently([&] { return ::DeleteFileW(native.c_str()) != 0 ? 0 : last_reason(); });
}

/// Makes durable that names beside `path` have come or gone. `file`: one that was renamed to it, or
/// none, and then the next call with a file does it: NTFS logs changes of names in order.
[[nodiscard]] inline system_failure sync_names(const file_handle& file,
                                               const std::string& /*path*/) noexcept {
  return file.is_open() ? sync(file) : system_failure{};
}

/// Calls visit(name, is_link) for what is in a directory (empty: the working one), as far as it can be
/// read and its names are Unicode; is_link() says whether it is a symbolic link.
template <class Visit>
void for_each_name(const std::filesystem::path& folder, const Visit& visit) {
  const std::filesystem::path pattern = (folder.empty() ? "." : folder) / "*";
  const std::wstring native = windows::full_native_path(pattern.native());
  struct closer {
    void operator()(void* search) const { ::FindClose(search); }
  };
  windows::found_file found{};
  void* const first = ::FindFirstFileW(native.c_str(), found.get());
  if (reinterpret_cast<std::intptr_t>(first) == -1) return;
  const std::unique_ptr<void, closer> search(first);
  do {
    std::string name = windows::utf8_of(found.name);
    if (name.empty() || name == "." || name == "..") continue;
    visit(std::move(name), [&] { return (found.attributes & windows::attribute_reparse_point) != 0; });
  } while (::FindNextFileW(search.get(), found.get()) != 0);
}

}  // namespace nibble::system_calls
