// Nothing of <windows.h> comes with the library, and it may be included behind it.
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/input_file.hpp>

#if defined(_WINDOWS_) || defined(min) || defined(max) || defined(CreateFile) || defined(small)
#error "the library brings macros of <windows.h>"
#endif

#include <windows.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

using nibble_test::missing_parts;
using nibble_test::outcome_of;
namespace windows = nibble::windows;

// What is declared again is what the system declares.
static_assert(sizeof(windows::overlapped) == sizeof(OVERLAPPED));
static_assert(offsetof(windows::overlapped, offset_low) == offsetof(OVERLAPPED, Offset));
static_assert(offsetof(windows::overlapped, event) == offsetof(OVERLAPPED, hEvent));
static_assert(sizeof(windows::file_information) == sizeof(BY_HANDLE_FILE_INFORMATION));
static_assert(offsetof(windows::file_information, volume) ==
              offsetof(BY_HANDLE_FILE_INFORMATION, dwVolumeSerialNumber));
static_assert(offsetof(windows::file_information, size_high) ==
              offsetof(BY_HANDLE_FILE_INFORMATION, nFileSizeHigh));
static_assert(offsetof(windows::file_information, index_low) ==
              offsetof(BY_HANDLE_FILE_INFORMATION, nFileIndexLow));
static_assert(sizeof(windows::found_file) == sizeof(WIN32_FIND_DATAW));
static_assert(offsetof(windows::found_file, name) == offsetof(WIN32_FIND_DATAW, cFileName));
static_assert(windows::generic_read == GENERIC_READ && windows::generic_write == GENERIC_WRITE);
static_assert(windows::delete_access == DELETE && windows::read_attributes == FILE_READ_ATTRIBUTES);
static_assert(windows::share_everything == (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE));
static_assert(windows::create_new == CREATE_NEW && windows::open_existing == OPEN_EXISTING);
static_assert(windows::attribute_directory == FILE_ATTRIBUTE_DIRECTORY);
static_assert(windows::attribute_device == FILE_ATTRIBUTE_DEVICE);
static_assert(windows::attribute_normal == FILE_ATTRIBUTE_NORMAL);
static_assert(windows::attribute_reparse_point == FILE_ATTRIBUTE_REPARSE_POINT);
static_assert(windows::invalid_attributes == INVALID_FILE_ATTRIBUTES);
static_assert(windows::flag_backup_semantics == FILE_FLAG_BACKUP_SEMANTICS);
static_assert(windows::flag_open_reparse_point == FILE_FLAG_OPEN_REPARSE_POINT);
static_assert(windows::type_disk == FILE_TYPE_DISK);
static_assert(windows::page_readonly == PAGE_READONLY && windows::map_read == FILE_MAP_READ);
static_assert(windows::lock_exclusive == LOCKFILE_EXCLUSIVE_LOCK);
static_assert(windows::lock_fail_immediately == LOCKFILE_FAIL_IMMEDIATELY);
static_assert(windows::move_replace_existing == MOVEFILE_REPLACE_EXISTING);
static_assert(windows::move_write_through == MOVEFILE_WRITE_THROUGH);
static_assert(windows::access_list_information == DACL_SECURITY_INFORMATION);
static_assert(windows::utf8_code_page == CP_UTF8);
static_assert(windows::refuse_invalid_utf8 == MB_ERR_INVALID_CHARS);
static_assert(windows::refuse_invalid_utf16 == WC_ERR_INVALID_CHARS);
static_assert(windows::error_invalid_function == ERROR_INVALID_FUNCTION);
static_assert(windows::error_file_not_found == ERROR_FILE_NOT_FOUND);
static_assert(windows::error_path_not_found == ERROR_PATH_NOT_FOUND);
static_assert(windows::error_access_denied == ERROR_ACCESS_DENIED);
static_assert(windows::error_not_enough_memory == ERROR_NOT_ENOUGH_MEMORY);
static_assert(windows::error_write_fault == ERROR_WRITE_FAULT);
static_assert(windows::error_sharing_violation == ERROR_SHARING_VIOLATION);
static_assert(windows::error_lock_violation == ERROR_LOCK_VIOLATION);
static_assert(windows::error_handle_end_of_file == ERROR_HANDLE_EOF);
static_assert(windows::error_not_supported == ERROR_NOT_SUPPORTED);
static_assert(windows::error_file_exists == ERROR_FILE_EXISTS);
static_assert(windows::error_call_not_implemented == ERROR_CALL_NOT_IMPLEMENTED);
static_assert(windows::error_already_exists == ERROR_ALREADY_EXISTS);
static_assert(windows::error_file_too_large == ERROR_FILE_TOO_LARGE);
static_assert(windows::error_delete_pending == ERROR_DELETE_PENDING);
static_assert(windows::error_no_unicode_translation == ERROR_NO_UNICODE_TRANSLATION);
static_assert(windows::error_user_mapped_file == ERROR_USER_MAPPED_FILE);
static_assert(windows::error_cannot_access_file == ERROR_CANT_ACCESS_FILE);

namespace {

std::string text_of(int reason) { return std::system_category().message(reason); }

}  // namespace

TEST_CASE("a file that is not there is not found, by the system's reason", "[system_calls]") {
  const nibble_test::temporary_directory folder;
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const auto result = outcome_of([&] { nibble::input_file(folder / "none", how); });
    CHECK(result.code == "file_not_found");
    CHECK(missing_parts(result.message, {"none", "open", text_of(ERROR_FILE_NOT_FOUND)}).empty());
    const auto inside = outcome_of([&] { nibble::input_file(folder / "none/file", how); });
    CHECK(inside.code == "file_not_found");
    CHECK(missing_parts(inside.message, {text_of(ERROR_PATH_NOT_FOUND)}).empty());
  }
}

TEST_CASE("directories and devices are not read", "[system_calls]") {
  const nibble_test::temporary_directory folder;
  const std::string inside = nibble::text_of_path(folder.path());
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const auto directory = outcome_of([&] { nibble::input_file(inside, how); });
    CHECK(directory.code == "read_failed");
    CHECK(missing_parts(directory.message, {"a directory", "a regular file"}).empty());
    const auto device = outcome_of([&] { nibble::input_file("NUL", how); });
    CHECK(device.code == "read_failed");
    CHECK(missing_parts(device.message, {"NUL", "a special file"}).empty());
  }
}

TEST_CASE("a file that another holds for itself is not opened", "[system_calls]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "held", nibble_test::random_bytes(10, 1));
  const nibble::file_handle held(::CreateFileW(windows::native_path(folder / "held").c_str(),
                                               GENERIC_READ, 0, nullptr, OPEN_EXISTING, 0, nullptr));
  REQUIRE(held.is_open());
  const auto result =
      outcome_of([&] { nibble::input_file(folder / "held", nibble::file_access::read); });
  CHECK(result.code == "read_failed");
  CHECK(missing_parts(result.message, {"open", text_of(ERROR_SHARING_VIOLATION)}).empty());
}

TEST_CASE("positions beyond 4 GiB are read and written where they are", "[system_calls]") {
  const nibble_test::temporary_directory folder;
  const auto bytes = nibble_test::random_bytes(1000, 2);
  constexpr std::uint64_t offset = (std::uint64_t{5} << 30U) + 3;
  {
    // Without room for all of it: only what is written takes any.
    const auto file = nibble::system_calls::create_new(folder / "large");
    REQUIRE(file.is_open());
    CHECK(nibble::system_calls::write_at(file, offset, bytes).count_bytes == bytes.size());
  }
  const nibble::file_source source(folder / "large");
  CHECK(source.size_bytes() == offset + bytes.size());
  std::vector<std::byte> read(bytes.size());
  source.read_at(offset, read);
  CHECK(read == bytes);
  source.read_at(offset - bytes.size(), read);
  CHECK(read == std::vector<std::byte>(bytes.size()));
}

TEST_CASE("paths become long only where they must", "[native_path]") {
  CHECK(windows::native_path("C:/folder/file") == L"C:\\folder\\file");
  CHECK(windows::native_path("\\\\?\\C:\\folder\\file") == L"\\\\?\\C:\\folder\\file");
  CHECK(windows::native_path("//server/share/file") == L"\\\\server\\share\\file");
  const std::string part(100, 'x');
  const std::wstring wide(100, L'x');
  CHECK(windows::native_path("C:/" + part + "/" + part + "/" + part) ==
        L"\\\\?\\C:\\" + wide + L"\\" + wide + L"\\" + wide);
  CHECK(windows::native_path("//server/" + part + "/" + part + "/" + part) ==
        L"\\\\?\\UNC\\server\\" + wide + L"\\" + wide + L"\\" + wide);
  CHECK(windows::native_path("C:/" + part + "/../" + part + "/./" + part + "/" + part) ==
        L"\\\\?\\C:\\" + wide + L"\\" + wide + L"\\" + wide);
  // One unit short of what needs it, and one that does.
  CHECK(windows::native_path("C:/" + std::string(244, 'x')).size() == 247);
  CHECK(windows::native_path("C:/" + std::string(245, 'x')).size() == 252);
  CHECK(windows::native_path("").empty());
  CHECK(windows::native_path("\xFF").empty());
  CHECK(::GetLastError() == ERROR_NO_UNICODE_TRANSLATION);
}

TEST_CASE("a handle is closed with its owner", "[file_handle]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "file", {});
  DWORD flags = 0;
  void* number = nullptr;
  {
    nibble::file_handle first = nibble::system_calls::open_to_read(folder / "file");
    REQUIRE(first.is_open());
    number = first.get();
    const nibble::file_handle second(std::move(first));
    CHECK_FALSE(first.is_open());  // NOLINT: what is left behind is the point
    CHECK(second.get() == number);
    CHECK(::GetHandleInformation(number, &flags) != 0);
    CHECK((flags & HANDLE_FLAG_INHERIT) == 0);
  }
  CHECK(::GetHandleInformation(number, &flags) == 0);
  CHECK_FALSE(nibble::file_handle(INVALID_HANDLE_VALUE).is_open());
  CHECK_FALSE(nibble::file_handle().is_open());
}
