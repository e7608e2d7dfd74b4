#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "rank_group.hpp"

namespace nibble_engine {

/// The processes that mpirun started together. One of them lives at a time, from before the first
/// message to after the last.
///
/// MPI knows no end of a call whose partner has died. Two look out for that: mpirun ends all ranks where
/// one dies, on whatever host; and a thread here looks at the processes of this host five times a second.
class mpi_group final : public rank_group {
 public:
  /// Told of a rank that died, on a thread of its own; it ends the process. `rank` is the lowest that is
  /// left, which is to speak for all.
  struct loss {
    std::size_t rank;  ///< that died; size() where mpirun does not say which
    std::string process;
    bool is_mine_to_say;
  };

  /// Whether mpirun, or what else starts ranks, started this process.
  [[nodiscard]] static bool is_launched() noexcept;

  /// Meets the other ranks. `is_ended` says whether the launcher has asked this process to end. Throws
  /// nibble::error (read_failed) where MPI fails, as all other functions do.
  mpi_group(std::function<bool()> is_ended, std::function<void(const loss&)> on_loss);
  /// Waits for the others to come here too.
  ~mpi_group() override;

  [[nodiscard]] std::size_t rank() const noexcept override { return rank_; }
  [[nodiscard]] std::size_t size() const noexcept override { return size_; }
  void gather(std::span<std::byte> values, std::span<const std::size_t> counts) override;
  void gather_to_first(std::span<std::byte> values, std::span<const std::size_t> counts) override;
  void exchange(std::span<const std::byte> values, std::span<const std::size_t> counts,
                std::span<std::byte> received) override;
  void broadcast(std::span<std::byte> values) override;
  [[nodiscard]] rank_traffic traffic() const noexcept override { return traffic_; }

  /// Ends all ranks, wherever they are; mpirun returns the code.
  [[noreturn]] void abort(int exit_code) const noexcept;

 private:
  void watch();
  void place_parts(std::span<const std::size_t> counts);

  std::size_t rank_ = 0;
  std::size_t size_ = 1;
  rank_traffic traffic_;
  std::vector<int> counts_, places_;
  std::vector<std::int64_t> processes_;  ///< of the ranks of this host; 0 for others
  std::function<bool()> is_ended_;
  std::function<void(const loss&)> on_loss_;
  std::atomic<bool> is_leaving_{false};
  std::thread watcher_;
};

}  // namespace nibble_engine
