#include <support/catch.hpp>

#if defined(NIBBLE_WITH_OPENMP)

#include <nibble/compute/openmp_executor.hpp>

#include <compute/executor_laws.hpp>

namespace {

TEST_CASE("OpenMP's threads do what serial work does", "[openmp_executor]") {
  nibble::openmp_executor as_configured;
  nibble_test::check_executor(as_configured);
  nibble::openmp_executor three(3);
  nibble_test::check_executor(three);
}

TEST_CASE("inside a parallel region of the host's, tasks still run once each", "[openmp_executor]") {
  std::atomic<int> calls{0};
#pragma omp parallel num_threads(2)
  {
    nibble::openmp_executor nested;
    nibble::run_tasks(&nested, 50, [&](std::size_t) { ++calls; });
  }
  CHECK(calls % 50 == 0);
  CHECK(calls >= 50);
}

}  // namespace

#else

TEST_CASE("OpenMP executor", "[openmp_executor]") {
  WARN("passed by: OpenMP was not found, or ThreadSanitizer cannot see into it");
}

#endif
