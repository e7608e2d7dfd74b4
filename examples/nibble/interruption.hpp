#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <nibble/compute/row_source.hpp>
#include <nibble/core/error.hpp>

#if defined(_WIN32)
#include <atomic>
extern "C" __declspec(dllimport) int __stdcall SetConsoleCtrlHandler(int(__stdcall*)(unsigned long),
                                                                     int);
#endif

namespace nibble_command {

#if defined(_WIN32)

/// While one lives, Ctrl-C (as SIGINT) and Ctrl-Break (as SIGTERM) are noted rather than obeyed, so
/// that work can clean up behind itself. The second one ends the program at once.
class interruption {
 public:
  interruption() { ::SetConsoleCtrlHandler(note, 1); }
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;
  ~interruption() { ::SetConsoleCtrlHandler(note, 0); }

  /// The signal that came, or 0.
  [[nodiscard]] static int received() noexcept { return received_; }

 private:
  /// Called by the system, on a thread of its own.
  static int __stdcall note(unsigned long event) {
    constexpr unsigned long control_c = 0;
    constexpr unsigned long control_break = 1;
    if (event != control_c && event != control_break) return 0;
    int none = 0;
    return received_.compare_exchange_strong(none, event == control_c ? SIGINT : SIGTERM) ? 1 : 0;
  }

  static inline std::atomic<int> received_{0};
};

#else

/// While one lives, SIGINT and SIGTERM are noted rather than obeyed, so that work can clean up behind
/// itself. The second signal of a kind ends the program at once. Signals that are ignored stay so.
class interruption {
 public:
  interruption() {
    for (std::size_t i = 0; i < signals.size(); ++i) {
      ::sigaction(signals[i], nullptr, &previous_[i]);
      if (previous_[i].sa_handler == SIG_IGN) continue;
      struct sigaction noting {};
      noting.sa_handler = [](int signal) { received_ = signal; };
      noting.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
      ::sigaction(signals[i], &noting, nullptr);
    }
  }
  interruption(const interruption&) = delete;
  interruption& operator=(const interruption&) = delete;
  ~interruption() {
    for (std::size_t i = 0; i < signals.size(); ++i) ::sigaction(signals[i], &previous_[i], nullptr);
  }

  /// The signal that came, or 0.
  [[nodiscard]] static int received() noexcept { return received_; }

 private:
  static constexpr std::array signals{SIGINT, SIGTERM};
  static inline volatile std::sig_atomic_t received_ = 0;
  std::array<struct sigaction, signals.size()> previous_{};
};

#endif

/// The same rows, but throws cancelled once a signal has come: a tensor may be read in full before the
/// writer first calls the progress callback.
[[nodiscard]] inline nibble::row_source interruptible(nibble::row_source rows) {
  return [rows = std::move(rows)](std::uint64_t first_row, std::uint64_t row_count,
                                  std::span<float> values) {
    if (interruption::received() != 0) {
      throw nibble::error(nibble::error_code::cancelled, {.field = "signal", .found = "an interrupt"});
    }
    rows(first_row, row_count, values);
  };
}

}  // namespace nibble_command
