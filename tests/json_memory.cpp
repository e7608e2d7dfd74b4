#include <nibble/format/json_text.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include <support/catch.hpp>
#include <support/errors.hpp>
#include <support/memory_meter.hpp>

namespace {

/// JSON of any shape: deep, wide, of one kind or of all.
class random_json {
 public:
  explicit random_json(std::uint32_t seed) : generator_(seed) {}

  [[nodiscard]] std::string object(std::size_t bytes) {
    text_.clear();
    most_bytes_ = bytes;
    kinds_ = 1U + below(127);
    breadth_ = std::size_t{1} << below(10);
    text_ += '{';
    do {
      add_key(text_.size());
      add_value(1);
      text_ += ',';
    } while (text_.size() < most_bytes_);
    return text_ + "\"\":0}";
  }

 private:
  [[nodiscard]] unsigned below(unsigned end) { return static_cast<unsigned>(generator_()) % end; }

  void add_string() {
    text_ += '"' + std::string(below(4) == 0 ? below(200) : below(20), 'x') +
             (below(8) == 0 ? "\\n\"" : "\"");
  }
  void add_key(std::size_t number) {
    text_ += '"' + std::to_string(number) + std::string(below(30), 'k') + "\":";
  }
  void add_value(std::size_t depth) {
    const unsigned kind = 1U << below(7);
    const bool is_leaf = depth > 40 || text_.size() > most_bytes_ || (kinds_ & kind) == 0;
    if (kind == 32 && !is_leaf) {
      text_ += '[';
      for (std::size_t i = below(static_cast<unsigned>(breadth_) + 1); i-- > 0;) {
        add_value(depth + 1);
        if (i != 0) text_ += ',';
      }
      text_ += ']';
    } else if (kind == 64 && !is_leaf) {
      text_ += '{';
      for (std::size_t i = below(static_cast<unsigned>(breadth_) + 1); i-- > 0;) {
        add_key(text_.size());
        add_value(depth + 1);
        if (i != 0) text_ += ',';
      }
      text_ += '}';
    } else if (kind == 2) {
      add_string();
    } else {
      text_ += kind == 4 ? "-1.5e3" : kind == 8 ? "null" : kind == 16 ? "[]" : "7";
    }
  }

  std::mt19937 generator_;
  std::string text_;
  std::size_t most_bytes_ = 0;
  std::size_t breadth_ = 0;
  unsigned kinds_ = 0;
};

constexpr std::uint64_t budget_bytes = 15'000'000;  ///< of a file without bytes

/// The least that must be left of a budget for the tree of a text.
std::uint64_t needed_bytes(const std::string& text) {
  std::uint64_t too_few = 0;
  std::uint64_t enough = budget_bytes;
  while (enough - too_few > 1) {
    const std::uint64_t middle = too_few + (enough - too_few) / 2;
    nibble::memory_budget budget(0);
    budget.take(budget_bytes - middle, "what else there is");
    const bool fits =
        !nibble_test::code_of([&] { nibble::require_parsable_json(text, "field", budget); });
    (fits ? enough : too_few) = middle;
  }
  return enough;
}

}  // namespace

TEST_CASE("a JSON tree takes no more memory than its text was said to need", "[json_memory]") {
  double largest_share = 0;
  for (std::uint32_t seed = 0; seed < 300; ++seed) {
    const std::string text = random_json(seed).object(30'000);
    nibble::memory_budget budget;
    // Reading and destroying.
    const auto spent = nibble_test::expense_of([&] {
      if (!nibble::parse_json_object(text, "field", budget).is_object()) throw 0;
    });
    if (nibble_test::is_sanitized) continue;
    // What every text takes: the list of elements starts with a page of its own.
    constexpr std::uint64_t at_least = 2'000;
    const std::uint64_t said = needed_bytes(text) + at_least;
    if (spent.peak_bytes > said) FAIL("seed " << seed << ": " << spent.peak_bytes << " over " << said);
    largest_share =
        std::max(largest_share, static_cast<double>(spent.peak_bytes) / static_cast<double>(said));
  }
  // Nor is the estimate so high that it would refuse what fits.
  if (!nibble_test::is_sanitized) CHECK(largest_share > 0.6);
}

TEST_CASE("a tree that a budget does not cover is refused before it is built", "[json_memory]") {
  const std::string text = "{\"a\":[" + std::string(100'000, ' ') + "1,2,3]}";
  const std::uint64_t needed = needed_bytes(text);
  nibble::memory_budget enough(0);
  enough.take(budget_bytes - needed, "what else there is");
  CHECK(nibble::parse_json_object(text, "field", enough)["a"].size() == 3);
  nibble::memory_budget short_of_one(0);
  short_of_one.take(budget_bytes - needed + 1, "what else there is");
  const auto refused = nibble_test::error_of(
      [&] { static_cast<void>(nibble::parse_json_object(text, "field", short_of_one)); });
  REQUIRE(refused.has_value());
  CHECK(refused->code() == nibble::error_code::directory_too_large);
  CHECK(refused->detail().field == "field");
}

TEST_CASE("a budget holds four times the file and 15 MB, without wrapping", "[json_memory]") {
  constexpr std::uint64_t most = ~std::uint64_t{0};
  const auto takes = [](std::uint64_t file_bytes, std::uint64_t bytes) {
    nibble::memory_budget budget(file_bytes);
    return !nibble_test::code_of([&] { budget.take(bytes, "field"); }).has_value();
  };
  CHECK(takes(0, 15'000'000));
  CHECK_FALSE(takes(0, 15'000'001));
  CHECK(takes(10, 15'000'040));
  CHECK_FALSE(takes(10, 15'000'041));
  CHECK(takes(most, most));
  CHECK(takes(most / 4, most));
  nibble::memory_budget budget(0);
  budget.take(15'000'000, "field");
  CHECK(nibble_test::code_of([&] { budget.take(1, "field"); }) ==
        nibble::error_code::directory_too_large);
  CHECK(nibble_test::code_of([&] { budget.take(most, 2, "field"); }) ==
        nibble::error_code::directory_too_large);
  CHECK(nibble_test::code_of([&] { budget.take(most / 2 + 2, 2, "field"); }) ==
        nibble::error_code::directory_too_large);
}
