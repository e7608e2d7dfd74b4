#pragma once

#include <cstdint>
#include <ctime>

/// Whether a sanitizer allocates and slows down, so that neither memory nor time can be measured.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NIBBLE_TEST_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define NIBBLE_TEST_IS_SANITIZED 1
#endif
#endif
#ifndef NIBBLE_TEST_IS_SANITIZED
#define NIBBLE_TEST_IS_SANITIZED 0
#endif

namespace nibble_test {

inline constexpr bool is_sanitized = NIBBLE_TEST_IS_SANITIZED != 0;

/// What operators new have handed out to this thread and not been given back, in bytes as they were
/// asked for, and the most that it was since reset_peak(). Zero where is_sanitized.
class memory_meter {
 public:
  [[nodiscard]] static std::int64_t live_bytes() noexcept;
  [[nodiscard]] static std::int64_t peak_bytes() noexcept;
  static void reset_peak() noexcept;
};

/// Seconds that this thread has spent on a processor: what others do on the machine does not count.
[[nodiscard]] inline double thread_seconds() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// What some work took.
struct expense {
  std::uint64_t peak_bytes;  ///< of memory, beyond what was there before
  double seconds;
};

/// The work may throw what it catches itself, and nothing else.
template <class Work>
[[nodiscard]] expense expense_of(Work&& work) {
  const std::int64_t before = memory_meter::live_bytes();
  memory_meter::reset_peak();
  const double start = thread_seconds();
  work();
  const double seconds = thread_seconds() - start;
  return {static_cast<std::uint64_t>(memory_meter::peak_bytes() - before), seconds};
}

}  // namespace nibble_test
