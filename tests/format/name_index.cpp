#include <nibble/format/name_index.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <support/catch.hpp>

namespace {

/// Names of few letters, so that many are close and some are there twice.
std::vector<std::string> random_names(std::size_t count, std::uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::string> names(count);
  for (std::string& name : names) {
    name.resize(generator() % 6);
    for (char& letter : name) letter = static_cast<char>('a' + generator() % 3);
  }
  return names;
}

}  // namespace

TEST_CASE("every name is found at its first place, and no other is", "[name_index]") {
  for (std::size_t count = 0; count < 70; ++count) {
    const auto names = random_names(count, static_cast<std::uint32_t>(count));
    const auto name_of = [&](std::size_t i) -> std::string_view { return names[i]; };
    const nibble::name_index index(count, name_of);
    std::map<std::string, std::size_t> first;
    for (std::size_t i = 0; i < count; ++i) first.emplace(names[i], i);
    for (const std::string& asked : random_names(500, 1000)) {
      const auto expected = first.find(asked);
      const auto found = index.find(asked, name_of);
      REQUIRE(found.has_value() == (expected != first.end()));
      if (found) REQUIRE(*found == expected->second);
    }
    const auto doubled = index.find_doubled(name_of);
    REQUIRE(doubled.has_value() == (first.size() != count));
    if (doubled) CHECK(std::ranges::count(names, names[*doubled]) > 1);
  }
}

TEST_CASE("an index of nothing finds nothing", "[name_index]") {
  const auto name_of = [](std::size_t) -> std::string_view { return "a"; };
  CHECK_FALSE(nibble::name_index().find("a", name_of).has_value());
  CHECK_FALSE(nibble::name_index().find_doubled(name_of).has_value());
  CHECK_FALSE(nibble::name_index(0, name_of).find("a", name_of).has_value());
}
