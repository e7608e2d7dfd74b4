#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/compute/thread_pool.hpp>

namespace nibble_benchmark {

/// One thread, and all that the machine has.
[[nodiscard]] inline std::vector<unsigned> thread_counts() {
  const unsigned all = std::max(std::thread::hardware_concurrency(), 1U);
  return all == 1 ? std::vector<unsigned>{1} : std::vector<unsigned>{1, all};
}

/// Null for one thread, else a pool that lives as long as the program.
[[nodiscard]] inline nibble::executor* executor_of(unsigned threads) {
  static std::map<unsigned, std::unique_ptr<nibble::thread_pool>> pools;
  if (threads == 1) return nullptr;
  std::unique_ptr<nibble::thread_pool>& pool = pools[threads];
  if (pool == nullptr) pool = std::make_unique<nibble::thread_pool>(threads);
  return pool.get();
}

/// Registers body(state) as "NAME/threads:N": timed by the thread's processor time, or by the clock on
/// the wall where there are several.
template <class Body>
void register_benchmark(const std::string& name, unsigned threads, Body&& body) {
  auto* const added = benchmark::RegisterBenchmark(
      (name + "/threads:" + std::to_string(threads)).c_str(), std::forward<Body>(body));
  if (threads > 1) added->UseRealTime();
}

}  // namespace nibble_benchmark
