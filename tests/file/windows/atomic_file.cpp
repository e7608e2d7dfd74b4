#include <nibble/file/atomic_file.hpp>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <windows.h>

#include <nibble/file/input_file.hpp>

#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

using nibble::atomic_file;
using nibble_test::missing_parts;
using nibble_test::names_in;
using nibble_test::outcome_of;
namespace fs = std::filesystem;

namespace {

void replace(const std::string& path, std::span<const std::byte> bytes) {
  atomic_file file(path, bytes.size());
  file.write_at(0, bytes);
  file.commit();
}

std::string text_of(int reason) { return std::system_category().message(reason); }

nibble::file_handle open(const std::string& path, DWORD share) {
  return nibble::file_handle(::CreateFileW(nibble::windows::native_path(path).c_str(), GENERIC_READ,
                                           share, nullptr, OPEN_EXISTING, 0, nullptr));
}

const std::vector<std::byte> old_bytes = nibble_test::bytes_of("what stood there before");
const std::vector<std::byte> new_bytes = nibble_test::random_bytes(10'000, 1);

}  // namespace

// Run by the test below, in a process of its own.
TEST_CASE("hold the lock of a file until killed", "[.][holds_lock]") {
  const char* const folder = std::getenv("NIBBLE_TEST_FOLDER");
  REQUIRE(folder != nullptr);
  const atomic_file file(std::string(folder) + "/file", 100);
  nibble_test::write_file(std::string(folder) + "/ready", {});
  ::Sleep(60'000);
}

TEST_CASE("a writer in another process is seen, and its leftover goes when it is killed",
          "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  std::wstring program(32768, L'\0');
  program.resize(::GetModuleFileNameW(nullptr, program.data(), 32768));
  std::wstring line = L"\"" + program + L"\" [holds_lock]";
  REQUIRE(::SetEnvironmentVariableW(L"NIBBLE_TEST_FOLDER", folder.path().c_str()) != 0);
  STARTUPINFOW start{};
  start.cb = sizeof(start);
  PROCESS_INFORMATION child{};
  REQUIRE(::CreateProcessW(program.c_str(), line.data(), nullptr, nullptr, FALSE, 0, nullptr, nullptr,
                           &start, &child) != 0);
  for (int turn = 0; turn < 3000 && !fs::exists(folder.path() / "ready"); ++turn) ::Sleep(10);
  const auto refused = outcome_of([&] { atomic_file(path, 5); });
  CHECK(refused.code == "already_being_written");
  CHECK(missing_parts(refused.message, {".nibble-partial", "another writer"}).empty());
  // The live writer's file is no leftover.
  atomic_file::remove_leftovers(folder.path(), [](const std::string&) { return true; });
  CHECK(fs::exists(folder.path() / "file.nibble-partial"));
  ::TerminateProcess(child.hProcess, 1);
  ::WaitForSingleObject(child.hProcess, 10'000);
  ::CloseHandle(child.hProcess);
  ::CloseHandle(child.hThread);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file.nibble-partial", "ready"});
  replace(path, new_bytes);
  CHECK(nibble_test::read_file(path) == new_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file", "ready"});
}

TEST_CASE("directories and devices are not replaced", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  fs::create_directory(folder / "inner");
  const auto directory = outcome_of([&] { replace(folder / "inner", new_bytes); });
  CHECK(directory.code == "write_failed");
  CHECK(missing_parts(directory.message, {"inner", "a directory", "a regular file"}).empty());
  const auto device = outcome_of([] { replace("NUL", new_bytes); });
  CHECK(device.code == "write_failed");
  CHECK(missing_parts(device.message, {"NUL", "a special file"}).empty());
  CHECK(names_in(folder.path()) == std::vector<std::string>{"inner"});
}

TEST_CASE("a folder that is not there says why, by the system's reason", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const auto missing = outcome_of([&] { replace(folder / "none/file", new_bytes); });
  CHECK(missing.code == "write_failed");
  CHECK(missing_parts(missing.message, {"none", "open", text_of(ERROR_PATH_NOT_FOUND)}).empty());
}

TEST_CASE("a mapped file is replaced, or the error says who is in the way", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  const nibble::input_file mapped(path, nibble::file_access::mapped);
  const auto result = outcome_of([&] { replace(path, new_bytes); });
  if (result.code == "taken") {
    CHECK(nibble_test::read_file(path) == new_bytes);
  } else {
    CHECK(result.code == "write_failed");
    CHECK(missing_parts(result.message, {"file", "rename", "open or mapped"}).empty());
    CHECK(nibble_test::read_file(path) == old_bytes);
  }
  // Either way whoever has it mapped keeps what was there.
  CHECK(std::ranges::equal(mapped.bytes(), old_bytes));
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a file that is read piece by piece is replaced, or the error says who is in the way",
          "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  const nibble::file_handle reader = nibble::system_calls::open_to_read(path);
  const auto result = outcome_of([&] { replace(path, new_bytes); });
  CHECK((result.code == "taken" || result.code == "write_failed"));
  std::vector<std::byte> read(old_bytes.size());
  CHECK(nibble::system_calls::read_at(reader, 0, read).count_bytes == read.size());
  CHECK(read == old_bytes);
  CHECK(nibble_test::read_file(path) == (result.code == "taken" ? new_bytes : old_bytes));
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a file that another holds for itself is not replaced, and the error says so",
          "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  {
    const nibble::file_handle held = open(path, FILE_SHARE_READ);
    REQUIRE(held.is_open());
    const auto result = outcome_of([&] { replace(path, new_bytes); });
    CHECK(result.code == "write_failed");
    CHECK(missing_parts(result.message, {"rename", "not open or mapped elsewhere"}).empty());
    CHECK(nibble_test::read_file(path) == old_bytes);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
  replace(path, new_bytes);
  CHECK(nibble_test::read_file(path) == new_bytes);
}

TEST_CASE("who may read the old file may read the new one", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  const auto access_list = [&] {
    std::vector<std::byte> list(4096);
    DWORD bytes = 0;
    REQUIRE(::GetFileSecurityW(nibble::windows::native_path(path).c_str(), DACL_SECURITY_INFORMATION,
                               list.data(), 4096, &bytes) != 0);
    list.resize(bytes);
    return list;
  };
  const auto before = access_list();
  replace(path, new_bytes);
  CHECK(access_list() == before);
}

TEST_CASE("leftovers of files that are meant go, and folders and others do not", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  for (const char* const name : {"left.nibble-partial", "left", "other.nibble-partial",
                                 "left.nibble-partial2", ".nibble-partial"}) {
    nibble_test::write_file(folder / name, old_bytes);
  }
  fs::create_directory(folder / "folder.nibble-partial");
  const atomic_file live(folder / "live", 5);
  std::vector<std::string> expected = names_in(folder.path());
  std::erase(expected, "left.nibble-partial");
  atomic_file::remove_leftovers(folder.path(), [&](const std::string& name) {
    return name != "other" && !name.ends_with(".nibble-partial") && !name.empty();
  });
  CHECK(names_in(folder.path()) == expected);
  atomic_file::remove_leftovers(folder.path() / "none", [](const std::string&) { return true; });
}

TEST_CASE("a file can be opened by anybody as soon as it is there", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  atomic_file file(folder / "file", 3);
  file.write_at(0, std::span(new_bytes).first(3));
  file.commit();
  CHECK(open(folder / "file", 0).is_open());
}
