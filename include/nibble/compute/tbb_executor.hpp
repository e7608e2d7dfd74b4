#pragma once

#include <cstddef>

#include <tbb/parallel_for.h>
#include <tbb/task_group.h>

#include <nibble/compute/executor.hpp>

namespace nibble {

/// TBB's threads, in the arena that run() is called in: tbb::task_arena and tbb::global_control of the
/// host's bound them. The program links TBB.
class tbb_executor final : public executor {
 public:
  void run(std::size_t tasks, task_reference body) override {
    // Of its own, so that a host that cancels the group around it never sees half of the tasks done.
    tbb::task_group_context context(tbb::task_group_context::isolated);
    tbb::parallel_for(
        std::size_t{0}, tasks, [body](std::size_t task) { body(task); }, context);
  }
};

}  // namespace nibble
