#include <support/catch.hpp>

#if defined(NIBBLE_WITH_TBB)

#include <nibble/compute/tbb_executor.hpp>

#include <tbb/task_arena.h>

#include <compute/executor_laws.hpp>

namespace {

TEST_CASE("TBB's threads do what serial work does", "[tbb_executor]") {
  nibble::tbb_executor on;
  nibble_test::check_executor(on);
}

TEST_CASE("tasks run in the arena that they are called in", "[tbb_executor]") {
  tbb::task_arena one(1);
  std::atomic<int> elsewhere{0};
  one.execute([&] {
    nibble::tbb_executor on;
    nibble::run_tasks(&on, 200, [&](std::size_t) {
      if (tbb::this_task_arena::max_concurrency() != 1) ++elsewhere;
    });
  });
  CHECK(elsewhere == 0);
}

}  // namespace

#else

TEST_CASE("TBB executor", "[tbb_executor]") {
  WARN("passed by: TBB was not found, or ThreadSanitizer cannot see into it");
}

#endif
