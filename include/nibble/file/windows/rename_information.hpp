#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include <nibble/file/windows/declarations.hpp>

// <windows.h> declares it with an enumeration of its own, which cannot be declared twice: here it has
// another name, and the linker's is the same.
#if defined(__GNUC__) && defined(_WIN64)
extern "C" int __stdcall nibble_set_file_information(void*, int, void*, unsigned long) __asm__(
    "SetFileInformationByHandle");
#endif

namespace nibble::windows {

/// Renames an open file, which was opened with the right to delete it, over the file that bears the
/// name `to` (absolute, or beside it), even while others have that one open, who keep what they had.
/// False where the system cannot: before Windows 10, and on file systems other than NTFS.
[[nodiscard]] inline bool rename_over_open_file(void* file, const std::wstring& to) noexcept {
#if defined(__GNUC__) && defined(_WIN64)
  // FILE_RENAME_INFO, with the name behind it.
  struct rename_information {
    unsigned long flags;
    void* root_directory;
    unsigned long name_bytes;
    wchar_t name[1];
  };
  constexpr int rename_information_extended = 22;  // FileRenameInfoEx
  constexpr unsigned long replace_if_exists = 1;
  constexpr unsigned long posix_semantics = 2;
  const std::size_t name_bytes = to.size() * sizeof(wchar_t);
  const std::size_t bytes = sizeof(rename_information) + name_bytes;
  const std::unique_ptr<std::byte[]> room(new (std::nothrow) std::byte[bytes]{});
  if (!room) return false;
  auto* const information = new (room.get()) rename_information{
      replace_if_exists | posix_semantics, nullptr, static_cast<unsigned long>(name_bytes), {}};
  std::memcpy(information->name, to.data(), name_bytes);
  return ::nibble_set_file_information(file, rename_information_extended, information,
                                       static_cast<unsigned long>(bytes)) != 0;
#else
  static_cast<void>(file);
  static_cast<void>(to);
  return false;
#endif
}

}  // namespace nibble::windows
