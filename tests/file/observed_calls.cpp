#include <file/observed_calls.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#if defined(__GLIBC__)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>
#endif

namespace nibble_test {

namespace {

observed_calls* living = nullptr;

}  // namespace

observed_calls::observed_calls(judge failure) : failure_(std::move(failure)) { living = this; }
observed_calls::~observed_calls() { living = nullptr; }

observed_calls* observed_calls::current() noexcept { return living; }

bool observed_calls::is_possible() noexcept {
#if defined(__GLIBC__)
  return true;
#else
  return false;
#endif
}

bool observed_calls::refuses(std::string call) {
  const int number = failure_(call);
  list_.push_back(std::move(call));
  errno = number;
  return number != 0;
}

}  // namespace nibble_test

#if defined(__GLIBC__)

namespace {

std::string name_of(const char* path) { return std::filesystem::path(path).filename(); }

std::string name_of(int descriptor) {
  std::error_code failure;
  const auto path =
      std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(descriptor), failure);
  return failure ? "unknown" : path.filename().string();
}

/// Whether the call is to fail, with errno set.
template <class... Operands>
bool is_refused(const char* call, Operands... operands) {
  nibble_test::observed_calls* const observed = nibble_test::observed_calls::current();
  if (observed == nullptr) return false;
  std::string text = call;
  ((text += ' ' + name_of(operands)), ...);
  return observed->refuses(std::move(text));
}

}  // namespace

// The program's own definitions come before the C library's.
extern "C" {

int fsync(int descriptor) {
  if (is_refused("fsync", descriptor)) return -1;
  return static_cast<int>(::syscall(SYS_fsync, descriptor));
}

int flock(int descriptor, int operation) noexcept {
  if (is_refused("flock", descriptor)) return -1;
  return static_cast<int>(::syscall(SYS_flock, descriptor, operation));
}

int rename(const char* from, const char* to) noexcept {
  if (is_refused("rename", from, to)) return -1;
  return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char* path) noexcept {
  if (is_refused("unlink", path)) return -1;
  return ::unlinkat(AT_FDCWD, path, 0);
}

ssize_t pwrite(int descriptor, const void* bytes, std::size_t count, off_t offset) {
  if (is_refused("pwrite", descriptor)) return -1;
  // Not all at once while it is observed: what was written in part has to go on from there.
  const bool is_observed = nibble_test::observed_calls::current() != nullptr;
  const iovec part{const_cast<void*>(bytes), is_observed ? count - count / 2 : count};
  return ::pwritev(descriptor, &part, 1, offset);
}

}  // extern "C"

#endif
