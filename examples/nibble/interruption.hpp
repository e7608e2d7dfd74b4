#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <nibble/compute/row_source.hpp>
#include <nibble/core/error.hpp>

namespace nibble_command {

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
