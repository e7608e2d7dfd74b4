#include <nibble/format/gguf/value_kind.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>

using nibble::gguf::natural_kind;
using nibble::gguf::value_kind;
using nibble::gguf::value_type;
using nlohmann::json;

namespace {

/// "u32", "[str]", or "none".
std::string kind_text(const std::optional<value_kind>& kind) {
  if (!kind) return "none";
  if (kind->type != value_type::array) return std::string(to_string(kind->type));
  std::string text = "[";
  for (const value_kind& element : kind->elements) text += kind_text(element);
  return text + "]";
}

}  // namespace

TEST_CASE("value types have the ids, names and sizes of the format", "[gguf_value_kind]") {
  const std::vector<std::pair<std::string_view, std::uint32_t>> expected = {
      {"u8", 1},   {"i8", 1},  {"u16", 2},  {"i16", 2}, {"u32", 4}, {"i32", 4}, {"f32", 4},
      {"bool", 1}, {"str", 8}, {"arr", 12}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
  REQUIRE(nibble::gguf::value_types.size() == expected.size());
  for (std::uint32_t id = 0; id < expected.size(); ++id) {
    const auto& row = nibble::gguf::describe(static_cast<value_type>(id));
    CHECK(static_cast<std::uint32_t>(row.type) == id);
    CHECK(row.name == expected[id].first);
    CHECK(row.bytes == expected[id].second);
  }
}

TEST_CASE("a JSON value is of the narrowest usual type that holds it", "[gguf_value_kind]") {
  constexpr auto i32_min = std::int64_t{std::numeric_limits<std::int32_t>::min()};
  constexpr auto i64_max = std::numeric_limits<std::int64_t>::max();
  const std::vector<std::pair<json, std::string>> rows = {
      {true, "bool"},
      {"x", "str"},
      {0, "u32"},
      {std::int64_t{5}, "u32"},
      {4294967295U, "u32"},
      {std::int64_t{4294967296}, "u64"},
      {~std::uint64_t{0}, "u64"},
      {-1, "i32"},
      {i32_min, "i32"},
      {i32_min - 1, "i64"},
      {std::numeric_limits<std::int64_t>::min(), "i64"},
      {0.5, "f32"},
      {-0.0, "f32"},
      {1e4, "f32"},
      {0.1, "f32"},
      {1e300, "f64"},
      {-1e39, "f64"},
      {5e-324, "f64"},
      {double{std::numeric_limits<float>::denorm_min()}, "f32"},
      {double{std::numeric_limits<float>::max()}, "f32"},
      {std::numeric_limits<double>::infinity(), "f64"},
      {std::numeric_limits<double>::quiet_NaN(), "f64"},
      {nullptr, "none"},
      {json::object(), "none"},
      {json::array(), "[u32]"},
      {{1, 2}, "[u32]"},
      {{1, -2}, "[i32]"},
      {{4294967295U, -2}, "[i64]"},
      {{2147483647, -2}, "[i32]"},
      {{std::uint64_t{1} << 63U, 1}, "[u64]"},
      {{std::uint64_t{1} << 63U, -1}, "none"},
      {{i64_max, -1}, "[i64]"},
      {{0.5, 0.25}, "[f32]"},
      {{0.5, 0.1}, "[f32]"},
      {{0.5, 1e39}, "[f64]"},
      {{0, 0.5}, "[f32]"},
      {{0.5, 16777216}, "[f32]"},
      {{0.5, 16777217}, "[f32]"},
      {{-16777217, 0.5}, "[f32]"},
      {{0.5, std::int64_t{9007199254740993}}, "[f32]"},
      {{true, false}, "[bool]"},
      {{"a", "b"}, "[str]"},
      {{"a", 1}, "none"},
      {{1, "a"}, "none"},
      {{1, true}, "none"},
      {{true, 1}, "none"},
      {{1, nullptr}, "none"},
      {{nullptr, 1}, "none"},
      {json::array({json::array({1})}), "none"},
      {json::array({json::object()}), "none"},
  };
  for (const auto& [value, expected] : rows) {
    CAPTURE(value.type_name(), value.dump());
    CHECK(kind_text(natural_kind(value)) == expected);
  }
}

TEST_CASE("kinds are equal where they are the same all the way down", "[gguf_value_kind]") {
  const value_kind scalar{value_type::u8, {}};
  const value_kind list{value_type::array, {scalar}};
  const value_kind lists{value_type::array, {list}};
  CHECK(list == value_kind{value_type::array, {{value_type::u8, {}}}});
  CHECK(list != value_kind{value_type::array, {{value_type::i8, {}}}});
  CHECK(list != value_kind{value_type::array, {scalar, scalar}});
  CHECK(list != lists);
  CHECK(lists != value_kind{value_type::array, {{value_type::array, {}}}});
}
