#include <nibble/compute/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <thread>
#include <vector>

#include <support/catch.hpp>

TEST_CASE("a thread pool runs each task once, round after round", "[thread_pool]") {
  const unsigned threads = GENERATE(1U, 2U, 5U);
  nibble::thread_pool pool(threads);
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
  nibble::thread_pool pool(3);
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

TEST_CASE("what tasks wrote is there when run() returns, however short the round", "[thread_pool]") {
  nibble::thread_pool pool(4);
  std::vector<std::size_t> written(3);
  bool is_whole = true;
  for (std::size_t round = 1; round <= 20'000; ++round) {
    const std::size_t tasks = round % 3 + 1;
    auto write = [&](std::size_t task) { written[task] = round; };
    pool.run(tasks, write);
    for (std::size_t task = 0; task < tasks; ++task) is_whole &= written[task] == round;
  }
  CHECK(is_whole);
}

TEST_CASE("a thread pool that slept wakes up, and one that never worked ends", "[thread_pool]") {
  const nibble::thread_pool idle(3);
  nibble::thread_pool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> runs{0};
    auto count = [&](std::size_t) { ++runs; };
    pool.run(100, count);
    CHECK(runs == 100);
  }
}
