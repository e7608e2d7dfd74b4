#include <nibble/format/json_text.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::parse_json_object;
using nibble::print_json;
using nibble::trim_json;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using namespace std::string_literals;

namespace {

/// {"a":[[...]]} of so many levels.
std::string nested(std::size_t levels) {
  return "{\"a\":" + std::string(levels - 1, '[') + std::string(levels - 1, ']') + "}";
}

}  // namespace

TEST_CASE("what surrounds JSON in a file is trimmed", "[json_text]") {
  CHECK(trim_json("{}") == "{}");
  CHECK(trim_json("\xEF\xBB\xBF{}") == "{}");
  CHECK(trim_json(" \t\r\n{} \t\r\n") == "{}");
  CHECK(trim_json("\xEF\xBB\xBF \n{}\n \0\0\0"s) == "{}");
  CHECK(trim_json("{ }\0 \0"s) == "{ }");
  CHECK(trim_json("").empty());
  CHECK(trim_json("\0\0"s).empty());
  CHECK(trim_json(" \xEF\xBB\xBF") == "\xEF\xBB\xBF");
  CHECK(trim_json("\0{}"s) == "\0{}"s);  // zeros before the text are no padding
}

TEST_CASE("a JSON object is parsed", "[json_text]") {
  const auto parsed = parse_json_object(R"({"a":1,"b":[true,null,"\u00e9"],"c":{"d":-2.5}})", "field");
  CHECK(parsed == nlohmann::json{{"a", 1}, {"b", {true, nullptr, "\xC3\xA9"}}, {"c", {{"d", -2.5}}}});
}

TEST_CASE("of doubled keys the last counts", "[json_text]") {
  CHECK(parse_json_object(R"({"a":1,"b":2,"a":3})", "field") == nlohmann::json{{"a", 3}, {"b", 2}});
  // The earlier object goes as a whole; it is not merged into.
  CHECK(parse_json_object(R"({"a":{"x":1},"a":{"y":2}})", "field").dump() == R"({"a":{"y":2}})");
  CHECK(parse_json_object(R"({"a":{"x":1},"a":[]})", "field").dump() == R"({"a":[]})");
}

TEST_CASE("whole numbers keep all 64 bits", "[json_text]") {
  const auto parsed =
      parse_json_object(R"({"most":18446744073709551615,"least":-9223372036854775808})", "field");
  CHECK(parsed["most"].get<std::uint64_t>() == std::numeric_limits<std::uint64_t>::max());
  CHECK(parsed["least"].get<std::int64_t>() == std::numeric_limits<std::int64_t>::min());
  CHECK(parsed.dump() == R"({"least":-9223372036854775808,"most":18446744073709551615})");
}

TEST_CASE("what is no JSON object is refused and the field named", "[json_text]") {
  struct row {
    std::string text;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"", {"a JSON object"}},
      {"[1,2]", {"array", "a JSON object"}},
      {"3", {"number"}},
      {"\"text\"", {"string"}},
      {"null", {"null"}},
      {"true", {"boolean"}},
      {"{", {"a JSON object"}},
      {"{}{}", {"a JSON object"}},
      {"{}\0{}"s, {}},
      {"{\"a\":1,}", {"a JSON object"}},
      {"{\"a\":0x1}", {"a JSON object"}},
      {"{\"a\":01}", {"a JSON object"}},
      {"{\"a\":NaN}", {"a JSON object"}},
      {"{\"a\":Infinity}", {"a JSON object"}},
      {"{'a':1}", {"a JSON object"}},
      {"{a:1}", {"a JSON object"}},
      {"{\"a\":1} // note", {"a JSON object"}},
      {"{\"a\":\"\\ud800\"}", {"a JSON object"}},
      {"{\"a\":\"\n\"}", {"a JSON object"}},
      {"{\"a\":1e400}", {"1e400"}},
      {"{\"a\":-1e400}", {"1e400"}},
      {"{\"a\":\"\xFF\"}", {"0xff", "at 6", "UTF-8"}},
      {"{\"\xC3\":1}", {"0xc3", "at 2", "UTF-8"}},
      {"{\"a\":\"\xC0\x80\"}", {"0xc0", "UTF-8"}},
      {"{\"a\":\"\xED\xA0\x80\"}", {"0xed", "UTF-8"}},
      {"\xFF\xFE{\0}\0"s, {"0xff", "at 0", "UTF-8"}},
  };
  for (const row& wrong : rows) {
    CAPTURE(wrong.text);
    const auto result =
        outcome_of([&] { static_cast<void>(parse_json_object(wrong.text, "the.field")); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"the.field"}).empty());
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("numbers that a double holds are taken", "[json_text]") {
  const auto parsed = parse_json_object(
      R"({"a":1.7976931348623157e308,"b":-1e-400,"c":18446744073709551616,"d":5e-324})", "field");
  CHECK(parsed["a"].get<double>() == std::numeric_limits<double>::max());
  CHECK(parsed["b"].get<double>() == 0.0);
  CHECK(parsed["c"].get<double>() == 18446744073709551616.0);
  CHECK(parsed["d"].get<double>() == std::numeric_limits<double>::denorm_min());
}

TEST_CASE("JSON nests 128 deep and no deeper", "[json_text]") {
  CHECK(parse_json_object(nested(128), "field").is_object());
  for (const std::size_t levels : {129U, 130U, 1000U, 1'000'000U}) {
    const auto result =
        outcome_of([&] { static_cast<void>(parse_json_object(nested(levels), "field")); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"field", "nesting", "128"}).empty());
  }
  // Only open brackets are deep: there may be any number side by side.
  std::string wide = "{\"a\":[0";
  for (int i = 0; i < 1000; ++i) wide += ",[]";
  CHECK(parse_json_object(wide + "]}", "field")["a"].size() == 1001);
  // An unclosed text is as deep as a closed one.
  CHECK(outcome_of([&] {
          static_cast<void>(parse_json_object("{\"a\":" + std::string(1'000'000, '['), "field"));
        }).code == "bad_metadata");
}

TEST_CASE("brackets inside strings do not nest", "[json_text]") {
  const std::string brackets(500, '[');
  const std::string text = R"({"a\"{":")" + brackets + R"(\\","b":"\"[[","c":"}}"})";
  CHECK(parse_json_object(text, "field")["a\"{"] == brackets + "\\");
  // A closed string's brackets would hide depth if its end were missed.
  const std::string hidden = R"({"a":"\\",)" + nested(200).substr(1);
  CHECK(outcome_of([&] { static_cast<void>(parse_json_object(hidden, "field")); }).code ==
        "bad_metadata");
}

TEST_CASE("JSON is printed without white space and read back", "[json_text]") {
  const nlohmann::json value{{"b", {1, 2.5, nullptr, true}}, {"a", "\xC3\xA9\n\x01"}};
  CHECK(print_json(value, "field") == "{\"a\":\"\xC3\xA9\\n\\u0001\",\"b\":[1,2.5,null,true]}");
  CHECK(parse_json_object(print_json(value, "field"), "field") == value);
}

TEST_CASE("what JSON cannot say is not printed", "[json_text]") {
  const auto refused = [](const nlohmann::json& value) {
    const auto result = outcome_of([&] { static_cast<void>(print_json(value, "the.field")); });
    CHECK(missing_parts(result.message, {"the.field"}).empty());
    return result.code == "bad_metadata";
  };
  CHECK(refused({{"a", std::numeric_limits<double>::quiet_NaN()}}));
  CHECK(refused({{"a", {1, {{"b", std::numeric_limits<double>::infinity()}}}}}));
  CHECK(refused(-std::numeric_limits<double>::infinity()));
  CHECK(refused({{"a", "\xFF"}}));
  CHECK(refused({{"\xC3", 1}}));
  CHECK(refused({{"a", nlohmann::json::binary({1, 2})}}));
  CHECK(refused(nlohmann::json(nlohmann::json::value_t::discarded)));
}

TEST_CASE("what is printed is never too deep to be read", "[json_text]") {
  const auto deep = [](std::size_t levels) {
    nlohmann::json value = nlohmann::json::object();
    for (std::size_t i = 1; i < levels; ++i) {
      nlohmann::json outer = nlohmann::json::object();
      outer["a"] = std::move(value);
      value = std::move(outer);
    }
    return value;
  };
  const std::string deepest = print_json(deep(128), "field");
  CHECK(parse_json_object(deepest, "field") == deep(128));
  CHECK(outcome_of([&] { static_cast<void>(print_json(deep(129), "field")); }).code == "bad_metadata");
}
