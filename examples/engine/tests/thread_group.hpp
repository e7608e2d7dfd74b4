#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include <engine/rank_group.hpp>

namespace nibble_engine_test {

/// What ranks that are threads of one process share.
class thread_ranks {
 public:
  explicit thread_ranks(std::size_t size) : values(size) {}

  /// Returns once all ranks are here.
  void meet() {
    std::unique_lock lock(mutex_);
    const std::size_t meeting = meetings_;
    if (++here_ == values.size()) {
      here_ = 0;
      ++meetings_;
      all_came_.notify_all();
    } else {
      all_came_.wait(lock, [&] { return meetings_ != meeting; });
    }
  }

  std::vector<std::span<std::byte>> values;

 private:
  std::mutex mutex_;
  std::condition_variable all_came_;
  std::size_t here_ = 0;
  std::size_t meetings_ = 0;
};

/// A rank that is a thread: it copies from the memory of the others while all wait.
class thread_group final : public nibble_engine::rank_group {
 public:
  thread_group(thread_ranks& ranks, std::size_t rank) : ranks_(ranks), rank_(rank) {}

  [[nodiscard]] std::size_t rank() const noexcept override { return rank_; }
  [[nodiscard]] std::size_t size() const noexcept override { return ranks_.values.size(); }

  void gather(std::span<std::byte> values, std::span<const std::size_t> counts) override {
    copy_parts(values, counts, true);
  }
  void gather_to_first(std::span<std::byte> values, std::span<const std::size_t> counts) override {
    copy_parts(values, counts, rank_ == 0);
  }
  void exchange(std::span<const std::byte> values, std::span<const std::size_t> counts,
                std::span<std::byte> received) override {
    // The others read from it, and no more.
    ranks_.values[rank_] = {const_cast<std::byte*>(values.data()), values.size()};
    ranks_.meet();
    std::size_t place = 0;
    for (std::size_t rank = 0; rank < rank_; ++rank) place += counts[rank];
    for (std::size_t from = 0; from < size() && counts[rank_] != 0; ++from) {
      std::memcpy(&received[from * counts[rank_]], &ranks_.values[from][place], counts[rank_]);
    }
    ranks_.meet();
    ++traffic_.messages;
    traffic_.bytes += values.size() - counts[rank_];
  }
  void broadcast(std::span<std::byte> values) override {
    std::vector<std::size_t> counts(size());
    counts[0] = values.size();
    copy_parts(values, counts, true);
  }
  [[nodiscard]] nibble_engine::rank_traffic traffic() const noexcept override { return traffic_; }

 private:
  void copy_parts(std::span<std::byte> values, std::span<const std::size_t> counts, bool wants_all) {
    ranks_.values[rank_] = values;
    ranks_.meet();
    std::size_t place = 0;
    for (std::size_t from = 0; from < size(); ++from) {
      const bool is_copied = wants_all && from != rank_ && counts[from] != 0;
      if (is_copied) std::memcpy(&values[place], &ranks_.values[from][place], counts[from]);
      place += counts[from];
    }
    ranks_.meet();
    ++traffic_.messages;
    traffic_.bytes += counts[rank_] * (size() - 1);
  }

  thread_ranks& ranks_;
  std::size_t rank_;
  nibble_engine::rank_traffic traffic_;
};

/// Runs work(group) on so many threads, each with its rank. Work must not throw on one rank alone.
inline void on_ranks(std::size_t size, const std::function<void(thread_group&)>& work) {
  thread_ranks ranks(size);
  std::vector<std::exception_ptr> problems(size);
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        thread_group group(ranks, rank);
        work(group);
      } catch (...) {
        problems[rank] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& problem : problems) {
    if (problem) std::rethrow_exception(problem);
  }
}

}  // namespace nibble_engine_test
