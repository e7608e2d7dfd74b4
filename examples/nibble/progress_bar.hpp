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
  progress_bar() : is_terminal_(terminal::is_there()) {}
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
      draw(total == 0 ? 0.0 : static_cast<double>(done) / static_cast<double>(total), label);
    } catch (...) {
      return;  // A bar that cannot be drawn must not end the work.
    }
  }

 private:
  void draw(double fraction, std::string_view label) {
    constexpr std::size_t bar_columns = 24;
    const auto filled = static_cast<std::size_t>(fraction * static_cast<double>(bar_columns));
    const std::string line =
        fmt::format("[{:#<{}}{:.<{}}] {:3.0f} %  {}", "", filled, "", bar_columns - filled,
                    100.0 * fraction, nibble::escape_text(label));
    const std::string_view shown = fit_columns(line, terminal::columns() - 1);
    const std::size_t columns = display_columns(shown);
    const std::size_t left_over = drawn_columns_ > columns ? drawn_columns_ - columns : 0;
    terminal::write(fmt::format("\r{}{:{}}", shown, "", left_over));
    drawn_columns_ = columns;
  }

  bool is_terminal_;
  std::mutex guard_;
  std::size_t drawn_columns_ = 0;
  std::chrono::steady_clock::time_point drawn_at_{};
};

/// Runs tasks on another executor and shows how many are done.
class watched_executor final : public nibble::executor {
 public:
  /// Both are borrowed.
  watched_executor(nibble::executor& on, progress_bar& bar, std::string_view label)
      : on_(on), bar_(bar), label_(label) {}

  void run(std::size_t tasks, nibble::task_reference body) override {
    std::atomic<std::size_t> done{0};
    auto watched = [&](std::size_t task) {
      body(task);
      bar_.show(++done, tasks, label_);
    };
    on_.run(tasks, watched);
  }

 private:
  nibble::executor& on_;
  progress_bar& bar_;
  std::string_view label_;
};

}  // namespace nibble_command
