#include <nibble/writer.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <grp.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/mount.h>
#endif

#include <fmt/format.h>

#include <nibble/reader.hpp>
#include <nibble/verify.hpp>

#include <support/apr_bytes.hpp>
#include <support/bytes.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/random_values.hpp>

using nibble::encoding;
using nibble::reader;
using nibble::writer;
using nibble_test::missing_parts;
using nibble_test::names_in;
using nibble_test::outcome_of;
using nibble_test::temporary_directory;
namespace fs = std::filesystem;

// A write that a kill, a disk, a directory or another writer gets in the way of: the path holds a whole
// old file or a whole new one.

namespace {

/// What work says in a process of its own (nothing: all is well), or how that process ended. There it
/// may take on another user, its own mounts and limits.
std::string in_another_process(const std::function<std::string()>& work) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    try {
      said = work();
    } catch (const std::exception& thrown) {
      said = std::string("threw ") + thrown.what();
    }
    const ssize_t count = ::write(ends[1], said.data(), std::min<std::size_t>(said.size(), 4000));
    ::_exit(count == static_cast<ssize_t>(std::min<std::size_t>(said.size(), 4000)) ? 0 : 1);
  }
  ::close(ends[1]);
  std::string said(4096, '\0');
  std::size_t size = 0;
  for (ssize_t count = 1; count > 0; size += static_cast<std::size_t>(std::max<ssize_t>(count, 0))) {
    count = ::read(ends[0], said.data() + size, said.size() - size);
  }
  ::close(ends[0]);
  int status = -1;
  ::waitpid(child, &status, 0);
  said.resize(size);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) said += " (the process failed)";
  return said;
}

/// What a process says that cannot stage what a test needs.
constexpr std::string_view passed_by = "passed by: ";

void judge(const std::string& said) {
  if (said.starts_with(passed_by)) {
    WARN(said);
  } else {
    CHECK(said == "");
  }
}

/// A plan whose values all follow from its version, asked for piece by piece.
writer plan_of(int version, int tensors, std::uint64_t rows) {
  writer out;
  out.metadata()["version"] = version;
  for (int i = 0; i < tensors; ++i) {
    out.add(encoding::f32, "w." + std::to_string(i), {rows, 512},
            [=](std::uint64_t first, std::uint64_t count, std::span<float> to) {
              for (std::uint64_t row = 0; row < count; ++row) {
                std::ranges::fill(
                    to.subspan(static_cast<std::size_t>(row * 512), 512),
                    static_cast<float>(version + 1) + static_cast<float>(first + row) / 65536.0F);
              }
            });
  }
  return out;
}

/// The version of the whole and undamaged file at a path, every value of it looked at; -1 where it is
/// anything else.
int version_at(const std::string& path) {
  const reader in(path, nibble::file_access::read);
  in.verify();
  const int version = in.metadata()["version"];
  if (in.size() == 0) return -1;
  for (const nibble::tensor_view& tensor : in) {
    for (std::uint64_t row = 0; row < tensor.rows(); ++row) {
      const float expected = static_cast<float>(version + 1) + static_cast<float>(row) / 65536.0F;
      for (const std::uint64_t col : {0U, 255U, 511U}) {
        const auto bits = nibble_test::number_at<std::uint32_t>(
            tensor.bytes(), static_cast<std::size_t>((row * 512 + col) * 4));
        if (bits != std::bit_cast<std::uint32_t>(expected)) return -1;
      }
    }
  }
  return version;
}

/// Whether nothing else lies in the folder than the file and, perhaps, the partial file of a kill.
bool holds_file_and_partial_at_most(const fs::path& folder) {
  const auto names = names_in(folder);
  return names == std::vector<std::string>{"file"} ||
         names == std::vector<std::string>{"file", "file.nibble-partial"};
}

}  // namespace

TEST_CASE("whenever a writer is killed, the path holds a whole file", "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  // 24 MiB in 96 parts, after each of which the child says so.
  const auto write_saying = [&](int version, int to) {
    plan_of(version, 6, 2048).write(path, {.progress = [=](const nibble::write_progress&) {
                                      return ::write(to, "p", 1) == 1;
                                    }});
  };
  constexpr int kills = 60;
  std::mt19937 generator(7);
  plan_of(0, 6, 2048).write(path);
  int last_version = 0;
  int parts_of_whole = 0;
  std::chrono::microseconds from_last_part_to_end{};
  int kept_old = 0;
  int left_partial = 0;
  for (int turn = 0; turn <= kills; ++turn) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const int version = turn + 1;
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      ::close(ends[0]);
      try {
        write_saying(version, ends[1]);
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    // The first one is left to end, to learn how long it takes; of the others one in three dies after
    // its last part, where it syncs and renames.
    const int until = turn == 0 ? -1
                      : turn % 3 == 0
                          ? parts_of_whole
                          : static_cast<int>(generator() % static_cast<unsigned>(parts_of_whole));
    int parts = 0;
    char part = 0;
    auto last_part = std::chrono::steady_clock::now();
    while (parts != until && ::read(ends[0], &part, 1) == 1) {
      ++parts;
      last_part = std::chrono::steady_clock::now();
    }
    if (turn == 0) {
      parts_of_whole = parts;
      from_last_part_to_end = std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - last_part);
      REQUIRE(parts > 90);
    } else {
      const auto longest = turn % 3 == 0 ? from_last_part_to_end.count() * 5 / 4 + 1 : 1000;
      std::this_thread::sleep_for(
          std::chrono::microseconds(generator() % static_cast<unsigned long>(longest)));
      ::kill(child, SIGKILL);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(ends[0]);
    CAPTURE(turn, until, status);
    // Killed or done, and not with an error of its own, over its forerunner's partial file.
    REQUIRE((WIFSIGNALED(status) || WEXITSTATUS(status) == 0));

    const int found = version_at(path);
    CHECK((found == last_version || found == version));
    if (WIFEXITED(status)) CHECK(found == version);
    if (found == last_version) ++kept_old;
    last_version = found;
    CHECK(holds_file_and_partial_at_most(folder.path()));
    if (names_in(folder.path()).size() == 2) ++left_partial;
  }
  INFO(kept_old << " old files kept, " << left_partial << " partial files left");
  CHECK(kept_old > kills / 3);
  CHECK(left_partial > kills / 3);
  plan_of(1000, 1, 10).write(path);
  CHECK(version_at(path) == 1000);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

namespace {

/// A process that writes five shards at a path and stops halfway, where they are all begun.
class set_writer {
 public:
  explicit set_writer(const std::string& path) {
    REQUIRE(::pipe(says_.data()) == 0);
    REQUIRE(::pipe(hears_.data()) == 0);
    child_ = ::fork();
    REQUIRE(child_ >= 0);
    if (child_ == 0) {
      char go_on = 0;
      ::close(hears_[1]);
      int parts = 0;
      try {
        plan_of(1, 5, 256).write(path, {.progress =
                                            [&](const nibble::write_progress&) {
                                              if (++parts != 4) return true;
                                              return ::write(says_[1], "h", 1) == 1 &&
                                                     ::read(hears_[0], &go_on, 1) == 1;
                                            },
                                        .shard_size_bytes = 600'000});
      } catch (...) {
        ::_exit(1);
      }
      ::_exit(0);
    }
    char halfway = 0;
    REQUIRE(::read(says_[0], &halfway, 1) == 1);
  }
  set_writer(const set_writer&) = delete;
  set_writer& operator=(const set_writer&) = delete;
  ~set_writer() {
    if (child_ > 0) kill();
    for (const int end : {says_[0], says_[1], hears_[0], hears_[1]}) ::close(end);
  }

  void kill() {
    ::kill(child_, SIGKILL);
    ::waitpid(std::exchange(child_, -1), nullptr, 0);
  }
  /// Lets it write the rest. Whether it did.
  [[nodiscard]] bool finish() {
    int status = -1;
    const bool is_told = ::write(hears_[1], "g", 1) == 1;
    ::waitpid(std::exchange(child_, -1), &status, 0);
    return is_told && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

 private:
  std::array<int, 2> says_{};
  std::array<int, 2> hears_{};
  pid_t child_ = -1;
};

std::vector<std::string> shard_names_of(int count, const std::string& after = {}) {
  std::vector<std::string> names;
  for (int i = 1; i <= count; ++i) {
    names.push_back(fmt::format("m-{:05}-of-{:05}.apr{}", i, count, after));
  }
  return names;
}

}  // namespace

TEST_CASE("what a kill leaves of a set goes with the next write there, in whatever number of files",
          "[interrupted_writing]") {
  struct row {
    std::string what;
    std::uint64_t shard_size_bytes;
    std::vector<std::string> names;
  };
  const std::vector<row> rows = {
      {"as many", 600'000, shard_names_of(5)},
      {"fewer", 1'100'000, shard_names_of(3)},
      {"one file", 100'000'000, {"m.apr"}},
      {"one file, without shards", 0, {"m.apr"}},
  };
  for (const row& next : rows) {
    CAPTURE(next.what);
    const temporary_directory folder;
    const std::string path = folder / "m.apr";
    set_writer killed(path);
    CHECK(names_in(folder.path()) == shard_names_of(5, ".nibble-partial"));
    killed.kill();
    CHECK(names_in(folder.path()) == shard_names_of(5, ".nibble-partial"));
    plan_of(2, 5, 256).write(path, {.shard_size_bytes = next.shard_size_bytes});
    CHECK(names_in(folder.path()) == next.names);
    CHECK(reader::open_set(folder / next.names[0]).size() == 5);
  }

  // And of one file, when a set is written there.
  const temporary_directory folder;
  const std::string path = folder / "m.apr";
  nibble_test::write_file(path + ".nibble-partial", nibble_test::random_bytes(100, 1));
  plan_of(2, 5, 256).write(path, {.shard_size_bytes = 1'100'000});
  CHECK(names_in(folder.path()) == shard_names_of(3));
}

TEST_CASE("a write takes neither a live writer's shards nor another's files for leftovers",
          "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "m.apr";
  std::vector<std::string> others = {
      "other-00001-of-00005.apr.nibble-partial",  // of another set
      "m-00001-of-00005.gguf.nibble-partial",     // of another container
      "m2-00001-of-00005.apr.nibble-partial",
      "m-00006-of-00005.apr.nibble-partial",  // no shard's name
      "m-1-of-5.apr.nibble-partial",
      "m-00001-of-00004.apr",
      "m-00001-of-00004.apr.partial",
      "m-00001-of-00004.apr.nibble-partial.old",
      "m.apr.nibble-partial.old",
  };
  for (const std::string& name : others) {
    nibble_test::write_file(folder / name, nibble_test::random_bytes(100, 1));
  }
  const auto with_others = [&](std::vector<std::string> names) {
    names.insert(names.end(), others.begin(), others.end());
    std::ranges::sort(names);
    return names;
  };
  set_writer live(path);
  plan_of(2, 5, 256).write(path, {.shard_size_bytes = 1'100'000});
  auto expected = shard_names_of(5, ".nibble-partial");
  std::ranges::move(shard_names_of(3), std::back_inserter(expected));
  CHECK(names_in(folder.path()) == with_others(expected));
  CHECK(live.finish());
  expected = shard_names_of(5);
  std::ranges::move(shard_names_of(3), std::back_inserter(expected));
  CHECK(names_in(folder.path()) == with_others(expected));
  for (const std::string& name : {shard_names_of(5)[0], shard_names_of(3)[0]}) {
    const reader set = reader::open_set(folder / name);
    CHECK(set.size() == 5);
    CHECK_NOTHROW(set.verify());
  }
}

#if defined(__linux__)

namespace {

/// Gives this process mounts of its own and a disk of a mebibyte at a path. Says why where it cannot.
std::string mount_small_disk(const std::string& path) {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (::unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0) {
    return std::string(passed_by) + "mounts of a process's own are not allowed";
  }
  if (user != 0) {
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << group << " 1";
  }
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m") != 0) {
    return std::string(passed_by) + "a disk in memory cannot be mounted";
  }
  return {};
}

}  // namespace

TEST_CASE("a full disk keeps the old file and no part of the new one", "[interrupted_writing]") {
  const temporary_directory folder;
  judge(in_another_process([&]() -> std::string {
    if (std::string problem = mount_small_disk(folder.path()); !problem.empty()) return problem;
    const std::string path = folder / "file";
    plan_of(1, 1, 300).write(path);  // 600 KiB of 1 MiB
    const auto full = outcome_of([&] { plan_of(2, 1, 300).write(path); });
    if (full.code != "write_failed") return "taken on a full disk: " + full.code;
    if (!missing_parts(full.message, {path, "No space left"}).empty()) return full.message;
    if (version_at(path) != 1) return "the old file is gone";
    if (names_in(folder.path()).size() != 1) return "a partial file stayed on the full disk";

    // What a kill left fills the disk, until the next write to that path removes it.
    fs::remove(path);
    nibble_test::write_file(path + ".nibble-partial", nibble_test::random_bytes(1'000'000, 1));
    plan_of(3, 1, 300).write(path);
    if (version_at(path) != 3) return "not written once the leftover was gone";
    if (names_in(folder.path()).size() != 1) return "the leftover stayed";

    // Another's file fills it while rows are asked for: the room was taken before.
    writer late;
    late.metadata()["version"] = 4;
    late.add(encoding::f32, "w", {100, 512}, [&](std::uint64_t, std::uint64_t, std::span<float> to) {
      std::ranges::fill(to, 1.0F);
      std::ofstream filler(folder / "filler", std::ios::binary);
      const std::vector<char> some(1'000'000);
      filler.write(some.data(), static_cast<std::streamsize>(some.size()));
    });
    late.write(path);
    if (reader(path).metadata()["version"] != 4) return "a write that had its room was not done";
    return {};
  }));
}

TEST_CASE("a disk that is mounted for reading only is told", "[interrupted_writing]") {
  const temporary_directory folder;
  judge(in_another_process([&]() -> std::string {
    if (std::string problem = mount_small_disk(folder.path()); !problem.empty()) return problem;
    const std::string path = folder / "file";
    plan_of(1, 1, 10).write(path);
    if (::mount(nullptr, folder.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
      return std::string(passed_by) + "a disk cannot be mounted again for reading only";
    }
    const auto refused = outcome_of([&] { plan_of(2, 1, 10).write(path); });
    if (refused.code != "write_failed") return "taken: " + refused.code;
    if (!missing_parts(refused.message, {path, "Read-only file system"}).empty()) {
      return refused.message;
    }
    return version_at(path) == 1 ? "" : "the old file is gone";
  }));
}

#endif

TEST_CASE("a directory that may only be read keeps its old file", "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  plan_of(1, 1, 10).write(path);
  fs::permissions(path, fs::perms::all);
  fs::permissions(folder.path(), fs::perms(0555));
  judge(in_another_process([&]() -> std::string {
    // Root may write everywhere: another user is told.
    if (::geteuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 ||
                             ::setuid(65534) != 0 || ::access(path.c_str(), W_OK) != 0)) {
      return std::string(passed_by) + "root cannot become another user here";
    }
    const auto refused = outcome_of([&] { plan_of(2, 1, 10).write(path); });
    if (refused.code != "write_failed") return "taken: " + refused.code;
    if (!missing_parts(refused.message, {path, "Permission denied"}).empty()) return refused.message;
    return version_at(path) == 1 ? "" : "the old file is gone";
  }));
  fs::permissions(folder.path(), fs::perms::owner_all);
  CHECK(version_at(path) == 1);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a leftover of another user's that may not be removed is told by name",
          "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  if (::geteuid() != 0) {
    WARN(std::string(passed_by) + "it takes root to leave a file of another user's");
    return;
  }
  nibble_test::write_file(path + ".nibble-partial", nibble_test::random_bytes(100, 1));
  fs::permissions(path + ".nibble-partial", fs::perms(0644));
  // As /tmp is: everybody may add files and remove their own.
  fs::permissions(folder.path(), fs::perms(01777));
  judge(in_another_process([&]() -> std::string {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) {
      return std::string(passed_by) + "root cannot become another user here";
    }
    const auto refused = outcome_of([&] { plan_of(2, 1, 10).write(path); });
    if (refused.code != "write_failed") return "taken: " + refused.code;
    return missing_parts(refused.message, {path + ".nibble-partial"}).empty() ? "" : refused.message;
  }));
  // Where the directory lets it, it goes, though it can only be read.
  fs::permissions(folder.path(), fs::perms(0777));
  judge(in_another_process([&]() -> std::string {
    if (::setgroups(0, nullptr) != 0 || ::setgid(65534) != 0 || ::setuid(65534) != 0) {
      return std::string(passed_by) + "root cannot become another user here";
    }
    plan_of(3, 1, 10).write(path);
    return {};
  }));
  CHECK(version_at(path) == 3);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a row source that throws late leaves the old file", "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  plan_of(1, 1, 10).write(path);
  for (const encoding which : {encoding::f32, encoding::q4, encoding::apr_q8}) {
    writer out = plan_of(2, 2, 1000);
    // After its bytes, in the order of the file, nothing is left to write but what stands around them.
    out.add(which, "z", {1000, 64}, [](std::uint64_t first, std::uint64_t count, std::span<float> to) {
      std::ranges::fill(to, 1.0F);
      if (first + count == 1000) throw std::runtime_error("the last row is not to be had");
    });
    CHECK_THROWS_WITH(out.write(path), "the last row is not to be had");
    CHECK(version_at(path) == 1);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
}

TEST_CASE("of processes that write to one path at once each writes whole or is told",
          "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  plan_of(0, 2, 200).write(path);
  std::vector<pid_t> children;
  for (int process = 0; process < 4; ++process) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      int writes = 0;
      for (int turn = 0; turn < 40; ++turn) {
        const auto result = outcome_of([&] { plan_of(process * 100 + turn, 2, 200).write(path); });
        if (result.code == "taken") ++writes;
        if (result.code != "taken" && result.code != "already_being_written") ::_exit(101);
        try {
          if (version_at(path) < 0) ::_exit(102);
        } catch (...) {
          ::_exit(103);
        }
      }
      ::_exit(writes);
    }
    children.push_back(child);
  }
  int writes = 0;
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) <= 40);
    writes += WEXITSTATUS(status);
  }
  CHECK(writes > 0);
  CHECK(version_at(path) > 0);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
}

TEST_CASE("a file that is read while it is written over stays what it was", "[interrupted_writing]") {
  const temporary_directory folder;
  const std::string path = folder / "file";
  const auto values = nibble_test::gaussian(512 * 512, 1);
  writer first;
  first.metadata()["version"] = 1;
  first.add<nibble::f32>("w", {512, 512}, values);
  first.write(path);
  const reader mapped(path);
  const reader copied(path, nibble::file_access::read);
  std::atomic<bool> ends{false};
  std::atomic<int> wrong{0};
  std::thread reads([&] {
    std::vector<float> read(values.size());
    while (!ends) {
      for (const reader* const in : {&mapped, &copied}) {
        nibble::dequantize((*in)["w"], read);
        if (read != values) ++wrong;
      }
    }
  });
  for (int version = 2; version < 30; ++version) {
    plan_of(version, 1, 300).write(path);
    CHECK(version_at(path) == version);
  }
  ends = true;
  reads.join();
  CHECK(wrong == 0);
  CHECK_NOTHROW(mapped.verify());
  CHECK(mapped.metadata()["version"] == 1);
}

namespace {

/// What the process that strace looks at is given.
constexpr const char* traced_path_variable = "NIBBLE_TRACED_PATH";
constexpr const char* traced_test = "what strace looks at";

/// Writes version 2 to a path under strace, in a process of its own, with more of strace's options.
/// Returns what strace listed, call by call; nothing where strace is not to be had.
std::optional<std::vector<std::string>> strace_write(const std::string& path, const std::string& log,
                                                     const std::vector<std::string>& options) {
  std::error_code failure;
  const std::string self = fs::read_symlink("/proc/self/exe", failure);
  std::vector<std::string> words{"strace", "-f", "-qq", "-y", "-o", log};
  words.insert(words.end(), options.begin(), options.end());
  words.insert(words.end(), {self, traced_test});
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(traced_path_variable, path.c_str(), 1);
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // which cannot be done under strace
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, 1);
    ::dup2(nowhere, 2);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execvp("strace", arguments.data());
    ::_exit(127);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  std::vector<std::string> calls;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);) {
    calls.push_back(line.substr(line.find_first_not_of("0123456789 ")));
  }
  fs::remove(log, failure);
  if (calls.empty()) return std::nullopt;
  return calls;
}

}  // namespace

TEST_CASE(traced_test, "[.][traced]") {
  const char* const path = std::getenv(traced_path_variable);
  REQUIRE(path != nullptr);
  plan_of(2, 2, 300).write(path);
}

TEST_CASE("strace sees the file synced before its rename, the directory after",
          "[interrupted_writing]") {
  const temporary_directory folder;
  const temporary_directory logs;
  const std::string path = fs::canonical(folder.path()) / "file";
  const std::string partial = path + ".nibble-partial";
  plan_of(1, 1, 10).write(path);
  const auto calls = strace_write(
      path, logs / "log",
      {"-e",
       "trace=openat,open,creat,write,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,"
       "rename,renameat,renameat2,unlink,unlinkat,link,linkat"});
  if (!calls) {
    WARN(std::string(passed_by) + "strace is not installed or may not look at processes here");
    return;
  }
  CHECK(version_at(path) == 2);

  // Every call that names the folder, in its order.
  std::vector<std::string> order;
  for (const std::string& call : *calls) {
    if (call.find(folder.path().filename().string()) == std::string::npos) continue;
    const std::string name = call.substr(0, call.find('('));
    const bool is_partial = call.find(partial) != std::string::npos;
    const bool opens = name == "openat" || name == "open";
    if (opens && call.find("O_RDONLY") != std::string::npos) continue;
    std::string said = name + (is_partial ? " partial" : "");
    if (order.empty() || order.back() != said) order.push_back(std::move(said));
  }
  CAPTURE(order);
  const auto rename =
      std::ranges::find_if(order, [](const std::string& call) { return call.starts_with("rename"); });
  REQUIRE(rename != order.end());
  CHECK(std::vector<std::string>(rename + 1, order.end()) == std::vector<std::string>{"fsync"});
  REQUIRE(rename - order.begin() >= 3);
  CHECK(*(rename - 1) == "fsync partial");
  CHECK(*(rename - 2) == "pwrite64 partial");
  CHECK(order[0].starts_with("open"));
  // Until then nothing touches the path itself.
  CHECK(std::all_of(order.begin(), rename,
                    [](const std::string& call) { return call.ends_with(" partial"); }));
}

TEST_CASE("a kill upon every call that a write makes leaves a whole file", "[interrupted_writing]") {
  const temporary_directory folder;
  const temporary_directory logs;
  const std::string path = fs::canonical(folder.path()) / "file";
  struct row {
    std::string call;
    int when;
    int version;  ///< that stands there then
  };
  std::vector<row> rows = {{"flock", 1, 1}, {"fallocate", 1, 1}, {"ftruncate", 1, 1},
                           {"fsync", 1, 1}, {"rename", 1, 1},    {"fsync", 2, 2}};
  for (const int when : {1, 2, 3, 6, 7, 8}) rows.push_back({"pwrite64", when, 1});
  for (const row& kill : rows) {
    CAPTURE(kill.call, kill.when);
    plan_of(1, 1, 10).write(path);
    const auto calls =
        strace_write(path, logs / "log",
                     {"-e", "trace=" + kill.call, "-e",
                      "inject=" + kill.call + ":signal=KILL:when=" + std::to_string(kill.when)});
    if (!calls) {
      WARN(std::string(passed_by) + "strace is not installed or may not look at processes here");
      return;
    }
    CHECK(calls->back().find("killed by SIGKILL") != std::string::npos);
    CHECK(version_at(path) == kill.version);
    CHECK(names_in(folder.path()).size() == (kill.version == 1 ? 2 : 1));
    CHECK(holds_file_and_partial_at_most(folder.path()));
    plan_of(3, 1, 10).write(path);
    CHECK(version_at(path) == 3);
    CHECK(names_in(folder.path()) == std::vector<std::string>{"file"});
  }
}
