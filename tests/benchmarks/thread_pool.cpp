#include <benchmarks/support/thread_pool.hpp>

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include <support/catch.hpp>

TEST_CASE("a thread pool runs each task once, round after round", "[thread_pool]") {
  const unsigned threads = GENERATE(1U, 2U, 5U);
  nibble_benchmark::thread_pool pool(threads);
  REQUIRE(pool.threads() == threads);
  for (std::size_t round = 0; round < 500; ++round) {
    std::vector<std::atomic<int>> runs(round % 17);
    auto count = [&](std::size_t task) { ++runs[task]; };
    pool.run(runs.size(), count);
    for (const std::atomic<int>& each : runs) {
      if (each != 1) FAIL("round " << round << " ran a task " << each << " times");
    }
  }
}

TEST_CASE("a thread pool may be asked by several threads at once", "[thread_pool]") {
  nibble_benchmark::thread_pool pool(3);
  std::atomic<std::size_t> runs{0};
  {
    std::vector<std::jthread> hosts;
    for (int i = 0; i < 4; ++i) {
      hosts.emplace_back([&] {
        auto count = [&](std::size_t) { ++runs; };
        for (int round = 0; round < 200; ++round) pool.run(7, count);
      });
    }
  }
  REQUIRE(runs == 4 * 200 * 7);
}
