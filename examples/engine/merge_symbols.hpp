#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

namespace nibble_engine {

/// A stretch of a word that is, or may become, a token.
struct symbol {
  std::size_t begin;                   ///< in bytes from the word's start
  std::size_t size;                    ///< in bytes; 0 once merged into the symbol before it
  std::optional<std::uint32_t> token;  ///< none: no token has this text
};

/// What two neighbours become.
struct symbol_merge {
  double priority;      ///< the highest merges first
  std::uint32_t token;  ///< of both together
};

/// Merges neighbours until none can be: at each step the pair of the highest priority, the leftmost of
/// those. This is how byte pair encoding and sentencepiece's tokenizers of that kind work. `find_merge`
/// takes two symbols and gives a std::optional<symbol_merge>. It is called fewer than 3 times a symbol,
/// so all takes O(n log n) of a word of n symbols. What is left stays in `symbols`, in order.
template <class FindMerge>
void merge_symbols(std::vector<symbol>& symbols, const FindMerge& find_merge) {
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  struct candidate {
    double priority;
    std::size_t left;
    std::size_t right;
    std::size_t size;  ///< of both, by which an outdated candidate is told
    std::uint32_t token;
    bool operator<(const candidate& other) const {
      return priority != other.priority ? priority < other.priority : left > other.left;
    }
  };
  struct neighbours {
    std::size_t before;
    std::size_t behind;
  };
  std::vector<neighbours> chain(symbols.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    chain[i] = {i == 0 ? none : i - 1, i + 1 == symbols.size() ? none : i + 1};
  }

  std::priority_queue<candidate> candidates;
  const auto consider = [&](std::size_t left, std::size_t right) {
    if (left == none || right == none) return;
    const std::optional<symbol_merge> merge = find_merge(symbols[left], symbols[right]);
    if (!merge) return;
    candidates.push(
        {merge->priority, left, right, symbols[left].size + symbols[right].size, merge->token});
  };
  for (std::size_t i = 1; i < symbols.size(); ++i) consider(i - 1, i);

  while (!candidates.empty()) {
    const candidate best = candidates.top();
    candidates.pop();
    symbol& left = symbols[best.left];
    symbol& right = symbols[best.right];
    if (left.size == 0 || right.size == 0 || left.size + right.size != best.size) continue;
    left.size = best.size;
    left.token = best.token;
    right.size = 0;
    const std::size_t behind = chain[best.right].behind;
    chain[best.left].behind = behind;
    if (behind != none) chain[behind].before = best.left;
    consider(chain[best.left].before, best.left);
    consider(best.left, behind);
  }
  std::erase_if(symbols, [](const symbol& each) { return each.size == 0; });
}

}  // namespace nibble_engine
