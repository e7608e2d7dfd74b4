#include <nibble/compute/executor.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <support/catch.hpp>
#include <support/shuffled_executor.hpp>

namespace {

using nibble::run_tasks;

/// An executor that runs nothing on its own and says what it was asked.
class recording_executor final : public nibble::executor {
 public:
  void run(std::size_t tasks, nibble::task_reference body) override {
    asked.push_back(tasks);
    for (std::size_t task = tasks; task != 0; --task) body(task - 1);
  }
  std::vector<std::size_t> asked;
};

std::vector<int> calls_of(nibble::executor* on, std::size_t tasks) {
  std::vector<std::atomic<int>> calls(tasks);
  run_tasks(on, tasks, [&](std::size_t task) { ++calls.at(task); });
  return {calls.begin(), calls.end()};
}

TEST_CASE("every task runs exactly once, whatever runs it", "[executor]") {
  nibble::serial_executor serial;
  nibble_test::shuffled_executor threads(1);
  recording_executor backwards;
  for (const std::size_t tasks : {0U, 1U, 2U, 3U, 64U, 1000U}) {
    const std::vector<int> once(tasks, 1);
    CHECK(calls_of(nullptr, tasks) == once);
    CHECK(calls_of(&serial, tasks) == once);
    CHECK(calls_of(&threads, tasks) == once);
    CHECK(calls_of(&backwards, tasks) == once);
  }
  // One task is no reason to wake a pool.
  CHECK(backwards.asked == std::vector<std::size_t>{2, 3, 64, 1000});
}

TEST_CASE("without an executor, and on the serial one, tasks run in order on the caller's thread",
          "[executor]") {
  nibble::serial_executor serial;
  for (nibble::executor* const on :
       {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&serial)}) {
    std::vector<std::size_t> order;
    bool is_here = true;
    const auto caller = std::this_thread::get_id();
    run_tasks(on, 5, [&](std::size_t task) {
      order.push_back(task);
      is_here = is_here && std::this_thread::get_id() == caller;
    });
    CHECK(order == std::vector<std::size_t>{0, 1, 2, 3, 4});
    CHECK(is_here);
  }
}

TEST_CASE("the first exception stops later tasks and reaches the caller", "[executor]") {
  nibble::serial_executor serial;
  for (nibble::executor* const on :
       {static_cast<nibble::executor*>(nullptr), static_cast<nibble::executor*>(&serial)}) {
    std::vector<std::size_t> started;
    std::string caught;
    try {
      run_tasks(on, 10, [&](std::size_t task) {
        started.push_back(task);
        if (task >= 3) throw std::runtime_error("task " + std::to_string(task));
      });
    } catch (const std::runtime_error& thrown) {
      caught = thrown.what();
    }
    CHECK(caught == "task 3");
    CHECK(started == std::vector<std::size_t>{0, 1, 2, 3});
  }
}

TEST_CASE("an exception on another thread is rethrown on the caller's, after all tasks returned",
          "[executor]") {
  struct stop {
    std::size_t task;
  };
  for (std::uint32_t seed = 0; seed < 20; ++seed) {
    nibble_test::shuffled_executor threads(seed);
    std::atomic<int> running{0};
    std::atomic<std::size_t> thrown{0};
    bool was_caught = false;
    try {
      run_tasks(&threads, 100, [&](std::size_t task) {
        ++running;
        if (task % 7 == 0) {
          --running;
          ++thrown;
          throw stop{task};
        }
        --running;
      });
    } catch (const stop& caught) {
      was_caught = true;
      CHECK(caught.task % 7 == 0);
    }
    CHECK(was_caught);
    CHECK(running == 0);
    CHECK(thrown >= 1);
    CHECK(threads.tasks_run == 100);
  }
}

TEST_CASE("an exception that is no std::exception passes unchanged", "[executor]") {
  recording_executor on;
  CHECK_THROWS_AS(run_tasks(&on, 4, [](std::size_t) { throw 42; }), int);
  CHECK_THROWS_AS(run_tasks(nullptr, 1, [](std::size_t) { throw 42; }), int);
}

TEST_CASE("an executor serves again after an exception", "[executor]") {
  nibble_test::shuffled_executor threads(3);
  CHECK_THROWS_AS(run_tasks(&threads, 8, [](std::size_t) { throw 1; }), int);
  CHECK(calls_of(&threads, 50) == std::vector<int>(50, 1));
}

TEST_CASE("a task reference calls the callable it was made from, not a copy", "[executor]") {
  struct counter {
    std::size_t sum = 0;
    void operator()(std::size_t task) { sum += task; }
  };
  counter counted;
  const nibble::task_reference reference(counted);
  reference(5);
  const nibble::task_reference copy = reference;
  copy(7);
  CHECK(counted.sum == 12);
}

}  // namespace
