#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <nibble/compute/executor.hpp>
#include <nibble/core/text.hpp>

#include "terminal.hpp"
#include "text_layout.hpp"

namespace nibble_command {

/// How far long work has come, on a line of standard error that goes with the object. Silent where
/// standard error is not a terminal.
class progress_bar {
 public:
  /// What the work is counted in: of bytes the rate is shown, too.
  enum class unit : unsigned char { bytes, steps };
  explicit progress_bar(unit counted_in = unit::bytes)
      : is_terminal_(terminal::is_there()), unit_(counted_in) {}
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() {
    if (drawn_columns_ != 0) terminal::write(fmt::format("\r{:{}}\r", "", drawn_columns_));
  }

  /// Draws at most ten times a second; `label` says what is at work. Any thread may call.
  void show(std::uint64_t done, std::uint64_t total, std::string_view label) noexcept {
    if (!is_terminal_) return;
    const std::unique_lock lock(guard_, std::try_to_lock);
    if (!lock) return;
    const auto now = std::chrono::steady_clock::now();
    if (drawn_columns_ != 0 && now - drawn_at_ < std::chrono::milliseconds(100)) return;
    drawn_at_ = now;
    try {
      draw(done, total, std::chrono::duration<double>(now - begun_at_).count(), label);
    } catch (...) {
      return;  // A bar that cannot be drawn must not end the work.
    }
  }

 private:
  /// Share, rate and time left: "[###......] 30 %  412.0 MB/s  1:05 left  name". The last two once there
  /// is something to tell them from.
  void draw(std::uint64_t done, std::uint64_t total, double seconds, std::string_view label) {
    constexpr std::size_t bar_columns = 24;
    const double fraction = total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total);
    const auto filled = static_cast<std::size_t>(fraction * static_cast<double>(bar_columns));
    std::string line = fmt::format("[{:#<{}}{:.<{}}] {:3.0f} %", "", filled, "", bar_columns - filled,
                                   100.0 * fraction);
    if (done != 0 && seconds > 0) {
      if (unit_ == unit::bytes) {
        line += fmt::format("  {:.1f} MB/s", static_cast<double>(done) / 1e6 / seconds);
      }
      const auto left = static_cast<std::uint64_t>(seconds * (1.0 - fraction) / fraction + 0.5);
      line += fmt::format("  {}:{:02} left", left / 60, left % 60);
    }
    line += "  " + nibble::escape_text(label);
    const std::string_view shown = fit_columns(line, terminal::columns() - 1);
    const std::size_t columns = display_columns(shown);
    const std::size_t left_over = drawn_columns_ > columns ? drawn_columns_ - columns : 0;
    terminal::write(fmt::format("\r{}{:{}}", shown, "", left_over));
    drawn_columns_ = columns;
  }

  bool is_terminal_;
  unit unit_;
  std::mutex guard_;
  std::size_t drawn_columns_ = 0;
  std::chrono::steady_clock::time_point begun_at_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point drawn_at_{};
};

/// Runs tasks of like size on another executor and shows how much of `total_bytes` they have done.
class watched_executor final : public nibble::executor {
 public:
  /// Executor and bar are borrowed.
  watched_executor(nibble::executor& on, progress_bar& bar, std::string_view label,
                   std::uint64_t total_bytes)
      : on_(on), bar_(bar), label_(label), total_bytes_(total_bytes) {}

  void run(std::size_t tasks, nibble::task_reference body) override {
    std::atomic<std::size_t> done{0};
    auto watched = [&](std::size_t task) {
      body(task);
      const double share = static_cast<double>(++done) / static_cast<double>(tasks);
      bar_.show(static_cast<std::uint64_t>(share * static_cast<double>(total_bytes_)), total_bytes_,
                label_);
    };
    on_.run(tasks, watched);
  }

 private:
  nibble::executor& on_;
  progress_bar& bar_;
  std::string_view label_;
  std::uint64_t total_bytes_;
};

}  // namespace nibble_command
