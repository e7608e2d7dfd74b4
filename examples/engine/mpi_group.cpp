#include "mpi_group.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <mpi.h>
#include <unistd.h>

#include <nibble/core/error.hpp>

namespace nibble_engine {
namespace {

/// Throws where a call of MPI failed.
void require(int result, std::string_view call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  throw nibble::error(nibble::error_code::read_failed,
                      {.file = "other ranks",
                       .field = std::string(call),
                       .found = std::string(text.data(), static_cast<std::size_t>(length))});
}

/// A number of bytes as MPI takes it.
int count_of(std::size_t bytes) {
  if (bytes <= static_cast<std::size_t>(INT_MAX)) return static_cast<int>(bytes);
  throw nibble::error(nibble::error_code::out_of_range, {.file = "other ranks",
                                                         .field = "bytes of a message",
                                                         .found = std::to_string(bytes),
                                                         .expected = "less than 2^31"});
}

/// Where a rank runs: its host and process.
struct whereabouts {
  std::array<char, 64> host{};
  std::int64_t process = 0;
};

bool is_gone(std::int64_t process) {
  return ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH;
}

}  // namespace

bool mpi_group::is_launched() noexcept {
  // Those of Open MPI, of MPICH and its kin, and of PMIx.
  constexpr std::array names{"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"};
  return std::any_of(names.begin(), names.end(),
                     [](const char* name) { return std::getenv(name) != nullptr; });
}

mpi_group::mpi_group(std::function<bool()> is_ended, std::function<void(const loss&)> on_loss)
    : is_ended_(std::move(is_ended)), on_loss_(std::move(on_loss)) {
  int provided = 0;
  require(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int rank = 0;
  int size = 1;
  require(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  require(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  rank_ = static_cast<std::size_t>(rank);
  size_ = static_cast<std::size_t>(size);

  whereabouts here;
  ::gethostname(here.host.data(), here.host.size() - 1);
  here.process = ::getpid();
  for (const whereabouts& each : gather_one(*this, here)) {
    // A process that cannot be seen from the start is on a host of the same name.
    const bool is_here = each.host == here.host && !is_gone(each.process);
    processes_.push_back(is_here ? each.process : 0);
  }
  traffic_ = {};
  watcher_ = std::thread([this] { watch(); });
}

mpi_group::~mpi_group() {
  is_leaving_ = true;
  watcher_.join();
  MPI_Finalize();
}

void mpi_group::abort(int exit_code) const noexcept {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);
}

/// Looks for ranks of this host that are gone. Where the launcher ends the run, it has seen one go: which,
/// if it was of this host, is seen here as soon as the launcher has taken note of it.
void mpi_group::watch() {
  using std::chrono::milliseconds;
  constexpr milliseconds between(20);
  constexpr int looks = 10;       // between the launcher's request and none being found
  constexpr int idle_waits = 10;  // between two looks
  const auto look = [this] {
    for (std::size_t other = 0; other < size_; ++other) {
      if (other == rank_ || processes_[other] == 0 || !is_gone(processes_[other])) continue;
      if (is_leaving_) return;
      bool is_lowest = true;
      for (std::size_t lower = 0; lower < rank_; ++lower) {
        if (processes_[lower] != 0 && !is_gone(processes_[lower])) is_lowest = false;
      }
      on_loss_({other, "process " + std::to_string(processes_[other]), is_lowest});
    }
  };
  int waits = 0;
  int looks_after_end = 0;
  while (!is_leaving_) {
    std::this_thread::sleep_for(between);
    if (is_ended_()) {
      look();
      if (++looks_after_end == looks && !is_leaving_) on_loss_({size_, {}, rank_ == 0});
    } else if (++waits == idle_waits) {
      waits = 0;
      look();
    }
  }
}

/// Parts as MPI takes them.
void mpi_group::place_parts(std::span<const std::size_t> counts) {
  counts_.clear();
  places_.clear();
  std::size_t place = 0;
  for (const std::size_t count : counts) {
    counts_.push_back(count_of(count));
    places_.push_back(count_of(place));
    place += count;
  }
}

void mpi_group::gather(std::span<std::byte> values, std::span<const std::size_t> counts) {
  if (size_ == 1) return;
  place_parts(counts);
  require(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values.data(), counts_.data(),
                         places_.data(), MPI_BYTE, MPI_COMM_WORLD),
          "MPI_Allgatherv");
  ++traffic_.messages;
  traffic_.bytes += counts[rank_] * (size_ - 1);
}

void mpi_group::gather_to_first(std::span<std::byte> values, std::span<const std::size_t> counts) {
  if (size_ == 1) return;
  place_parts(counts);
  const bool is_first = rank_ == 0;
  const void* const own = is_first ? MPI_IN_PLACE : values.data() + places_[rank_];
  require(MPI_Gatherv(own, is_first ? 0 : counts_[rank_], MPI_BYTE, values.data(), counts_.data(),
                      places_.data(), MPI_BYTE, 0, MPI_COMM_WORLD),
          "MPI_Gatherv");
  ++traffic_.messages;
  if (!is_first) traffic_.bytes += counts[rank_];
}

void mpi_group::exchange(std::span<const std::byte> values, std::span<const std::size_t> counts,
                         std::span<std::byte> received) {
  place_parts(counts);
  const std::vector<int> own_counts(size_, counts_[rank_]);
  std::vector<int> own_places;
  for (std::size_t rank = 0; rank < size_; ++rank) own_places.push_back(count_of(rank * counts[rank_]));
  require(MPI_Alltoallv(values.data(), counts_.data(), places_.data(), MPI_BYTE, received.data(),
                        own_counts.data(), own_places.data(), MPI_BYTE, MPI_COMM_WORLD),
          "MPI_Alltoallv");
  ++traffic_.messages;
  traffic_.bytes += values.size() - counts[rank_];
}

void mpi_group::broadcast(std::span<std::byte> values) {
  if (size_ == 1) return;
  require(MPI_Bcast(values.data(), count_of(values.size()), MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast");
  ++traffic_.messages;
  if (rank_ == 0) traffic_.bytes += values.size() * (size_ - 1);
}

}  // namespace nibble_engine
