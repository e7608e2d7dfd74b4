#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <nibble/compute/executor.hpp>

namespace nibble_test {

/// Tasks in an order that is never the natural one, on three threads.
class shuffled_executor final : public nibble::executor {
 public:
  explicit shuffled_executor(std::uint32_t seed) : generator_(seed) {}

  void run(std::size_t tasks, nibble::task_reference body) override {
    std::vector<std::size_t> order(tasks);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::shuffle(order.begin(), order.end(), generator_);
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < tasks; i = next++) body(order[i]);
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
    tasks_run += tasks;
  }

  std::size_t tasks_run = 0;

 private:
  std::mt19937 generator_;
};

}  // namespace nibble_test
