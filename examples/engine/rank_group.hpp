#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace nibble_engine {

/// What one rank has sent so far.
struct rank_traffic {
  std::uint64_t messages = 0;  ///< calls in which ranks exchanged something
  std::uint64_t bytes = 0;     ///< handed to other ranks, each time that one of them got them
};

/// The processes that run one model together, as one of them sees them. A host implements it on its own
/// transport; mpi_group does on MPI.
///
/// All ranks make the same calls in the same order, with the same counts. A call returns when this
/// rank has what it was to get. What an implementation throws ends the run.
class rank_group {
 public:
  rank_group() = default;
  rank_group(const rank_group&) = delete;
  rank_group& operator=(const rank_group&) = delete;
  virtual ~rank_group() = default;

  /// From 0; rank 0 has the prompt and chooses tokens.
  [[nodiscard]] virtual std::size_t rank() const noexcept = 0;
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;

  /// Gives every rank the parts of all: `values` are the parts in the order of ranks, part r counts[r]
  /// bytes long. This rank's own part is in place before, and all are after.
  virtual void gather(std::span<std::byte> values, std::span<const std::size_t> counts) = 0;
  /// As gather(), for rank 0 alone; what the others find in `values` is their own part.
  virtual void gather_to_first(std::span<std::byte> values, std::span<const std::size_t> counts) = 0;
  /// Gives rank r part r of every rank's `values`, which are parts in the order of ranks, part r counts[r]
  /// bytes long: `received` are this rank's parts, in the order of those who sent them, its own among
  /// them.
  virtual void exchange(std::span<const std::byte> values, std::span<const std::size_t> counts,
                        std::span<std::byte> received) = 0;
  /// Gives every rank the bytes of rank 0.
  virtual void broadcast(std::span<std::byte> values) = 0;

  [[nodiscard]] virtual rank_traffic traffic() const noexcept = 0;
};

/// One value of each rank, in their order.
template <class Value>
[[nodiscard]] std::vector<Value> gather_one(rank_group& group, const Value& own) {
  std::vector<Value> values(group.size());
  values[group.rank()] = own;
  const std::vector<std::size_t> counts(group.size(), sizeof(Value));
  group.gather(std::as_writable_bytes(std::span(values)), counts);
  return values;
}

/// All ranks' elements, in their order; ranks may have any number of them.
template <class Value>
[[nodiscard]] std::vector<std::vector<Value>> gather_lists(rank_group& group,
                                                           std::span<const Value> own) {
  const std::vector<std::uint64_t> lengths = gather_one(group, std::uint64_t{own.size()});
  std::vector<std::size_t> counts;
  for (const std::uint64_t length : lengths) {
    counts.push_back(static_cast<std::size_t>(length) * sizeof(Value));
  }
  std::vector<Value> joined(
      static_cast<std::size_t>(std::accumulate(lengths.begin(), lengths.end(), std::uint64_t{0})));
  auto place = joined.begin();
  for (std::size_t rank = 0; rank < group.rank(); ++rank) {
    place += static_cast<std::ptrdiff_t>(lengths[rank]);
  }
  std::copy(own.begin(), own.end(), place);
  group.gather(std::as_writable_bytes(std::span(joined)), counts);
  std::vector<std::vector<Value>> lists;
  auto next = joined.begin();
  for (const std::uint64_t length : lengths) {
    const auto end = next + static_cast<std::ptrdiff_t>(length);
    lists.emplace_back(next, end);
    next = end;
  }
  return lists;
}

}  // namespace nibble_engine
