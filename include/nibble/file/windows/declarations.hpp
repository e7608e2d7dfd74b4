#pragma once

#include <cstdint>

/// What nibble calls of Windows, declared as <windows.h> declares it, so that a unit may include that
/// too, before or after. Its macros (min, small, CreateFile ...) do not come with nibble.

struct _BY_HANDLE_FILE_INFORMATION;
struct _OVERLAPPED;
struct _SECURITY_ATTRIBUTES;
struct _WIN32_FIND_DATAW;

extern "C" {

__declspec(dllimport) unsigned long __stdcall GetLastError();
__declspec(dllimport) void __stdcall SetLastError(unsigned long);
__declspec(dllimport) void __stdcall Sleep(unsigned long);
__declspec(dllimport) int __stdcall CloseHandle(void*);

__declspec(dllimport) int __stdcall MultiByteToWideChar(unsigned, unsigned long, const char*, int,
                                                        wchar_t*, int);
__declspec(dllimport) int __stdcall WideCharToMultiByte(unsigned, unsigned long, const wchar_t*, int,
                                                        char*, int, const char*, int*);
__declspec(dllimport) unsigned long __stdcall GetFullPathNameW(const wchar_t*, unsigned long, wchar_t*,
                                                               wchar_t**);
__declspec(dllimport) unsigned long __stdcall GetFinalPathNameByHandleW(void*, wchar_t*, unsigned long,
                                                                        unsigned long);

__declspec(dllimport) void* __stdcall CreateFileW(const wchar_t*, unsigned long, unsigned long,
                                                  _SECURITY_ATTRIBUTES*, unsigned long, unsigned long,
                                                  void*);
__declspec(dllimport) unsigned long __stdcall GetFileType(void*);
__declspec(dllimport) unsigned long __stdcall GetFileAttributesW(const wchar_t*);
__declspec(dllimport) int __stdcall GetFileInformationByHandle(void*, _BY_HANDLE_FILE_INFORMATION*);
__declspec(dllimport) int __stdcall ReadFile(void*, void*, unsigned long, unsigned long*, _OVERLAPPED*);
__declspec(dllimport) int __stdcall WriteFile(void*, const void*, unsigned long, unsigned long*,
                                              _OVERLAPPED*);
__declspec(dllimport) unsigned long __stdcall SetFilePointer(void*, long, long*, unsigned long);
__declspec(dllimport) int __stdcall SetEndOfFile(void*);
__declspec(dllimport) int __stdcall FlushFileBuffers(void*);
__declspec(dllimport) int __stdcall LockFileEx(void*, unsigned long, unsigned long, unsigned long,
                                               unsigned long, _OVERLAPPED*);
__declspec(dllimport) int __stdcall MoveFileExW(const wchar_t*, const wchar_t*, unsigned long);
__declspec(dllimport) int __stdcall DeleteFileW(const wchar_t*);
__declspec(dllimport) void* __stdcall FindFirstFileW(const wchar_t*, _WIN32_FIND_DATAW*);
__declspec(dllimport) int __stdcall FindNextFileW(void*, _WIN32_FIND_DATAW*);
__declspec(dllimport) int __stdcall FindClose(void*);

__declspec(dllimport) void* __stdcall CreateFileMappingW(void*, _SECURITY_ATTRIBUTES*, unsigned long,
                                                         unsigned long, unsigned long, const wchar_t*);
__declspec(dllimport) void* __stdcall MapViewOfFile(void*, unsigned long, unsigned long, unsigned long,
                                                    std::size_t);
__declspec(dllimport) int __stdcall UnmapViewOfFile(const void*);

__declspec(dllimport) int __stdcall GetFileSecurityW(const wchar_t*, unsigned long, void*,
                                                     unsigned long, unsigned long*);
__declspec(dllimport) int __stdcall SetFileSecurityW(const wchar_t*, unsigned long, void*);

}  // extern "C"

/// Numbers and structures of the calls above, of the same values and layout as in <windows.h>.
namespace nibble::windows {

inline constexpr unsigned long generic_read = 0x80000000;
inline constexpr unsigned long generic_write = 0x40000000;
inline constexpr unsigned long delete_access = 0x00010000;
inline constexpr unsigned long read_attributes = 0x00000080;

inline constexpr unsigned long share_everything = 0x00000007;  // read, write, delete

inline constexpr unsigned long create_new = 1;
inline constexpr unsigned long open_existing = 3;

inline constexpr unsigned long attribute_directory = 0x00000010;
inline constexpr unsigned long attribute_device = 0x00000040;
inline constexpr unsigned long attribute_normal = 0x00000080;
inline constexpr unsigned long attribute_reparse_point = 0x00000400;
inline constexpr unsigned long invalid_attributes = 0xFFFFFFFF;
inline constexpr unsigned long flag_backup_semantics =
    0x02000000;  // without it directories do not open
inline constexpr unsigned long flag_open_reparse_point = 0x00200000;

inline constexpr unsigned long type_disk = 1;

inline constexpr unsigned long page_readonly = 0x02;
inline constexpr unsigned long map_read = 0x04;

inline constexpr unsigned long lock_fail_immediately = 1;
inline constexpr unsigned long lock_exclusive = 2;

inline constexpr unsigned long move_replace_existing = 1;
inline constexpr unsigned long move_write_through = 8;

inline constexpr unsigned long access_list_information = 4;  // DACL_SECURITY_INFORMATION

inline constexpr unsigned utf8_code_page = 65001;
inline constexpr unsigned long refuse_invalid_utf8 = 8;     // MB_ERR_INVALID_CHARS
inline constexpr unsigned long refuse_invalid_utf16 = 128;  // WC_ERR_INVALID_CHARS

inline constexpr int error_invalid_function = 1;
inline constexpr int error_file_not_found = 2;
inline constexpr int error_path_not_found = 3;
inline constexpr int error_access_denied = 5;
inline constexpr int error_not_enough_memory = 8;
inline constexpr int error_write_fault = 29;
inline constexpr int error_sharing_violation = 32;
inline constexpr int error_lock_violation = 33;
inline constexpr int error_handle_end_of_file = 38;
inline constexpr int error_not_supported = 50;
inline constexpr int error_file_exists = 80;
inline constexpr int error_call_not_implemented = 120;
inline constexpr int error_already_exists = 183;
inline constexpr int error_file_too_large = 223;
inline constexpr int error_delete_pending = 303;
inline constexpr int error_no_unicode_translation = 1113;
inline constexpr int error_user_mapped_file = 1224;
inline constexpr int error_cannot_access_file = 1920;

/// OVERLAPPED: where in the file a call reads, writes or locks.
struct overlapped {
  explicit overlapped(std::uint64_t offset) noexcept
      : offset_low(static_cast<unsigned long>(offset & 0xFFFFFFFFU)),
        offset_high(static_cast<unsigned long>(offset >> 32U)) {}
  [[nodiscard]] _OVERLAPPED* get() noexcept { return reinterpret_cast<_OVERLAPPED*>(this); }

  std::uintptr_t internal = 0;
  std::uintptr_t internal_high = 0;
  unsigned long offset_low;
  unsigned long offset_high;
  void* event = nullptr;
};

struct file_time {
  unsigned long low;
  unsigned long high;
};

/// BY_HANDLE_FILE_INFORMATION.
struct file_information {
  [[nodiscard]] _BY_HANDLE_FILE_INFORMATION* get() noexcept {
    return reinterpret_cast<_BY_HANDLE_FILE_INFORMATION*>(this);
  }

  unsigned long attributes;
  file_time creation_time;
  file_time last_access_time;
  file_time last_write_time;
  unsigned long volume;
  unsigned long size_high;
  unsigned long size_low;
  unsigned long links;
  unsigned long index_high;
  unsigned long index_low;
};

/// WIN32_FIND_DATAW.
struct found_file {
  [[nodiscard]] _WIN32_FIND_DATAW* get() noexcept { return reinterpret_cast<_WIN32_FIND_DATAW*>(this); }

  unsigned long attributes;
  file_time creation_time;
  file_time last_access_time;
  file_time last_write_time;
  unsigned long size_high;
  unsigned long size_low;
  unsigned long reserved[2];
  wchar_t name[260];
  wchar_t short_name[14];
};

}  // namespace nibble::windows
