#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include <nibble/core/error.hpp>

namespace nibble {

/// A call of the operating system that failed, and why.
struct system_failure {
  std::string_view call{};  ///< its name, or what was tried
  int reason = 0;  ///< the system's number: errno, on Windows GetLastError(); 0: it did not fail
  std::string_view expected{};  ///< what would have let it succeed, where that can be told

  /// Whether there is a failure.
  [[nodiscard]] explicit operator bool() const noexcept { return reason != 0; }
};

/// Throws `code` for a call that failed, naming the file, the call and the system's reason.
[[noreturn]] inline void throw_system_error(error_code code, std::string_view file,
                                            const system_failure& failure) {
  throw error(code, {.file = std::string(file),
                     .field = std::string(failure.call),
                     .found = std::system_category().message(failure.reason),
                     .expected = std::string(failure.expected)});
}

/// As above; `number` is the system's.
[[noreturn]] inline void throw_system_error(error_code code, std::string_view file,
                                            std::string_view call, int number) {
  throw_system_error(code, file, {.call = call, .reason = number});
}

}  // namespace nibble
