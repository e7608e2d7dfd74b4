#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "merge_symbols.hpp"

namespace nibble_engine {

/// One step that training found: `left` before `right` becomes `both`.
struct token_merge {
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t rank;  ///< the lowest merges first
  std::uint32_t both;
};

/// Merges by the pair of tokens that they merge.
class merge_table {
 public:
  /// Of a pair that is there twice the lowest rank counts. All tokens are below `vocabulary_size`.
  merge_table(std::vector<token_merge> merges, std::size_t vocabulary_size)
      : merges_(std::move(merges)), starts_(vocabulary_size + 1) {
    std::ranges::sort(merges_, {}, [](const token_merge& merge) {
      return std::tuple(merge.left, merge.right, merge.rank);
    });
    for (const token_merge& merge : merges_) ++starts_[merge.left + 1];
    for (std::size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
  }

  /// What the pair becomes, or nothing.
  [[nodiscard]] std::optional<symbol_merge> find(std::uint32_t left, std::uint32_t right) const {
    const auto end = merges_.begin() + static_cast<std::ptrdiff_t>(starts_[left + 1]);
    const auto found =
        std::ranges::lower_bound(merges_.begin() + static_cast<std::ptrdiff_t>(starts_[left]), end,
                                 right, {}, &token_merge::right);
    if (found == end || found->right != right) return std::nullopt;
    return symbol_merge{-static_cast<double>(found->rank), found->both};
  }

 private:
  std::vector<token_merge> merges_;  ///< by left, right and rank
  std::vector<std::size_t> starts_;  ///< of each left token's merges, and the end of the last
};

}  // namespace nibble_engine
