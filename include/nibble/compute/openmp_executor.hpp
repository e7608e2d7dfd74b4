#pragma once

#ifndef _OPENMP
#error "nibble/compute/openmp_executor.hpp needs a translation unit compiled with -fopenmp"
#endif

#include <cstddef>

#include <omp.h>

#include <nibble/compute/executor.hpp>

namespace nibble {

/// OpenMP's threads. Inside a parallel region of the host's it runs as OpenMP nests: on the calling
/// thread, unless nesting is on. For translation units compiled with -fopenmp alone.
class openmp_executor final : public executor {
 public:
  /// As many threads as OpenMP has at each run.
  openmp_executor() = default;
  /// At most this many; 0 leaves the number to OpenMP.
  explicit openmp_executor(int threads) noexcept : threads_(threads) {}

  void run(std::size_t tasks, task_reference body) override {
    const int threads = threads_ > 0 ? threads_ : omp_get_max_threads();
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (std::size_t task = 0; task < tasks; ++task) body(task);
  }

 private:
  int threads_ = 0;
};

}  // namespace nibble
