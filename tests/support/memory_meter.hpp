#pragma once

#include <cstdint>

/// Whether a sanitizer allocates, so that memory cannot be measured.
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
/// asked for, the most that it was since reset_peak(), and all that was ever handed out. Zero where
/// is_sanitized.
class memory_meter {
 public:
  [[nodiscard]] static std::int64_t live_bytes() noexcept;
  [[nodiscard]] static std::int64_t peak_bytes() noexcept;
  [[nodiscard]] static std::uint64_t total_bytes() noexcept;
  static void reset_peak() noexcept;
};

/// What some work took of memory.
struct expense {
  std::uint64_t peak_bytes;   ///< at once, beyond what was there before
  std::uint64_t total_bytes;  ///< one after the other
};

/// The work may throw what it catches itself, and nothing else.
template <class Work>
[[nodiscard]] expense expense_of(Work&& work) {
  const std::int64_t before = memory_meter::live_bytes();
  const std::uint64_t total_before = memory_meter::total_bytes();
  memory_meter::reset_peak();
  work();
  return {static_cast<std::uint64_t>(memory_meter::peak_bytes() - before),
          memory_meter::total_bytes() - total_before};
}

}  // namespace nibble_test
