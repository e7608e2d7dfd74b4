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
/// a unit. The last run may end within a unit, and a rank may get none.
[[nodiscard]] inline std::vector<part> cut_in_units(std::size_t count, std::size_t unit,
                                                    std::span<const std::uint64_t> shares) {
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

/// As above to within an element or, of many, within the 16 that kernels take together.
[[nodiscard]] inline std::vector<part> cut(std::size_t count, std::span<const std::uint64_t> shares) {
  constexpr std::size_t together = 16;
  constexpr std::size_t least_units = 8;  // a rank: so that rounding to units changes shares little
  const bool is_in_units = count % together == 0 && count / together >= least_units * shares.size();
  return cut_in_units(count, is_in_units ? together : 1, shares);
}

/// How the products that end a block's halves, of the attention's output and MLP down, are spread.
enum class final_cut : std::uint8_t {
  rows,     ///< by outputs, as all others: every rank is given all inputs
  columns,  ///< by inputs, each of which is where it was made: what ranks make of theirs is added up
};

/// Inputs that stay together, of the products that end a block's halves: those of a block of their
/// weights' encodings where these are cut by columns.
struct input_units {
  std::size_t attended = 1;
  std::size_t feed_forward = 1;
};

/// Which outputs of a model's weights each rank has. Every rank knows all parts.
struct row_split {
  std::vector<head_part> heads{};
  std::vector<part> attended{};  ///< elements of the queries' heads, inputs of the attention's output
  std::vector<part> hidden{};    ///< outputs of the products that end a block's halves
  std::vector<part> feed_forward{};  ///< outputs of gate and up, inputs of MLP down
  std::vector<part> vocabulary{};    ///< outputs of the head, and rows of the embedding
};

/// Spreads a model over as many ranks as there are shares. Heads of queries stay with the keys and values
/// that they share; where there are more ranks than heads of keys and values, several ranks have the
/// same of these. Inputs of the products that end a block's halves are cut in `units`, where every rank
/// can have some.
[[nodiscard]] inline row_split split_rows(const model_config& config,
                                          std::span<const std::uint64_t> shares,
                                          const input_units& units = {}) {
  row_split split;
  const std::size_t group = config.heads / config.key_value_heads;
  const bool keeps_groups = shares.size() <= config.key_value_heads;
  std::size_t unit = keeps_groups ? group : 1;
  const std::size_t whole_blocks =
      std::lcm(unit, units.attended / std::gcd(units.attended, config.head_dim));
  if (config.heads % whole_blocks == 0 && config.heads / whole_blocks >= shares.size()) {
    unit = whole_blocks;
  }
  for (const part& each : cut(config.heads / unit, shares)) {
    const part queries{each.first * unit, each.count * unit};
    const std::size_t first = queries.first / group;
    const std::size_t end = queries.count == 0 ? first : (queries.end() - 1) / group + 1;
    split.heads.push_back({queries, {first, end - first}});
    split.attended.push_back({queries.first * config.head_dim, queries.count * config.head_dim});
  }
  split.hidden = cut(config.hidden, shares);
  split.feed_forward =
      units.feed_forward == 1 || config.feed_forward / units.feed_forward < shares.size()
          ? cut(config.feed_forward, shares)
          : cut_in_units(config.feed_forward, units.feed_forward, shares);
  split.vocabulary = cut(config.vocabulary, shares);
  return split;
}

}  // namespace nibble_engine
