#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "model_config.hpp"

namespace nibble_engine {

/// Elements first .. first + count of something that is spread over ranks.
struct part {
  std::size_t first = 0;
  std::size_t count = 0;

  [[nodiscard]] std::size_t end() const noexcept { return first + count; }
  friend bool operator==(const part&, const part&) = default;
};

/// Heads of queries, and those of keys and values that they need.
struct head_part {
  part queries{};
  part key_values{};
};

/// Cuts `count` elements into one run a rank, whose lengths are to each other as `shares` are, to within
/// an element or, of many, within the 16 that kernels take together. A rank may get none.
[[nodiscard]] inline std::vector<part> cut(std::size_t count, std::span<const std::uint64_t> shares) {
  constexpr std::size_t together = 16;
  constexpr std::size_t least_units = 8;  // a rank: so that rounding to units changes shares little
  const bool is_in_units = count % together == 0 && count / together >= least_units * shares.size();
  const std::size_t unit = is_in_units ? together : 1;
  const auto total =
      static_cast<double>(std::accumulate(shares.begin(), shares.end(), std::uint64_t{0}));
  std::vector<part> parts;
  double before = 0.0;
  std::size_t first = 0;
  for (std::size_t rank = 0; rank < shares.size(); ++rank) {
    before += static_cast<double>(shares[rank]);
    const double units = static_cast<double>(count / unit) * before / total;
    const std::size_t end = rank + 1 == shares.size()
                                ? count
                                : std::min(count, static_cast<std::size_t>(units + 0.5) * unit);
    parts.push_back({first, end - first});
    first = end;
  }
  return parts;
}

/// Which outputs of a model's weights each rank has. Every rank knows all parts.
struct row_split {
  std::vector<head_part> heads{};
  std::vector<part> attended{};  ///< elements of the queries' heads, inputs of the attention's output
  std::vector<part> hidden{};    ///< outputs of the products that end a block's halves
  std::vector<part> feed_forward{};  ///< outputs of gate and up
  std::vector<part> vocabulary{};    ///< outputs of the head, and rows of the embedding
};

/// Spreads a model over as many ranks as there are shares. Heads of queries stay with the keys and values
/// that they share; where there are more ranks than heads of keys and values, several ranks have the
/// same of these.
[[nodiscard]] inline row_split split_rows(const model_config& config,
                                          std::span<const std::uint64_t> shares) {
  row_split split;
  const std::size_t group = config.heads / config.key_value_heads;
  const bool keeps_groups = shares.size() <= config.key_value_heads;
  const std::size_t unit = keeps_groups ? group : 1;
  for (const part& each : cut(config.heads / unit, shares)) {
    const part queries{each.first * unit, each.count * unit};
    const std::size_t first = queries.first / group;
    const std::size_t end = queries.count == 0 ? first : (queries.end() - 1) / group + 1;
    split.heads.push_back({queries, {first, end - first}});
    split.attended.push_back({queries.first * config.head_dim, queries.count * config.head_dim});
  }
  split.hidden = cut(config.hidden, shares);
  split.feed_forward = cut(config.feed_forward, shares);
  split.vocabulary = cut(config.vocabulary, shares);
  return split;
}

}  // namespace nibble_engine
