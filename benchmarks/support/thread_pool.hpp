#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <nibble/compute/executor.hpp>

namespace nibble_benchmark {

/// A number that threads sleep on until it is another: std::atomic's wait() and notify, but on Windows,
/// where that of libstdc++ 12 looks at the number before it takes its lock, and sleeps through a change
/// between the two.
template <class Number>
class awaited {
 public:
  std::atomic<Number> number{0};

#if defined(_WIN32)
  /// Sleeps while the number is `old`.
  void wait(Number old) {
    std::unique_lock lock(guard_);
    is_changed_.wait(lock, [&] { return number != old; });
  }
  /// Wakes all that wait, after the number was changed.
  void wake() {
    { const std::lock_guard lock(guard_); }
    is_changed_.notify_all();
  }

 private:
  std::mutex guard_;
  std::condition_variable is_changed_;
#else
  /// Sleeps while the number is `old`.
  void wait(Number old) { number.wait(old); }
  /// Wakes all that wait, after the number was changed.
  void wake() { number.notify_all(); }
#endif
};

/// Threads that live as long as the pool does and sleep between one run() and the next, for work that
/// comes in many small pieces; the calling thread works along. Calls from several threads queue up.
class thread_pool final : public nibble::executor {
 public:
  /// `threads` is at least 1; the caller of run() is one of them.
  explicit thread_pool(unsigned threads) {
    helpers_.reserve(threads);
    while (helpers_.size() + 1 < threads) {
      try {
        helpers_.emplace_back([this] { help(); });
      } catch (const std::system_error&) {
        break;  // No more threads to be had: those that run do all of the work.
      }
    }
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() override {
    ends_ = true;
    ++round_.number;
    round_.wake();
  }

  void run(std::size_t tasks, nibble::task_reference body) override {
    const std::lock_guard one_at_a_time(guard_);
    body_ = &body;
    tasks_ = tasks;
    next_ = 0;
    working_.number = helpers_.size();
    ++round_.number;
    round_.wake();
    work();
    for (std::size_t left = working_.number; left != 0; left = working_.number) working_.wait(left);
  }

  /// Threads that run() works on.
  [[nodiscard]] std::size_t threads() const noexcept { return helpers_.size() + 1; }

 private:
  void work() {
    for (std::size_t task = next_++; task < tasks_; task = next_++) (*body_)(task);
  }

  void help() {
    for (std::uint32_t seen = 0;; ++seen) {
      round_.wait(seen);
      if (ends_) return;
      work();
      if (--working_.number == 0) working_.wake();
    }
  }

  std::mutex guard_;
  const nibble::task_reference* body_ = nullptr;
  std::size_t tasks_ = 0;
  std::atomic<std::size_t> next_{0};
  awaited<std::size_t> working_;  ///< helpers that have not ended this round
  awaited<std::uint32_t> round_;
  std::atomic<bool> ends_{false};
  std::vector<std::jthread> helpers_;
};

}  // namespace nibble_benchmark
