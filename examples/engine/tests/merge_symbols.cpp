#include <engine/merge_symbols.hpp>

#include <map>
#include <random>
#include <string>
#include <utility>

#include <support/catch.hpp>

using nibble_engine::symbol;
using nibble_engine::symbol_merge;

namespace {

using merges = std::map<std::pair<std::uint32_t, std::uint32_t>, symbol_merge>;

/// The definition: looks at every pair at every step.
std::vector<std::uint32_t> merge_one_by_one(std::vector<std::uint32_t> tokens, const merges& known) {
  for (;;) {
    std::size_t best = tokens.size();
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
      const auto found = known.find({tokens[i], tokens[i + 1]});
      if (found == known.end()) continue;
      if (best == tokens.size() ||
          found->second.priority > known.at({tokens[best], tokens[best + 1]}).priority) {
        best = i;
      }
    }
    if (best == tokens.size()) return tokens;
    tokens[best] = known.at({tokens[best], tokens[best + 1]}).token;
    tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::vector<symbol> make_symbols(const std::vector<std::uint32_t>& tokens) {
  std::vector<symbol> symbols;
  for (std::size_t i = 0; i < tokens.size(); ++i) symbols.push_back({i, 1, tokens[i]});
  return symbols;
}

}  // namespace

TEST_CASE("merging by a queue gives what merging pair by pair gives", "[merge_symbols]") {
  std::mt19937 random(13);
  for (int round = 0; round < 2000; ++round) {
    // Few tokens and few priorities: many ties and outdated candidates.
    merges known;
    for (int i = 0; i < 12; ++i) {
      known.insert_or_assign(
          {random() % 6, random() % 6},
          symbol_merge{static_cast<double>(random() % 4), static_cast<std::uint32_t>(random() % 6)});
    }
    std::vector<std::uint32_t> tokens(random() % 40);
    for (std::uint32_t& token : tokens) token = random() % 4;

    std::vector<symbol> symbols = make_symbols(tokens);
    nibble_engine::merge_symbols(
        symbols, [&](const symbol& left, const symbol& right) -> std::optional<symbol_merge> {
          const auto found = known.find({*left.token, *right.token});
          return found == known.end() ? std::nullopt : std::optional(found->second);
        });

    std::vector<std::uint32_t> merged;
    std::size_t at = 0;
    for (const symbol& each : symbols) {
      REQUIRE(each.begin == at);
      at += each.size;
      merged.push_back(*each.token);
    }
    REQUIRE(at == tokens.size());
    REQUIRE(merged == merge_one_by_one(tokens, known));
  }
}

TEST_CASE("merging looks at fewer than three pairs a symbol", "[merge_symbols]") {
  constexpr std::size_t count = 100'000;
  std::size_t looks = 0;
  std::vector<symbol> symbols = make_symbols(std::vector<std::uint32_t>(count, 1));
  nibble_engine::merge_symbols(symbols, [&](const symbol& left, const symbol& right) {
    ++looks;
    return std::optional(symbol_merge{-static_cast<double>(left.size + right.size), 1});
  });
  REQUIRE(symbols.size() == 1);
  REQUIRE(symbols[0].size == count);
  REQUIRE(looks < 3 * count);
}
