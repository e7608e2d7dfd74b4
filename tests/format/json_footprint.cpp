#include <nibble/format/json_footprint.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/json_text.hpp>

#include <support/catch.hpp>
#include <support/errors.hpp>

namespace {

/// The least that must be left of a budget for the tree of a text.
std::uint64_t needed_bytes(const std::string& text) {
  constexpr std::uint64_t all = nibble::memory_budget::base_bytes;
  std::uint64_t too_few = 0;
  std::uint64_t enough = all;
  while (enough - too_few > 1) {
    const std::uint64_t middle = too_few + (enough - too_few) / 2;
    nibble::memory_budget budget(0);
    budget.take(all - middle, "what else there is");
    const bool fits =
        !nibble_test::code_of([&] { nibble::require_parsable_json(text, "field", budget); });
    (fits ? enough : too_few) = middle;
  }
  return enough;
}

/// Arrays in arrays, each with so many zeros before the next one.
std::string chain(const std::vector<std::size_t>& zeros) {
  std::string text;
  for (const std::size_t count : zeros) {
    text += '[';
    for (std::size_t i = 0; i < count; ++i) text += "0,";
  }
  return text + "0" + std::string(zeros.size(), ']');
}

constexpr std::uint64_t json_value_bytes = sizeof(nlohmann::json);
constexpr std::uint64_t json_array_bytes = sizeof(nlohmann::json::array_t) + json_value_bytes;
constexpr std::uint64_t json_object_bytes = sizeof(nlohmann::json::object_t) + json_value_bytes;
constexpr std::uint64_t json_destroyed_bytes = 3 * json_value_bytes;
constexpr std::uint64_t json_entry_bytes = 4 * sizeof(void*);

TEST_CASE("every level of nesting counts its members, down to the deepest", "[json_footprint]") {
  for (const std::size_t depth : {std::size_t{1}, std::size_t{2}, std::size_t{63}, std::size_t{126},
                                  nibble::max_json_depth - 1, nibble::max_json_depth}) {
    std::vector<std::size_t> zeros(depth);
    std::uint64_t commas = 0;
    for (std::size_t level = 0; level < depth; ++level) {
      zeros[level] = 1 + (level * 7919) % 50;
      commas += zeros[level];
    }
    // Everything stands listed at once: each array's zeros, and the next array or the last zero.
    const std::uint64_t listed = commas + depth;
    const std::uint64_t expected =
        depth * json_array_bytes + commas * json_value_bytes + listed * json_destroyed_bytes;
    CAPTURE(depth);
    CHECK(needed_bytes(chain(zeros)) == expected);
    // A text that is cut has as much.
    std::string cut = chain(zeros);
    cut.resize(cut.size() - depth);
    CHECK(needed_bytes(cut) == expected);
  }
  const std::string too_deep = chain(std::vector<std::size_t>(nibble::max_json_depth + 1));
  nibble::memory_budget unbounded;
  CHECK(nibble_test::code_of([&] { nibble::require_parsable_json(too_deep, "field", unbounded); }) ==
        nibble::error_code::bad_metadata);
}

TEST_CASE("of members side by side the largest counts while a tree is destroyed", "[json_footprint]") {
  // Members: two arrays' own and the larger one's.
  CHECK(needed_bytes("[[0,0,0],[0]]") ==
        3 * json_array_bytes + (1 + 2) * json_value_bytes + (2 + 3) * json_destroyed_bytes);
  CHECK(needed_bytes("[[0],[0,0,0]]") ==
        3 * json_array_bytes + (1 + 2) * json_value_bytes + (2 + 3) * json_destroyed_bytes);
  // What is below the smaller one counts with it.
  CHECK(needed_bytes("[[0,0,0],[[0,0,0,0]]]") ==
        4 * json_array_bytes + (1 + 2 + 3) * json_value_bytes + (2 + 1 + 4) * json_destroyed_bytes);
  CHECK(needed_bytes("[[0,0,0],[],[]]") ==
        4 * json_array_bytes + (2 + 2) * json_value_bytes + (3 + 3) * json_destroyed_bytes);
}

TEST_CASE("keys and strings count with what they have outside themselves", "[json_footprint]") {
  const std::uint64_t short_string = sizeof(std::string);
  const auto long_string = [](std::uint64_t size) { return sizeof(std::string) + size + 1; };
  CHECK(needed_bytes(R"({"a":0})") ==
        json_object_bytes + json_entry_bytes + short_string + json_destroyed_bytes + 2 * 1);
  CHECK(needed_bytes(R"({"a":")" + std::string(100, 'x') + "\"}") ==
        json_object_bytes + json_entry_bytes + short_string + long_string(100) + json_destroyed_bytes +
            2 * 100);
  CHECK(
      needed_bytes(R"({"a":")" + std::string(100, 'x') + R"(","b":")" + std::string(99, 'y') + "\"}") ==
      json_object_bytes + 2 * json_entry_bytes + 2 * short_string + json_value_bytes +
          long_string(100) + long_string(99) + 2 * json_destroyed_bytes + 2 * 100);
}

TEST_CASE("a member of an object counts its key, its entry and its place in a list",
          "[json_footprint]") {
  const std::uint64_t alone =
      sizeof(nlohmann::json::object_t::value_type) + json_entry_bytes + json_destroyed_bytes;
  CHECK(nibble::json_member_bytes<nlohmann::json>("") == alone);
  CHECK(nibble::json_member_bytes<nlohmann::json>(std::string(100, 'k')) == alone + 101);
}

}  // namespace
