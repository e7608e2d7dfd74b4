#pragma once

#include <cstddef>
#include <cstdio>
#include <string_view>

#if defined(_WIN32)
#include <io.h>
#else
#include <sys/ioctl.h>
#include <unistd.h>
#endif

/// The terminal that standard error leads to.
namespace nibble_command::terminal {

#if defined(_WIN32)

[[nodiscard]] inline bool is_there() noexcept { return ::_isatty(::_fileno(stderr)) != 0; }

/// How wide lines may be.
[[nodiscard]] inline std::size_t columns() noexcept { return 80; }

inline void write(std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

#else

[[nodiscard]] inline bool is_there() noexcept { return ::isatty(STDERR_FILENO) == 1; }

/// How wide lines may be.
[[nodiscard]] inline std::size_t columns() noexcept {
  winsize window{};
  const bool is_known = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col != 0;
  return is_known ? window.ws_col : 80;
}

inline void write(std::string_view text) noexcept {
  static_cast<void>(!::write(STDERR_FILENO, text.data(), text.size()));
}

#endif

}  // namespace nibble_command::terminal
