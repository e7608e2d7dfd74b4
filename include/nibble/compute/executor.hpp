#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <type_traits>

namespace nibble {

class task_reference;

/// A callable void(std::size_t task) that is not a reference to one already.
template <class T>
concept Task =
    !std::is_same_v<std::remove_cv_t<T>, task_reference> && std::is_invocable_v<T&, std::size_t>;

/// A reference to a callable void(std::size_t task); like a view, it owns nothing.
class task_reference {
 public:
  /// Refers to `callable`, which must outlive every call.
  template <Task Callable>
  task_reference(Callable& callable) noexcept  // NOLINT: implicit by purpose
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, std::size_t task) { (*static_cast<Callable*>(object))(task); }) {}

  /// Calls it.
  void operator()(std::size_t task) const { call_(object_, task); }

 private:
  void* object_;
  void (*call_)(void*, std::size_t);
};

/// Threads as the host gives them. Derive from it to run this library's work on a pool of your own.
///
/// run() is called at least once a product: some 150 times for a token of a model of 30 layers, every
/// few microseconds. So threads should be there already: nibble::thread_pool (thread_pool.hpp) keeps
/// them.
class executor {
 public:
  virtual ~executor() = default;

  /// Calls body(0), body(1), ... body(tasks - 1), each once, in any order and on any threads, and
  /// returns when all have returned and what they wrote can be read by the caller, as after joining
  /// threads. The bodies that this library hands over never throw.
  virtual void run(std::size_t tasks, task_reference body) = 0;

 protected:
  executor() = default;
  executor(const executor&) = default;
  executor& operator=(const executor&) = default;
};

/// The calling thread, one task after the other.
class serial_executor final : public executor {
 public:
  void run(std::size_t tasks, task_reference body) override {
    for (std::size_t task = 0; task < tasks; ++task) body(task);
  }
};

/// What a call may be told that has nothing else to choose.
struct compute_options {
  nibble::executor* executor = nullptr;  ///< runs the work; null: the calling thread does
};

/// Calls body(task) for every task, on the executor or, where it is null, on the calling thread. After
/// the first exception no further task starts its work, and the exception is rethrown here.
template <class Body>
void run_tasks(executor* executor, std::size_t tasks, Body&& body) {
  if (executor == nullptr || tasks < 2) {
    for (std::size_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  std::atomic<bool> has_failed{false};
  std::exception_ptr first;  // Written by one task; run() returns behind it.
  auto shielded = [&](std::size_t task) noexcept {
    if (has_failed.load(std::memory_order_relaxed)) return;
    try {
      body(task);
    } catch (...) {
      if (!has_failed.exchange(true, std::memory_order_relaxed)) first = std::current_exception();
    }
  };
  executor->run(tasks, shielded);
  if (first) std::rethrow_exception(first);
}

}  // namespace nibble
