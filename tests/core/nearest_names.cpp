#include <nibble/core/nearest_names.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <support/catch.hpp>

namespace {

using names_t = std::vector<std::string>;

/// The distance by its recursive definition.
std::size_t plain_distance(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.size() + b.size();
  const std::size_t replaced =
      plain_distance(a.substr(1), b.substr(1)) + (a.front() == b.front() ? 0U : 1U);
  return std::min({replaced, plain_distance(a.substr(1), b) + 1, plain_distance(a, b.substr(1)) + 1});
}

std::string random_name(std::mt19937& generator, std::size_t max_bytes) {
  std::string name;
  for (std::size_t left = generator() % (max_bytes + 1); left != 0; --left) {
    name += static_cast<char>('a' + generator() % 3);
  }
  return name;
}

names_t nearest(std::string_view wanted, const names_t& names) {
  return nibble::nearest_names(wanted, names.size(),
                               [&](std::size_t i) -> const std::string& { return names[i]; });
}

}  // namespace

TEST_CASE("the edit distance is that of its definition", "[nearest_names]") {
  CHECK(nibble::edit_distance("kitten", "sitting") == 3);
  CHECK(nibble::edit_distance("", "abc") == 3);
  CHECK(nibble::edit_distance("abc", "") == 3);
  CHECK(nibble::edit_distance("", "") == 0);
  std::mt19937 generator(7);
  for (int turn = 0; turn < 300; ++turn) {
    const std::string a = random_name(generator, 6);
    const std::string b = random_name(generator, 6);
    CAPTURE(a, b);
    CHECK(nibble::edit_distance(a, b) == plain_distance(a, b));
  }
}

TEST_CASE("the nearest names come first, at most three", "[nearest_names]") {
  CHECK(nearest("w", {}).empty());
  CHECK(nearest("w", {"x"}) == names_t{"x"});
  CHECK(nearest("b", {"ccc", "c", "a", "bb"}) == names_t{"bb", "a", "c"});
  std::mt19937 generator(8);
  for (int turn = 0; turn < 100; ++turn) {
    names_t names;
    for (std::size_t left = generator() % 8; left != 0; --left) {
      names.push_back(random_name(generator, 5));
    }
    const std::string wanted = random_name(generator, 5);
    // What holds the wanted name comes before all others.
    std::vector<std::pair<std::size_t, std::string>> ranked;
    for (const std::string& name : names) {
      const bool is_part = wanted.empty() || name.find(wanted) == std::string::npos;
      ranked.emplace_back(plain_distance(name, wanted) + (is_part ? 1000U : 0U), name);
    }
    std::sort(ranked.begin(), ranked.end());
    names_t expected;
    for (std::size_t i = 0; i < std::min<std::size_t>(3, ranked.size()); ++i) {
      expected.push_back(ranked[i].second);
    }
    CHECK(nearest(wanted, names) == expected);
  }
}
