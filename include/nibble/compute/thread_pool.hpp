#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <nibble/compute/executor.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {

/// Threads that live as long as the pool does, for work that comes in many small pieces: an engine runs
/// some 150 products for one token. The thread that calls run() works along, so that a pool of one
/// starts none.
///
/// A thread takes a run of neighbouring tasks at a time, its share of those that are left (guided
/// self-scheduling, Polychronopoulos and Kuck 1987): what it reads lies behind each other, and threads
/// seldom meet.
///
/// A helper that finds nothing to do looks for more for some 20 microseconds and then sleeps. run()
/// waits for tasks, not for helpers: one that the system has not woken yet holds nothing up. Calls of
/// run() from several threads queue up; a task must not call run() of its own pool.
class thread_pool final : public executor {
 public:
  /// `threads` counts the caller of run(). Where the system gives fewer, those do all of the work.
  // A template, so that units that have no pool do not compile how threads start.
  template <class Unit = this_architecture>
  explicit thread_pool(unsigned threads = std::thread::hardware_concurrency()) {
    while (helpers_.size() + 1 < threads) {
      try {
        helpers_.emplace_back([this] { help(); });
      } catch (const std::system_error&) {
        break;
      }
    }
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;
  ~thread_pool() override {
    ends_ = true;
    wake_helpers();
    for (std::thread& helper : helpers_) helper.join();
  }

  void run(std::size_t tasks, task_reference body) override {
    const std::lock_guard one_at_a_time(guard_);
    for (std::size_t first = 0; first < tasks; first += most_tasks) {
      const std::size_t count = tasks - first < most_tasks ? tasks - first : most_tasks;
      auto shifted = [&](std::size_t task) { body(first + task); };
      if (first == 0) {
        run_round(count, body);
      } else {
        run_round(count, shifted);
      }
    }
  }

  /// Threads that run() works on.
  [[nodiscard]] std::size_t threads() const noexcept { return helpers_.size() + 1; }

 private:
  // A ticket is a round's number in its upper half and the next task of that round in its lower half,
  // so that whoever takes a task knows by the same compare-and-swap that the round is still open, and
  // what run() wrote for it still stands.
  static constexpr std::uint64_t task_bits = 32;
  static constexpr std::uint64_t closed = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::size_t most_tasks = closed - 1;

  /// Threads that wait for something to become true, first by looking, then asleep.
  class sleepers {
   public:
    template <class Condition>
    void wait_until(const Condition& is_true) {
      for (int looks = 0; looks < looks_before_sleep; ++looks) {
        if (is_true()) return;
        std::this_thread::yield();
      }
      std::unique_lock lock(guard_);
      ++count_;
      changed_.wait(lock, is_true);
      --count_;
    }
    /// To be called behind what makes the condition true. Either this sees the sleeper's count, or the
    /// sleeper sees what was changed before.
    void notify() {
      if (count_.load() == 0) return;
      { const std::lock_guard lock(guard_); }
      changed_.notify_all();
    }

   private:
    static constexpr int looks_before_sleep = 64;
    std::mutex guard_;
    std::condition_variable changed_;
    std::atomic<std::size_t> count_{0};
  };

  [[nodiscard]] static std::uint64_t next_task(std::uint64_t ticket) noexcept {
    return ticket & closed;
  }

  void run_round(std::size_t tasks, task_reference body) {
    const std::uint64_t round = (ticket_.load() >> task_bits) + 1;
    ticket_ = round << task_bits | closed;  // nobody takes a task while the rest is being written
    body_ = &body;
    tasks_ = tasks;
    done_ = 0;
    ticket_ = round << task_bits;
    if (tasks > 1) wake_helpers();
    work();
    finished_.wait_until([&] { return done_.load() == tasks; });
  }

  /// Takes tasks of the round that is open until there are none.
  void work() {
    for (std::uint64_t ticket = ticket_.load();;) {
      const std::size_t tasks = tasks_.load();
      if (next_task(ticket) == closed || next_task(ticket) >= tasks) return;
      const auto first = static_cast<std::size_t>(next_task(ticket));
      const std::size_t some = (tasks - first + threads() - 1) / threads();
      if (!ticket_.compare_exchange_weak(ticket, ticket + some)) continue;
      // The round does not end before these tasks are done, so their body and their number stand.
      const task_reference& body = *body_.load();
      for (std::size_t task = first; task < first + some; ++task) body(task);
      if ((done_ += some) == tasks) finished_.notify();
      ticket = ticket_.load();
    }
  }

  void help() {
    for (std::uint32_t seen = 0; !ends_.load();) {
      work();
      called_.wait_until([&] { return calls_.load() != seen; });
      seen = calls_.load();
    }
  }

  void wake_helpers() {
    ++calls_;
    called_.notify();
  }

  // What threads wait for, what they take tasks from and what they count lie in lines of their own.
  static constexpr std::size_t cache_line_bytes = 64;

  std::mutex guard_;
  alignas(cache_line_bytes) std::atomic<std::uint64_t> ticket_{closed};
  alignas(cache_line_bytes) std::atomic<const task_reference*> body_{nullptr};
  std::atomic<std::size_t> tasks_{0};
  alignas(cache_line_bytes) std::atomic<std::size_t> done_{0};
  alignas(cache_line_bytes) std::atomic<std::uint32_t> calls_{0};  ///< how often helpers were called
  sleepers called_;                                                ///< helpers
  sleepers finished_;                                              ///< the caller of run()
  std::atomic<bool> ends_{false};
  std::vector<std::thread> helpers_;
};

}  // namespace nibble
