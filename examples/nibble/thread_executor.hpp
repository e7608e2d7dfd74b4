#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

#include <nibble/compute/executor.hpp>

namespace nibble_command {

/// Threads that live for one run() and claim task after task; the calling thread is one of them.
class thread_executor final : public nibble::executor {
 public:
  /// `threads` is at least 1.
  explicit thread_executor(unsigned threads) : threads_(threads) {}

  void run(std::size_t tasks, nibble::task_reference body) override {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t task = next++; task < tasks; task = next++) body(task);
    };
    std::vector<std::jthread> helpers;
    helpers.reserve(threads_);
    while (helpers.size() + 1 < std::min<std::size_t>(threads_, tasks)) {
      try {
        helpers.emplace_back(work);
      } catch (const std::system_error&) {
        break;  // No more threads to be had: those that run do all of the work.
      }
    }
    work();
  }

 private:
  std::size_t threads_;
};

}  // namespace nibble_command
