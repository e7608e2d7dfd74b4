#include <nibble/file/input_file.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if !defined(_WIN32)
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/passed_by.hpp>
#include <support/random_values.hpp>

using nibble::input_file;
using nibble_test::missing_parts;
using nibble_test::outcome_of;

static_assert(!std::is_copy_constructible_v<input_file>);

TEST_CASE("a file's bytes come as they are, mapped or read", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "bytes";
  for (const std::size_t size : {1U, 4U, 4095U, 4096U, 4097U, 300'000U}) {
    const auto bytes = nibble_test::random_bytes(size, static_cast<std::uint32_t>(size));
    nibble_test::write_file(path, bytes);
    for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
      const input_file file(path, how);
      CHECK(std::ranges::equal(file.bytes(), bytes));
    }
  }
}

TEST_CASE("an empty file has no bytes", "[input_file]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "empty", {});
  CHECK(input_file(folder / "empty", nibble::file_access::mapped).bytes().empty());
  CHECK(input_file(folder / "empty", nibble::file_access::read).bytes().empty());
  CHECK(input_file().bytes().empty());
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE(
    "a file that is not there is not found, by name and reason", "[input_file]",
    "names and texts of POSIX; file/windows/system_calls.cpp has those of Windows")
NIBBLE_PASSED_BY_TEST_CASE(
    "what is no regular file is not read", "[input_file]",
    "names and texts of POSIX; file/windows/system_calls.cpp has those of Windows")
NIBBLE_PASSED_BY_TEST_CASE(
    "a path through a file fails with the system's reason", "[input_file]",
    "names and texts of POSIX; file/windows/system_calls.cpp has those of Windows")
NIBBLE_PASSED_BY_TEST_CASE(
    "a file without read permission fails with the system's reason", "[input_file]",
    "names and texts of POSIX; file/windows/system_calls.cpp has those of Windows")
NIBBLE_PASSED_BY_TEST_CASE(
    "a pipe that nobody writes to is refused rather than waited for", "[input_file]",
    "names and texts of POSIX; file/windows/system_calls.cpp has those of Windows")
#else
TEST_CASE("a file that is not there is not found, by name and reason", "[input_file]") {
  const nibble_test::temporary_directory folder;
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    const auto result = outcome_of([&] { input_file(folder / "none", how); });
    CHECK(result.code == "file_not_found");
    CHECK(missing_parts(result.message, {folder / "none", "open", "No such file"}).empty());
  }
}

TEST_CASE("what is no regular file is not read", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const auto directory =
      outcome_of([&] { input_file(folder.path().string(), nibble::file_access::mapped); });
  CHECK(directory.code == "read_failed");
  CHECK(missing_parts(directory.message, {"a directory", "a regular file"}).empty());
  const auto device = outcome_of([] { input_file("/dev/null", nibble::file_access::read); });
  CHECK(device.code == "read_failed");
  CHECK(missing_parts(device.message, {"/dev/null", "a special file"}).empty());
}

TEST_CASE("a path through a file fails with the system's reason", "[input_file]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "file", nibble_test::random_bytes(3, 1));
  const auto result =
      outcome_of([&] { input_file(folder / "file/inside", nibble::file_access::mapped); });
  CHECK(result.code == "read_failed");
  CHECK(missing_parts(result.message, {"file/inside", "Not a directory"}).empty());
}

TEST_CASE("a file without read permission fails with the system's reason", "[input_file]") {
  if (::geteuid() == 0) return;  // root reads everything
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "secret", nibble_test::random_bytes(3, 1));
  ::chmod((folder / "secret").c_str(), 0);
  const auto result = outcome_of([&] { input_file(folder / "secret", nibble::file_access::mapped); });
  CHECK(result.code == "read_failed");
  CHECK(missing_parts(result.message, {"Permission denied"}).empty());
}

TEST_CASE("a pipe that nobody writes to is refused rather than waited for", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "pipe";
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      input_file(path, nibble::file_access::mapped);
    } catch (const nibble::error& thrown) {
      status = thrown.code() == nibble::error_code::read_failed ? 0 : 2;
    }
    ::_exit(status);
  }
  int status = -1;
  for (int turn = 0; turn < 1000 && ::waitpid(child, &status, WNOHANG) == 0; ++turn) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (status == -1) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("a moved file keeps its bytes where they are", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const auto bytes = nibble_test::random_bytes(5000, 3);
  const auto others = nibble_test::random_bytes(70, 4);
  nibble_test::write_file(folder / "bytes", bytes);
  nibble_test::write_file(folder / "others", others);
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    input_file first(folder / "bytes", how);
    const std::byte* const before = first.bytes().data();
    input_file second(std::move(first));
    CHECK(second.bytes().data() == before);
    CHECK(first.bytes().empty());  // NOLINT: what is left behind is the point
    input_file third(folder / "others", how);
    third = std::move(second);
    CHECK(third.bytes().data() == before);
    CHECK(std::ranges::equal(third.bytes(), bytes));
    third = input_file();
    CHECK(third.bytes().empty());
  }
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE(
    "a mapping outlives the file's replacement", "[input_file]",
    "std::filesystem renames; file/windows/atomic_file.cpp replaces a mapped file")
#else
TEST_CASE("a mapping outlives the file's replacement", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const auto bytes = nibble_test::random_bytes(5000, 3);
  nibble_test::write_file(folder / "bytes", bytes);
  const input_file file(folder / "bytes", nibble::file_access::mapped);
  nibble_test::write_file(folder / "next", nibble_test::random_bytes(10, 5));
  std::filesystem::rename(folder / "next", folder / "bytes");
  CHECK(std::ranges::equal(file.bytes(), bytes));
}
#endif

TEST_CASE("bytes that were read do not change with the file", "[input_file]") {
  const nibble_test::temporary_directory folder;
  const auto bytes = nibble_test::random_bytes(5000, 3);
  nibble_test::write_file(folder / "bytes", bytes);
  const input_file file(folder / "bytes", nibble::file_access::read);
  std::filesystem::resize_file(folder / "bytes", 0);
  CHECK(std::ranges::equal(file.bytes(), bytes));
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("opening files leaves no descriptor behind", "[input_file]", "descriptors")
#else
TEST_CASE("opening files leaves no descriptor behind", "[input_file]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "bytes", nibble_test::random_bytes(10, 3));
  const int before = ::dup(1);
  ::close(before);
  {
    const input_file mapped(folder / "bytes", nibble::file_access::mapped);
    const input_file read(folder / "bytes", nibble::file_access::read);
    static_cast<void>(
        outcome_of([&] { input_file(folder.path().string(), nibble::file_access::read); }));
    const int after = ::dup(1);
    ::close(after);
    CHECK(after == before);
  }
}
#endif
