#include <file/observed_calls.hpp>

#include <cerrno>
#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__GLIBC__) && defined(__LP64__)
#define NIBBLE_TEST_OBSERVES_CALLS 1
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#else
#define NIBBLE_TEST_OBSERVES_CALLS 0
#endif

namespace nibble_test {

namespace {

observed_calls* living = nullptr;

}  // namespace

observed_calls::observed_calls(judge failure) : failure_(std::move(failure)) { living = this; }
observed_calls::~observed_calls() { living = nullptr; }

observed_calls* observed_calls::current() noexcept {
  return living != nullptr && !living->is_judging_ ? living : nullptr;
}

bool observed_calls::is_possible() noexcept { return NIBBLE_TEST_OBSERVES_CALLS != 0; }

int observed_calls::verdict_on(const std::string& call, bool changes_files) {
  is_judging_ = true;
  if (changes_files) list_.push_back(call);
  all_.push_back(call);
  const int verdict = failure_(call);
  is_judging_ = false;
  return verdict;
}

}  // namespace nibble_test

#if NIBBLE_TEST_OBSERVES_CALLS

namespace {

using nibble_test::observed_calls;

std::string name_of(const char* path) { return std::filesystem::path(path).filename(); }

/// Asked of the system without a call that is observed.
std::string name_of(int descriptor) {
  const std::string link = "/proc/self/fd/" + std::to_string(descriptor);
  std::vector<char> path(4096);
  const ssize_t size = ::readlinkat(AT_FDCWD, link.c_str(), path.data(), path.size());
  if (size < 0) return "unknown";
  return std::filesystem::path(std::string(path.data(), static_cast<std::size_t>(size))).filename();
}

enum class effect { changes_files, looks };

/// What a call answers in place of the system; nothing where it goes through.
template <class... Operands>
std::optional<int> answer(const char* call, effect what, Operands... operands) {
  observed_calls* const observed = observed_calls::current();
  if (observed == nullptr) return std::nullopt;
  const int before = errno;
  std::string text = call;
  ((text += ' ' + name_of(operands)), ...);
  const int verdict = observed->verdict_on(text, what == effect::changes_files);
  errno = verdict > 0 ? verdict : before;
  if (verdict == 0) return std::nullopt;
  return verdict == observed_calls::moves_nothing ? 0 : -1;
}

/// How many of the bytes that are asked for a read or a write moves.
std::size_t moved(std::size_t count) {
  return observed_calls::current() != nullptr ? count - count / 2 : count;
}

}  // namespace

// The program's own definitions come before the C library's.
extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    std::va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  if (const auto failure = answer("open", effect::looks, path)) return *failure;
  return ::openat(AT_FDCWD, path, flags, mode);
}

int close(int descriptor) {
  // As Linux does, which closes what it says it could not close.
  const auto failure = answer("close", effect::looks, descriptor);
  const int reason = errno;
  const int closed = static_cast<int>(::syscall(SYS_close, descriptor));
  if (!failure) return closed;
  errno = reason;
  return *failure;
}

int stat(const char* path, struct stat* status) noexcept {
  if (const auto failure = answer("stat", effect::looks, path)) return *failure;
  return ::fstatat(AT_FDCWD, path, status, 0);
}

int lstat(const char* path, struct stat* status) noexcept {
  if (const auto failure = answer("lstat", effect::looks, path)) return *failure;
  return ::fstatat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}

int fstat(int descriptor, struct stat* status) noexcept {
  if (const auto failure = answer("fstat", effect::looks, descriptor)) return *failure;
  return ::fstatat(descriptor, "", status, AT_EMPTY_PATH);
}

ssize_t readlink(const char* path, char* text, std::size_t size) noexcept {
  if (const auto failure = answer("readlink", effect::looks, path)) return *failure;
  return ::readlinkat(AT_FDCWD, path, text, size);
}

ssize_t read(int descriptor, void* bytes, std::size_t count) {
  if (const auto failure = answer("read", effect::looks, descriptor)) return *failure;
  return ::syscall(SYS_read, descriptor, bytes, moved(count));
}

ssize_t pread(int descriptor, void* bytes, std::size_t count, off_t offset) {
  if (const auto failure = answer("pread", effect::looks, descriptor)) return *failure;
  const iovec part{bytes, moved(count)};
  return ::preadv(descriptor, &part, 1, offset);
}

ssize_t pwrite(int descriptor, const void* bytes, std::size_t count, off_t offset) {
  if (const auto failure = answer("pwrite", effect::changes_files, descriptor)) return *failure;
  const iovec part{const_cast<void*>(bytes), moved(count)};
  return ::pwritev(descriptor, &part, 1, offset);
}

void* mmap(void* address, std::size_t size, int access, int flags, int descriptor,
           off_t offset) noexcept {
  // Memory without a file is the allocator's.
  if (descriptor >= 0 && answer("mmap", effect::looks, descriptor)) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, size, access, flags, descriptor, offset));
}

int fchmod(int descriptor, mode_t mode) noexcept {
  if (const auto failure = answer("fchmod", effect::looks, descriptor)) return *failure;
  return static_cast<int>(::syscall(SYS_fchmod, descriptor, mode));
}

int fallocate(int descriptor, int how, off_t offset, off_t size) {
  if (const auto failure = answer("fallocate", effect::looks, descriptor)) return *failure;
  return static_cast<int>(::syscall(SYS_fallocate, descriptor, how, offset, size));
}

int ftruncate(int descriptor, off_t size) noexcept {
  if (const auto failure = answer("ftruncate", effect::looks, descriptor)) return *failure;
  return static_cast<int>(::syscall(SYS_ftruncate, descriptor, size));
}

int fsync(int descriptor) {
  if (const auto failure = answer("fsync", effect::changes_files, descriptor)) return *failure;
  // Disks take long, and no test that looks on loses its power.
  if (observed_calls::current() != nullptr) return ::fcntl(descriptor, F_GETFD) < 0 ? -1 : 0;
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

int flock(int descriptor, int operation) noexcept {
  if (const auto failure = answer("flock", effect::changes_files, descriptor)) return *failure;
  return static_cast<int>(::syscall(SYS_flock, descriptor, operation));
}

int rename(const char* from, const char* to) noexcept {
  if (const auto failure = answer("rename", effect::changes_files, from, to)) return *failure;
  return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char* path) noexcept {
  if (const auto failure = answer("unlink", effect::changes_files, path)) return *failure;
  return ::unlinkat(AT_FDCWD, path, 0);
}

}  // extern "C"

#endif
