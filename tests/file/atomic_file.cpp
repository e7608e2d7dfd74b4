#include <nibble/file/atomic_file.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <nibble/file/input_file.hpp>

#include <file/observed_calls.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/passed_by.hpp>
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

/// A reader that lets others go on writing, renaming and removing, as on POSIX systems all do.
std::vector<std::byte> shared_read(const std::string& path) {
#if defined(_WIN32)
  const nibble::input_file file(path, nibble::file_access::read);
  return {file.bytes().begin(), file.bytes().end()};
#else
  return nibble_test::read_file(path);
#endif
}

/// Whether an error says that others are in the way: another writer or, where Windows replaces no file
/// that is open, a reader.
bool is_told(const nibble_test::outcome& result) {
#if defined(_WIN32)
  if (missing_parts(result.message, {"rename", "open or mapped elsewhere"}).empty()) return true;
#endif
  return result.code == "already_being_written";
}

#if !defined(_WIN32)
mode_t mode_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}
#endif

const std::vector<std::byte> old_bytes = nibble_test::bytes_of("what stood there before");
const std::vector<std::byte> new_bytes = nibble_test::random_bytes(10'000, 1);

}  // namespace

TEST_CASE("a file appears with commit and not before", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  {
    atomic_file file(path, new_bytes.size());
    file.write_at(0, new_bytes);
    CHECK_FALSE(fs::exists(path));
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file.nibble-partial"});
    file.commit();
    CHECK(nibble_test::read_file(path) == new_bytes);
  }
  CHECK(nibble_test::read_file(path) == new_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("writes land at their offsets in any order, and holes are zeros", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  {
    atomic_file file(folder / "file", 20);
    file.write_at(16, std::span(new_bytes).first(4));
    file.write_at(2, std::span(new_bytes).subspan(100, 3));
    file.write_at(5, {});
    file.commit();
  }
  std::vector<std::byte> expected(20);
  std::copy_n(new_bytes.begin(), 4, expected.begin() + 16);
  std::copy_n(new_bytes.begin() + 100, 3, expected.begin() + 2);
  CHECK(nibble_test::read_file(folder / "file") == expected);
}

TEST_CASE("a file of no bytes is possible", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  replace(folder / "file", {});
  CHECK(nibble_test::read_file(folder / "file").empty());
}

TEST_CASE("without commit the old file stays and nothing else does", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  {
    atomic_file file(path, new_bytes.size());
    file.write_at(0, new_bytes);
    CHECK(nibble_test::read_file(path) == old_bytes);
  }
  CHECK(nibble_test::read_file(path) == old_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("two writers to a path do not meet", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  {
    atomic_file first(path, new_bytes.size());
    first.write_at(0, new_bytes);
    const auto second = outcome_of([&] { atomic_file(path, 5); });
    CHECK(second.code == "already_being_written");
    CHECK(missing_parts(second.message, {path, ".nibble-partial", "another writer"}).empty());
    first.commit();
  }
  CHECK(nibble_test::read_file(path) == new_bytes);
  replace(path, old_bytes);
  CHECK(nibble_test::read_file(path) == old_bytes);
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("a writer in another process is seen as well", "[atomic_file]",
                           "fork; file/windows/atomic_file.cpp starts a program")
#else
TEST_CASE("a writer in another process is seen as well", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  int to_parent[2];
  REQUIRE(::pipe(to_parent) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    atomic_file file(path, 100);
    const char ready = 'r';
    if (::write(to_parent[1], &ready, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char ready = 0;
  REQUIRE(::read(to_parent[0], &ready, 1) == 1);
  CHECK(outcome_of([&] { atomic_file(path, 5); }).code == "already_being_written");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(to_parent[0]);
  ::close(to_parent[1]);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file.nibble-partial"});
  replace(path, new_bytes);
  CHECK(nibble_test::read_file(path) == new_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}
#endif

TEST_CASE("a dead writer's longer partial file leaves no byte in the next file", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path + ".nibble-partial", nibble_test::random_bytes(50'000, 9));
  {
    atomic_file file(path, 300);
    file.write_at(290, std::span(new_bytes).first(10));
    file.commit();
  }
  std::vector<std::byte> expected(300);
  std::copy_n(new_bytes.begin(), 10, expected.begin() + 290);
  CHECK(nibble_test::read_file(path) == expected);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("a partial file that is a link is not followed", "[atomic_file]",
                           "symbolic links")
#else
TEST_CASE("a partial file that is a link is not followed", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "precious", old_bytes);
  fs::create_symlink(folder / "precious", folder / "file.nibble-partial");
  const auto result = outcome_of([&] { replace(folder / "file", new_bytes); });
  CHECK(result.code == "write_failed");
  CHECK(nibble_test::read_file(folder / "precious") == old_bytes);
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("the file behind a symbolic link is replaced and the link stays",
                           "[atomic_file]", "symbolic links")
NIBBLE_PASSED_BY_TEST_CASE("a symbolic link to nothing yet gets its file and stays a link",
                           "[atomic_file]", "symbolic links")
NIBBLE_PASSED_BY_TEST_CASE("symbolic links in a circle are refused", "[atomic_file]", "symbolic links")
#else
TEST_CASE("the file behind a symbolic link is replaced and the link stays", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  fs::create_directory(folder / "real");
  nibble_test::write_file(folder / "real/file", old_bytes);
  fs::create_symlink("real/file", folder / "link");
  fs::create_symlink("link", folder / "second");
  replace(folder / "second", new_bytes);
  CHECK(fs::is_symlink(folder / "second"));
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(fs::read_symlink(folder / "link") == "real/file");
  CHECK_FALSE(fs::is_symlink(folder / "real/file"));
  CHECK(nibble_test::read_file(folder / "real/file") == new_bytes);
  CHECK(names_in(folder / "real") == std::vector<std::string>{"file"});
}

TEST_CASE("a symbolic link to nothing yet gets its file and stays a link", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  fs::create_directory(folder / "real");
  fs::create_symlink("real/file", folder / "link");
  fs::create_symlink(folder / "link", folder / "second");
  replace(folder / "second", new_bytes);
  CHECK(fs::is_symlink(folder / "second"));
  CHECK(fs::is_symlink(folder / "link"));
  CHECK(nibble_test::read_file(folder / "link") == new_bytes);
  CHECK(names_in(folder / "real") == std::vector<std::string>{"file"});
}

TEST_CASE("symbolic links in a circle are refused", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  fs::create_symlink("second", folder / "first");
  fs::create_symlink("first", folder / "second");
  CHECK(outcome_of([&] { replace(folder / "first", new_bytes); }).code == "write_failed");
  CHECK(names_in(folder.path()) == std::vector<std::string>{"first", "second"});
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("an existing file's permissions are kept", "[atomic_file]", "modes of files")
NIBBLE_PASSED_BY_TEST_CASE("a new file has the permissions that the process gives", "[atomic_file]",
                           "modes of files")
#else
TEST_CASE("an existing file's permissions are kept", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  for (const mode_t mode : {0600U, 0640U, 0444U, 0755U}) {
    CAPTURE(mode);
    nibble_test::write_file(path, old_bytes);
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    {
      atomic_file file(path, 3);
      // Before the rename nobody reads the new bytes who could not read the old ones.
      CHECK((mode_of(path + ".nibble-partial") & 0077U & ~mode) == 0);
      file.write_at(0, std::span(new_bytes).first(3));
      file.commit();
    }
    CHECK(mode_of(path) == mode);
    fs::remove(path);
  }
}

TEST_CASE("a new file has the permissions that the process gives", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const mode_t before = ::umask(027);
  replace(folder / "file", new_bytes);
  ::umask(before);
  CHECK(mode_of(folder / "file") == 0640);
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE(
    "what is no regular file is not replaced", "[atomic_file]",
    "names and texts of POSIX; file/windows/atomic_file.cpp has those of Windows")
NIBBLE_PASSED_BY_TEST_CASE(
    "a folder that cannot take the file says why", "[atomic_file]",
    "names and texts of POSIX; file/windows/atomic_file.cpp has those of Windows")
#else
TEST_CASE("what is no regular file is not replaced", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  fs::create_directory(folder / "inner");
  const auto directory = outcome_of([&] { replace(folder / "inner", new_bytes); });
  CHECK(directory.code == "write_failed");
  CHECK(missing_parts(directory.message, {folder / "inner", "a directory", "a regular file"}).empty());
  const auto device = outcome_of([] { replace("/dev/full", new_bytes); });
  CHECK(device.code == "write_failed");
  CHECK(missing_parts(device.message, {"/dev/full", "a special file"}).empty());
  CHECK(names_in(folder.path()) == std::vector<std::string>{"inner"});
  CHECK_FALSE(fs::exists("/dev/full.nibble-partial"));
}

TEST_CASE("a folder that cannot take the file says why", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const auto missing = outcome_of([&] { replace(folder / "none/file", new_bytes); });
  CHECK(missing.code == "write_failed");
  CHECK(missing_parts(missing.message, {folder / "none/file", "open", "No such file"}).empty());

  nibble_test::write_file(folder / "file", old_bytes);
  const auto through_file = outcome_of([&] { replace(folder / "file/inside", new_bytes); });
  CHECK(through_file.code == "write_failed");
  CHECK(missing_parts(through_file.message, {"Not a directory"}).empty());

  if (::geteuid() == 0) return;  // root writes everywhere
  fs::create_directory(folder / "locked");
  fs::permissions(folder / "locked", fs::perms::owner_read | fs::perms::owner_exec);
  const auto locked = outcome_of([&] { replace(folder / "locked/file", new_bytes); });
  fs::permissions(folder / "locked", fs::perms::owner_all);
  CHECK(locked.code == "write_failed");
  CHECK(missing_parts(locked.message, {"Permission denied"}).empty());
}
#endif

TEST_CASE("a size that no file can have is refused", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  nibble_test::write_file(folder / "file", old_bytes);
  for (const std::uint64_t size : {std::numeric_limits<std::uint64_t>::max(), std::uint64_t{1} << 63U,
                                   (std::uint64_t{1} << 63U) - 1}) {
    CHECK(outcome_of([&] { atomic_file(folder / "file", size); }).code == "write_failed");
  }
  CHECK(nibble_test::read_file(folder / "file") == old_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("no room is found before the first byte is written", "[atomic_file]",
                           "limits of a process")
NIBBLE_PASSED_BY_TEST_CASE("a write past the limit of the disk throws and leaves the old file",
                           "[atomic_file]", "limits of a process")
#else
TEST_CASE("no room is found before the first byte is written", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  // In a child: a process's limit cannot be raised again.
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4096, 4096};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(9);
    const auto result = outcome_of([&] { atomic_file(path, 8192); });
    const bool as_expected =
        result.code == "write_failed" && missing_parts(result.message, {path, "too large"}).empty();
    ::_exit(as_expected ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(nibble_test::read_file(path) == old_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a write past the limit of the disk throws and leaves the old file", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, old_bytes);
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const auto result = outcome_of([&] {
      atomic_file file(path, 100);
      const rlimit limit{4096, 4096};
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(9);
      file.write_at(0, new_bytes);
      file.commit();
    });
    const bool as_expected =
        result.code == "write_failed" && missing_parts(result.message, {path, "write"}).empty();
    ::_exit(as_expected ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(nibble_test::read_file(path) == old_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}
#endif

TEST_CASE("a path without a folder is a file here", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  const auto result = outcome_of([] { replace("bare", new_bytes); });
  fs::current_path(before);
  CHECK(result.code == "taken");
  CHECK(nibble_test::read_file(folder / "bare") == new_bytes);
}

TEST_CASE("several files appear together, the first of them last", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const auto content = [&](const char* name) {
    const auto bytes = nibble_test::read_file(folder / name);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  const auto write = [&](nibble::atomic_file& file, const char* text) {
    file.write_at(0, std::as_bytes(std::span(text, 3)));
  };
  for (const char* const text : {"one", "two"}) {
    nibble::atomic_file a(folder / "a", 3);
    nibble::atomic_file b(folder / "b", 3);
    nibble::atomic_file c(folder / "c", 3);
    for (nibble::atomic_file* const file : {&a, &b, &c}) write(*file, text);
    const std::array<nibble::atomic_file*, 3> set{&a, &b, &c};
    nibble::atomic_file::commit_set(set);
    for (const char* const name : {"a", "b", "c"}) CHECK(content(name) == text);
  }

  // Where one of them cannot be renamed there is no first file, rather than an old one.
  {
    nibble::atomic_file a(folder / "a", 3);
    nibble::atomic_file b(folder / "b", 3);
    write(a, "new");
    write(b, "new");
    std::filesystem::remove(folder / "b");
    std::filesystem::create_directory(folder / "b");
    const std::array<nibble::atomic_file*, 2> set{&a, &b};
    CHECK(nibble_test::code_of([&] { nibble::atomic_file::commit_set(set); }) ==
          nibble::error_code::write_failed);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "a"));
  CHECK(content("c") == "two");
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    CHECK(entry.path().filename().string().find(".nibble-partial") == std::string::npos);
    ++files;
  }
  CHECK(files == 2);
  nibble::atomic_file::commit_set({});
}

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("a file is synced before it is renamed, its directory after",
                           "[atomic_file]", "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("a set is synced whole before the first old file goes", "[atomic_file]",
                           "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("whichever call fails, the old file stays whole and nothing else does",
                           "[atomic_file]", "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("a directory that cannot be synced is told, after the new file is there",
                           "[atomic_file]", "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("calls that signals interrupt are made again", "[atomic_file]",
                           "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("a leftover goes where only files open for writing can be locked",
                           "[atomic_file]", "calls of the system that are made to fail")
NIBBLE_PASSED_BY_TEST_CASE("where nothing can be locked, no other writer's half of a file is published",
                           "[atomic_file]", "calls of the system that are made to fail")
#else
namespace {

/// Leaves a test that looks on while the system is called where that cannot be done.
#define NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY()                              \
  if (!nibble_test::observed_calls::is_possible()) {                            \
    WARN("passed by: calls of the system cannot be looked at or made to fail"); \
    return;                                                                     \
  }                                                                             \
  static_assert(true)

}  // namespace

TEST_CASE("a file is synced before it is renamed, its directory after", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string inside = folder.path().filename();
  nibble_test::write_file(folder / "file", old_bytes);
  const nibble_test::observed_calls observed;
  replace(folder / "file", std::span(new_bytes).first(3));
  CHECK(observed.list() ==
        std::vector<std::string>{"flock file.nibble-partial", "pwrite file.nibble-partial",
                                 "pwrite file.nibble-partial", "fsync file.nibble-partial",
                                 "rename file.nibble-partial file", "fsync " + inside});
}

TEST_CASE("a set is synced whole before the first old file goes", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string sync_inside = "fsync " + folder.path().filename().string();
  for (const char* const name : {"a", "b", "c"}) nibble_test::write_file(folder / name, old_bytes);
  atomic_file a(folder / "a", 0);
  atomic_file b(folder / "b", 0);
  atomic_file c(folder / "c", 0);
  const std::array<atomic_file*, 3> set{&a, &b, &c};
  const nibble_test::observed_calls observed;
  atomic_file::commit_set(set);
  CHECK(observed.list() == std::vector<std::string>{"fsync a.nibble-partial", "fsync b.nibble-partial",
                                                    "fsync c.nibble-partial", "unlink a", sync_inside,
                                                    "rename b.nibble-partial b", sync_inside,
                                                    "rename c.nibble-partial c", sync_inside,
                                                    "rename a.nibble-partial a", sync_inside});
}

TEST_CASE("whichever call fails, the old file stays whole and nothing else does", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  struct row {
    std::string call;
    std::string named;
    std::size_t when;
  };
  // The second piece of what is written: some bytes are there by then.
  const std::vector<row> rows = {{"flock", "flock", 1},
                                 {"pwrite", "write", 2},
                                 {"fsync file", "fsync", 1},
                                 {"rename", "rename", 1}};
  for (const row& failing : rows) {
    for (const int number : {EIO, ENOSPC, EDQUOT}) {
      CAPTURE(failing.call, number);
      nibble_test::write_file(path, old_bytes);
      nibble_test::outcome result;
      std::size_t seen = 0;
      {
        const nibble_test::observed_calls observed([&](const std::string& call) {
          return call.starts_with(failing.call) && ++seen == failing.when ? number : 0;
        });
        result = outcome_of([&] { replace(path, new_bytes); });
      }
      CHECK(result.code == "write_failed");
      CHECK(missing_parts(result.message, {path, failing.named, std::system_category().message(number)})
                .empty());
      CHECK(nibble_test::read_file(path) == old_bytes);
      CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
    }
  }
}

TEST_CASE("a directory that cannot be synced is told, after the new file is there", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  const std::string sync_inside = "fsync " + folder.path().filename().string();
  for (const int number : {EIO, EINVAL}) {
    CAPTURE(number);
    nibble_test::write_file(path, old_bytes);
    nibble_test::outcome result;
    {
      const nibble_test::observed_calls observed(
          [&](const std::string& call) { return call == sync_inside ? number : 0; });
      result = outcome_of([&] { replace(path, new_bytes); });
    }
    // EINVAL is how file systems say that their directories need none.
    CHECK(result.code == (number == EINVAL ? "taken" : "write_failed"));
    CHECK(nibble_test::read_file(path) == new_bytes);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
}

TEST_CASE("calls that signals interrupt are made again", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  std::size_t turn = 0;
  {
    const nibble_test::observed_calls observed([&](const std::string& call) {
      const bool may_be_interrupted = call.starts_with("flock") || call.starts_with("pwrite");
      return may_be_interrupted && turn++ % 3 != 2 ? EINTR : 0;
    });
    replace(folder / "file", new_bytes);
  }
  CHECK(turn > 30);
  CHECK(nibble_test::read_file(folder / "file") == new_bytes);
}

TEST_CASE("a leftover goes where only files open for writing can be locked", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path + ".nibble-partial", old_bytes);
  nibble_test::outcome result;
  {
    // As NFS does, whose locks are those of fcntl.
    const nibble_test::observed_calls observed([&](const std::string& call) {
      if (!call.starts_with("flock")) return 0;
      for (int descriptor = 3; descriptor < 1024; ++descriptor) {
        std::error_code ignored;
        const auto name =
            fs::read_symlink("/proc/self/fd/" + std::to_string(descriptor), ignored).filename();
        if (name != "file.nibble-partial") continue;
        return (::fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_RDONLY ? EBADF : 0;
      }
      return ENOENT;
    });
    result = outcome_of([&] { replace(path, new_bytes); });
  }
  CHECK(result.code == "taken");
  CHECK(nibble_test::read_file(path) == new_bytes);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("where nothing can be locked, no other writer's half of a file is published",
          "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  const std::string partial = path + ".nibble-partial";
  nibble_test::write_file(path, old_bytes);
  for (const int number : {ENOSYS, EOPNOTSUPP, ENOLCK}) {
    CAPTURE(number);
    const nibble_test::observed_calls observed(
        [&](const std::string& call) { return call.starts_with("flock") ? number : 0; });
    atomic_file first(path, new_bytes.size());
    first.write_at(0, new_bytes);
    {
      atomic_file second(path, 5);
      const auto result = outcome_of([&] { first.commit(); });
      CHECK(result.code == "write_failed");
      CHECK(missing_parts(result.message, {path, ".nibble-partial", "another file"}).empty());
      CHECK(nibble_test::read_file(path) == old_bytes);
      CHECK(fs::exists(partial));  // the second one's
    }
    CHECK_FALSE(fs::exists(partial));
    CHECK(nibble_test::read_file(path) == old_bytes);
  }
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("a writer removes no partial file but its own", "[atomic_file]",
                           "a name that is free while its file is open")
#else
TEST_CASE("a writer removes no partial file but its own", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string partial = folder / "file.nibble-partial";
  {
    const atomic_file file(folder / "file", 5);
    fs::remove(partial);
    nibble_test::write_file(partial, old_bytes);
  }
  CHECK(nibble_test::read_file(partial) == old_bytes);
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("leftovers of files that are meant go, and nothing else does",
                           "[atomic_file]",
                           "symbolic links and pipes; file/windows/atomic_file.cpp has the rest")
#else
TEST_CASE("leftovers of files that are meant go, and nothing else does", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const nibble_test::temporary_directory elsewhere;
  const auto leave = [&](const std::string& name) {
    nibble_test::write_file(folder / name, old_bytes);
  };
  for (const char* const name :
       {"left.nibble-partial", "left", "other.nibble-partial", "left.nibble-partial.nibble-partial",
        "left.nibble-partial2", ".nibble-partial"}) {
    leave(name);
  }
  fs::create_directory(folder / "folder.nibble-partial");
  REQUIRE(::mkfifo((folder / "pipe.nibble-partial").c_str(), 0600) == 0);
  fs::create_symlink(folder / "left", folder / "link.nibble-partial");
  // What is written over links lies beside what they point to; some lead nowhere.
  fs::create_symlink(elsewhere / "real", folder / "linked");
  fs::create_symlink(elsewhere.path() / "none" / "real", folder / "dangling");
  fs::create_symlink("circle", folder / "circle");
  fs::create_symlink(elsewhere.path(), folder / "linked folder");
  nibble_test::write_file(elsewhere / "real.nibble-partial", old_bytes);
  nibble_test::write_file(elsewhere / "real", old_bytes);
  const atomic_file live(folder / "live", 5);
  std::vector<std::string> expected = names_in(folder.path());
  std::erase(expected, "left.nibble-partial");

  std::vector<std::string> asked;
  atomic_file::remove_leftovers(folder.path(), [&](const std::string& name) {
    asked.push_back(name);
    return name != "other" && !name.ends_with(".nibble-partial") && !name.empty();
  });
  CHECK(names_in(folder.path()) == expected);
  CHECK(names_in(elsewhere.path()) == std::vector<std::string>{"real"});
  CHECK(nibble_test::read_file(folder / "left") == old_bytes);
  CHECK(std::ranges::count(asked, "live") == 1);
  CHECK(std::ranges::count(asked, "linked") == 1);

  // A folder that is not there holds none.
  atomic_file::remove_leftovers(folder.path() / "none", [](const std::string&) { return true; });
  const fs::path here = fs::current_path();
  fs::current_path(folder.path());
  atomic_file::remove_leftovers({}, [](const std::string& name) { return name == "other"; });
  fs::current_path(here);
  CHECK_FALSE(fs::exists(folder / "other.nibble-partial"));
}
#endif

#if defined(_WIN32)
NIBBLE_PASSED_BY_TEST_CASE("where nothing can be locked, no leftover of another file is told",
                           "[atomic_file]", "calls of the system that are made to fail")
#else
TEST_CASE("where nothing can be locked, no leftover of another file is told", "[atomic_file]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string partial = folder / "file.nibble-partial";
  nibble_test::write_file(partial, old_bytes);
  const auto all = [](const std::string&) { return true; };
  for (const int number : {ENOSYS, EOPNOTSUPP, ENOLCK, EWOULDBLOCK, EBADF}) {
    CAPTURE(number);
    const nibble_test::observed_calls observed(
        [&](const std::string& call) { return call.starts_with("flock") ? number : 0; });
    atomic_file::remove_leftovers(folder.path(), all);
    CHECK(fs::exists(partial));
  }
  atomic_file::remove_leftovers(folder.path(), all);
  CHECK_FALSE(fs::exists(partial));
}
#endif

TEST_CASE("of threads that write to one path at once each writes whole or is told", "[atomic_file]") {
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  constexpr std::size_t file_bytes = 40'000;
  std::atomic<std::size_t> written{0};
  std::atomic<std::size_t> refused{0};
  std::atomic<std::size_t> failed{0};
  std::atomic<std::size_t> torn{0};
  std::vector<std::thread> threads;
  for (unsigned thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&, thread] {
      const std::vector<std::byte> bytes(file_bytes, static_cast<std::byte>(thread + 1));
      for (int turn = 0; turn < 60; ++turn) {
        const auto result = outcome_of([&] { replace(path, bytes); });
        ++(result.code == "taken" ? written : is_told(result) ? refused : failed);
        if (!fs::exists(path)) continue;
        const auto found = shared_read(path);
        const bool is_whole = found.size() == file_bytes &&
                              std::ranges::all_of(found, [&](std::byte b) { return b == found[0]; });
        if (!is_whole) ++torn;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(written > 0);
  CHECK(written + refused == 360);
  CHECK(failed == 0);
  CHECK(torn == 0);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}
