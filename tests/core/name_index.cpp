#include <nibble/core/name_index.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <support/catch.hpp>

namespace {

using nibble::name_index;

auto names_in(const std::vector<std::string>& names) {
  return [&names](std::size_t place) -> const std::string& { return names[place]; };
}

std::vector<std::string> random_names(std::size_t count, std::size_t letters, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::string> names(count);
  for (std::string& name : names) {
    for (std::size_t length = generator() % 6; length != 0; --length) {
      name += static_cast<char>('a' + generator() % letters);
    }
  }
  return names;
}

}  // namespace

TEST_CASE("every name is found where it stands first, and no other", "[name_index]") {
  for (const std::size_t count : {0U, 1U, 2U, 3U, 17U, 500U, 5000U}) {
    for (const bool sorted : {false, true}) {
      std::vector<std::string> names = random_names(count, 4, static_cast<unsigned>(count));
      if (sorted) std::ranges::sort(names);
      const name_index index(names.size(), names_in(names));
      std::map<std::string, std::size_t> first;
      for (std::size_t i = 0; i < names.size(); ++i) first.emplace(names[i], i);
      for (const auto& [name, place] : first) REQUIRE(index.find(name, names_in(names)) == place);
      for (const std::string& other : random_names(1000, 5, 99)) {
        const auto expected = first.find(other);
        const auto found = index.find(other, names_in(names));
        REQUIRE(found.has_value() == (expected != first.end()));
        if (found) REQUIRE(*found == expected->second);
      }
    }
  }
  CHECK_FALSE(name_index().find("", [](std::size_t) { return std::string_view(); }));
}

TEST_CASE("names in order are searched as they are", "[name_index]") {
  const std::vector<std::string> names = {"", "a", "a.b", "a0", "b", "\xC3\xA9"};
  const name_index index(names.size(), names_in(names));
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(index.find(names[i], names_in(names)) == i);
  for (const char* const absent : {" ", "a.", "a.b.", "c", "\xC3", "\xFF"}) {
    CHECK_FALSE(index.find(absent, names_in(names)));
  }
  CHECK_FALSE(index.first_repeated(names_in(names)));
}

TEST_CASE("the first name that stands a second time is told", "[name_index]") {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const std::vector<std::string> names = random_names(1 + seed % 40, 26, seed);
    std::optional<std::size_t> expected;
    std::set<std::string_view> seen;
    for (std::size_t i = 0; i < names.size() && !expected; ++i) {
      if (!seen.insert(names[i]).second) expected = i;
    }
    const name_index index(names.size(), names_in(names));
    REQUIRE(index.first_repeated(names_in(names)) == expected);
  }
  const std::vector<std::string> equal(5, "x");
  CHECK(name_index(5, names_in(equal)).first_repeated(names_in(equal)) == 1U);
}
