#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "rank_group.hpp"
#include "row_split.hpp"

namespace nibble_engine {

/// Adds up vectors over ranks, always in the order of ranks: all ranks get the same bits, and so does
/// every run of as many ranks, whatever is sent how.
///
/// Few bytes are cheapest where every rank sends all of its values to all: one message. More are summed
/// in parts, a rank a part, and these are gathered: two messages, of which a rank sends as many bytes as
/// it has values, twice, however many ranks there are.
class rank_sums {
 public:
  /// Bytes that a rank may send beyond those of sums in parts, to save a message. What a link of 10 Gbit/s
  /// carries while a message is under way.
  static constexpr std::size_t most_spare_bytes = 32 * 1024;

  /// Makes `values` the sums of all ranks' values.
  void add(rank_group& group, std::span<float> values) {
    const std::size_t ranks = group.size();
    if (ranks == 1 || values.empty()) return;
    const std::size_t all_to_all = (ranks - 1) * values.size_bytes();
    const std::size_t in_parts = 2 * (ranks - 1) * values.size_bytes() / ranks;
    if (all_to_all <= in_parts + most_spare_bytes) {
      add_whole(group, values);
    } else {
      add_in_parts(group, values);
    }
  }

 private:
  void add_whole(rank_group& group, std::span<float> values) {
    received_.resize(group.size() * values.size());
    const auto own = std::span(received_).subspan(group.rank() * values.size(), values.size());
    std::copy(values.begin(), values.end(), own.begin());
    counts_.assign(group.size(), values.size_bytes());
    group.gather(std::as_writable_bytes(std::span(received_)), counts_);
    add_received(group.size(), values);
  }

  void add_in_parts(rank_group& group, std::span<float> values) {
    counts_.clear();
    const std::vector<part> parts = cut(values.size(), std::vector<std::uint64_t>(group.size(), 1));
    for (const part& each : parts) counts_.push_back(each.count * sizeof(float));
    const part& mine = parts[group.rank()];
    received_.resize(group.size() * mine.count);
    group.exchange(std::as_bytes(values), counts_, std::as_writable_bytes(std::span(received_)));
    add_received(group.size(), values.subspan(mine.first, mine.count));
    group.gather(std::as_writable_bytes(values), counts_);
  }

  /// Sums of what all ranks sent, `sums.size()` values each.
  void add_received(std::size_t ranks, std::span<float> sums) const {
    const float* from = received_.data();
    std::copy_n(from, sums.size(), sums.begin());
    for (std::size_t rank = 1; rank < ranks; ++rank) {
      from += sums.size();
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += from[i];
    }
  }

  std::vector<float> received_;
  std::vector<std::size_t> counts_;
};

}  // namespace nibble_engine
