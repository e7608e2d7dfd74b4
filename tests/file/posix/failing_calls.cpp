#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include <nibble/file/atomic_file.hpp>
#include <nibble/file/byte_source.hpp>
#include <nibble/file/input_file.hpp>

#include <file/observed_calls.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

/// Every call that file/ makes of the system fails once, with every error that it may fail with.
namespace {

using nibble::atomic_file;
using nibble_test::missing_parts;
using nibble_test::names_in;
using nibble_test::observed_calls;
using nibble_test::outcome;
using nibble_test::outcome_of;
namespace fs = std::filesystem;

#define NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY()                              \
  if (!observed_calls::is_possible()) {                                         \
    WARN("passed by: calls of the system cannot be looked at or made to fail"); \
    return;                                                                     \
  }                                                                             \
  static_assert(true)

const std::vector<std::byte> old_bytes = nibble_test::bytes_of("what stood there before");
const std::vector<std::byte> new_bytes = nibble_test::random_bytes(1000, 1);

/// Files that this process has open.
std::size_t open_files() {
  const auto entries = fs::directory_iterator("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fs::begin(entries), fs::end(entries)));
}

/// More calls than any of the works here makes: beyond them it turns in a circle.
constexpr std::size_t most_calls = 2000;

/// A call that comes again and again without an end.
[[noreturn]] void end_of_a_circle(const std::string& call) {
  static_cast<void>(std::fprintf(stderr, "'%s' again and again\n", call.c_str()));
  std::_Exit(3);
}

struct failed_work {
  std::string call;  ///< that failed
  int number;        ///< that it failed with
  outcome result;
};

std::string_view kind_of(std::string_view call) { return call.substr(0, call.find(' ')); }

/// Lets `work`, which `prepare` makes ready each time, run once for each of its calls and each number,
/// with that call failing, and hands what came of it to `check`.
void fail_each_call(std::span<const int> numbers, const std::function<void()>& prepare,
                    const std::function<void()>& work,
                    const std::function<void(const failed_work&)>& check) {
  std::vector<std::string> calls;
  prepare();
  {
    const observed_calls observed;
    work();
    calls = observed.list_of_all();
  }
  REQUIRE(calls.size() > 2);
  const std::size_t open_before = open_files();
  for (std::size_t failing = 0; failing < calls.size(); ++failing) {
    for (const int number : numbers) {
      CAPTURE(failing, calls[failing], number);
      prepare();
      failed_work failed{calls[failing], number, {}};
      std::size_t seen = 0;
      {
        const observed_calls observed([&](const std::string& call) {
          if (seen > most_calls) end_of_a_circle(call);
          return seen++ == failing ? number : 0;
        });
        failed.result = outcome_of(work);
      }
      check(failed);
      CHECK(open_files() == open_before);
    }
  }
}

std::string reason(int number) { return std::system_category().message(number); }

/// What opens and reads a file: `work` reads it and compares it with new_bytes.
void require_reading_fails_by_name(const std::string& path, const std::function<void()>& work) {
  constexpr std::array numbers = {EIO, EINTR, ENOMEM, EACCES, ENOENT, ESTALE};
  const auto prepare = [&] { nibble_test::write_file(path, new_bytes); };
  fail_each_call(numbers, prepare, work, [&](const failed_work& failed) {
    const std::string_view kind = kind_of(failed.call);
    const bool is_made_again =
        failed.number == EINTR && (kind == "open" || kind == "read" || kind == "pread");
    if (kind == "close" || is_made_again) {
      CHECK(failed.result.code == "taken");
      return;
    }
    CHECK(failed.result.code ==
          (kind == "open" && failed.number == ENOENT ? "file_not_found" : "read_failed"));
    const std::string named(kind == "pread" ? "read" : kind);
    CHECK(missing_parts(failed.result.message, {path, named, reason(failed.number)}).empty());
  });
}

}  // namespace

TEST_CASE("whichever call of a source fails, reading says why", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  require_reading_fails_by_name(path, [&] {
    const nibble::file_source source(path);
    std::vector<std::byte> read(700);
    source.read_at(100, read);
    if (!std::ranges::equal(read, std::span(new_bytes).subspan(100, 700))) throw 0;
  });
}

TEST_CASE("whichever call of an input fails, opening says why", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
    require_reading_fails_by_name(path, [&] {
      const nibble::input_file input(path, how);
      if (!std::ranges::equal(input.bytes(), new_bytes)) throw 0;
    });
  }
}

TEST_CASE("a read that always fails ends, as one does that moves nothing", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  nibble_test::write_file(path, new_bytes);
  std::vector<std::byte> whole(new_bytes.size());
  for (const int number : {EIO, EAGAIN, observed_calls::moves_nothing}) {
    CAPTURE(number);
    const bool moves_nothing = number == observed_calls::moves_nothing;
    std::size_t calls = 0;
    const observed_calls observed([&](const std::string& call) {
      if (!call.starts_with("read") && !call.starts_with("pread")) return 0;
      if (++calls > most_calls) end_of_a_circle(call);
      return calls == 1 ? 0 : number;
    });
    const nibble::file_source source(path);
    const auto by_source = outcome_of([&] { source.read_at(0, whole); });
    CHECK(by_source.code == "read_failed");
    CHECK(missing_parts(by_source.message,
                        {path, "read", moves_nothing ? "the end of the file" : reason(number)})
              .empty());
    CHECK(calls == 2);
    calls = 0;
    std::size_t read_bytes = 0;
    const auto by_input = outcome_of(
        [&] { read_bytes = nibble::input_file(path, nibble::file_access::read).bytes().size(); });
    // A file that became shorter after it was opened is what is left of it.
    CHECK(by_input.code == (moves_nothing ? "taken" : "read_failed"));
    CHECK(read_bytes == (moves_nothing ? 500 : 0));
    CHECK(calls == 2);
  }
}

TEST_CASE("whichever call of a writer fails, one file is there, old or new and whole",
          "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  const std::string directory = folder.path().filename();
  constexpr std::array numbers = {EIO,    EINTR,  ENOSPC, EDQUOT,     ENOMEM, EACCES, EPERM,
                                  ENOENT, EEXIST, EINVAL, EOPNOTSUPP, ENOSYS, ENOLCK};
  const auto prepare = [&] {
    fs::remove(path);
    nibble_test::write_file(path, old_bytes);
    REQUIRE(::chmod(path.c_str(), 0640) == 0);
    nibble_test::write_file(path + ".nibble-partial", old_bytes);
  };
  const auto work = [&] {
    atomic_file file(path, new_bytes.size());
    file.write_at(0, new_bytes);
    file.commit();
  };
  fail_each_call(numbers, prepare, work, [&](const failed_work& failed) {
    const bool is_taken = failed.result.code == "taken";
    CHECK((is_taken || failed.result.code == "write_failed"));
    if (!is_taken) {
      CHECK(missing_parts(failed.result.message, {path}).empty());
      // Where the system refused, its reason is told.
      if (failed.result.message.find("the one that this writer made") == std::string::npos) {
        CHECK(missing_parts(failed.result.message, {reason(failed.number)}).empty());
      }
    }
    const std::string_view kind = kind_of(failed.call);
    if (kind == "close") CHECK(is_taken);
    const bool is_made_again =
        kind == "open" || kind == "pwrite" || kind == "flock" || kind == "fsync" || kind == "ftruncate";
    if (failed.number == EINTR && is_made_again) CHECK(is_taken);
    const bool must_be_told = failed.number == EIO && kind != "close" && kind != "stat" &&
                              kind != "lstat" && kind != "fstat" &&
                              !(kind == "unlink" && failed.call.ends_with(".nibble-partial"));
    if (must_be_told) CHECK_FALSE(is_taken);

    const bool may_be_new = is_taken || failed.call.ends_with(directory);
    CHECK(nibble_test::read_file(path) == (may_be_new ? new_bytes : old_bytes));
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    // A file that went away after it was looked at has no permissions to keep.
    const bool went_away = kind == "stat" && failed.number == ENOENT;
    if (!went_away) CHECK((status.st_mode & 07777U) == 0640U);
    auto names = names_in(folder.path());
    // What was left by another is still there where it could not be opened, locked or removed.
    if (!is_taken && names.size() == 2) {
      CHECK(nibble_test::read_file(path + ".nibble-partial") == old_bytes);
      std::erase(names, "file.nibble-partial");
    }
    CHECK(names == std::vector<std::string>{"file"});
  });
}

TEST_CASE("a call of a writer that always fails ends", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  for (const char* const kind : {"open", "stat", "lstat", "fstat", "readlink", "pwrite", "fchmod",
                                 "fallocate", "ftruncate", "fsync", "flock", "rename", "unlink"}) {
    for (const int number : {EIO, ENOENT, EEXIST, EACCES, EINVAL}) {
      for (const bool is_left_over : {false, true}) {
        CAPTURE(kind, number, is_left_over);
        nibble_test::write_file(path, old_bytes);
        if (is_left_over) nibble_test::write_file(path + ".nibble-partial", old_bytes);
        outcome result;
        std::size_t calls = 0;
        {
          const observed_calls observed([&](const std::string& call) {
            if (++calls > most_calls) end_of_a_circle(call);
            return kind_of(call) == kind ? number : 0;
          });
          result = outcome_of([&] {
            atomic_file file(path, new_bytes.size());
            file.write_at(0, new_bytes);
            file.commit();
          });
        }
        CHECK((result.code == "taken" || result.code == "write_failed"));
        const auto found = nibble_test::read_file(path);
        CHECK((found == new_bytes || (found == old_bytes && result.code != "taken")));
        fs::remove(path + ".nibble-partial");
      }
    }
  }
}

TEST_CASE("a write that moves nothing is an error, not a circle", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "file";
  outcome result;
  std::size_t calls = 0;
  {
    const observed_calls observed([&](const std::string& call) {
      if (!call.starts_with("pwrite")) return 0;
      if (++calls > most_calls) end_of_a_circle(call);
      return calls < 3 ? 0 : observed_calls::moves_nothing;
    });
    result = outcome_of([&] {
      atomic_file file(path, new_bytes.size());
      file.write_at(0, new_bytes);
      file.commit();
    });
  }
  CHECK(calls == 3);
  CHECK(result.code == "write_failed");
  CHECK(missing_parts(result.message, {path, "write", reason(EIO)}).empty());
  CHECK(names_in(folder.path()).empty());
}

TEST_CASE("a link that cannot be looked at is not replaced by a file", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  const std::string path = folder / "link";
  constexpr std::array numbers = {EIO, EACCES, ENOMEM};
  const auto prepare = [&] {
    fs::remove(path);
    nibble_test::write_file(folder / "real", old_bytes);
    fs::create_symlink("real", path);
  };
  const auto work = [&] {
    atomic_file file(path, new_bytes.size());
    file.write_at(0, new_bytes);
    file.commit();
  };
  fail_each_call(numbers, prepare, work, [&](const failed_work& failed) {
    CHECK(fs::is_symlink(path));
    const bool is_taken = failed.result.code == "taken";
    CHECK((is_taken || failed.result.code == "write_failed"));
    const bool may_be_new = is_taken || failed.call.ends_with(folder.path().filename().string());
    CHECK(nibble_test::read_file(folder / "real") == (may_be_new ? new_bytes : old_bytes));
    CHECK(names_in(folder.path()) == std::vector<std::string>{"link", "real"});
  });
}

TEST_CASE("whichever call of a set's commit fails, no two sets are mixed", "[failing_calls]") {
  NIBBLE_REQUIRE_OBSERVED_CALLS_OR_PASS_BY();
  const nibble_test::temporary_directory folder;
  constexpr std::array names = {"a", "b", "c"};
  constexpr std::array numbers = {EIO, EINTR, ENOSPC, EACCES};
  const auto prepare = [&] {
    for (const char* const name : names) nibble_test::write_file(folder / name, old_bytes);
  };
  const auto work = [&] {
    atomic_file a(folder / "a", 0);
    atomic_file b(folder / "b", 0);
    atomic_file c(folder / "c", 0);
    const std::array<atomic_file*, 3> set{&a, &b, &c};
    for (atomic_file* const file : set) file->write_at(0, new_bytes);
    atomic_file::commit_set(set);
  };
  fail_each_call(numbers, prepare, work, [&](const failed_work& failed) {
    const bool is_taken = failed.result.code == "taken";
    CHECK((is_taken || failed.result.code == "write_failed"));
    for (const std::string& name : names_in(folder.path())) CHECK(name.size() == 1);
    if (!fs::exists(folder / "a")) {
      CHECK_FALSE(is_taken);
      return;
    }
    const auto first = nibble_test::read_file(folder / "a");
    CHECK((first == old_bytes || first == new_bytes));
    if (is_taken) CHECK(first == new_bytes);
    for (const char* const name : names) CHECK(nibble_test::read_file(folder / name) == first);
  });
}
