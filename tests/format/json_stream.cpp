#include <nibble/format/json_stream.hpp>

#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/text.hpp>
#include <nibble/format/json_text.hpp>

#include <support/apr_bytes.hpp>
#include <support/catch.hpp>

using nibble::json_stream;
using nibble_test::missing_parts;
using nibble_test::outcome_of;
using namespace std::string_literals;

namespace {

bool is_skipped(std::string_view text) {
  return outcome_of([&] {
           json_stream stream(text, "field");
           stream.skip_value();
           stream.require_end();
         }).code == "taken";
}

}  // namespace

TEST_CASE("JSON is taken token by token", "[json_stream]") {
  json_stream stream(" {\"a\" : [ 1 ,-2.5e+3,\ttrue,null ] , \"\\u00e9\\n\":\r\n\"plain\"} ", "field");
  std::string unescaped;
  stream.require('{');
  CHECK(stream.take_string(unescaped) == "a");
  CHECK_FALSE(stream.take(','));
  stream.require(':');
  stream.require('[');
  CHECK(stream.take_number() == "1");
  CHECK(stream.take(','));
  CHECK(stream.describe_next() == "-2.5e+3");
  CHECK(stream.take(','));
  CHECK(stream.take_literal() == "true");
  CHECK(stream.take(','));
  CHECK(stream.take_literal() == "null");
  CHECK(stream.take(']'));
  CHECK(stream.take(','));
  CHECK(stream.take_string(unescaped) == "\xC3\xA9\n");
  CHECK(stream.take(':'));
  CHECK(stream.describe_next() == "a string");
  CHECK(stream.take_string(unescaped) == "plain");
  CHECK(stream.take('}'));
  CHECK(stream.peek() == '\0');
  stream.require_end();
}

TEST_CASE("a string without escapes is not copied", "[json_stream]") {
  const std::string text = "\"name\"";
  json_stream stream(text, "field");
  std::string unescaped;
  CHECK(stream.take_string(unescaped).data() == text.data() + 1);
}

TEST_CASE("what is no JSON is refused with the byte and what should stand there", "[json_stream]") {
  struct row {
    std::string text;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {"", {"byte 0", "end of the text"}},
      {"[1,]", {"byte 3", "']'"}},
      {"[1 2]", {"byte 3", "'2'"}},
      {"{\"a\" 1}", {"byte 5", "':'"}},
      {"{\"a\":1,}", {"byte 7", "'\"'"}},
      {"{1:1}", {"byte 1"}},
      {"\"a", {"byte 2", "end of a string"}},
      {"\"\x01\"", {"byte 1", "control"}},
      {"\"\\x\"", {"byte 2", "an escape"}},
      {"\"\\u12g4\"", {"hexadecimal"}},
      {"\"\\ud800\"", {"surrogates"}},
      {"\"\\udc00\\ud800\"", {"surrogates"}},
      {"\"\\ud800\\u0041\"", {"surrogates"}},
      {"01", {"byte 1", "the end of the text"}},
      {"-", {"a digit"}},
      {"1.", {"a digit"}},
      {".5", {"a digit"}},
      {"1e", {"a digit"}},
      {"+1", {"a digit"}},
      {"tru", {"a value"}},
      {"nul", {"a value"}},
      {"{}\0"s, {"the end of the text"}},
      {"{}x", {"byte 2", "the end of the text"}},
  };
  for (const row& wrong : rows) {
    CAPTURE(wrong.text);
    const auto result = outcome_of([&] {
      json_stream stream(wrong.text, "the.field");
      stream.skip_value();
      stream.require_end();
    });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"the.field"}).empty());
    CHECK(missing_parts(result.message, wrong.named).empty());
  }
}

TEST_CASE("values nest 128 deep and no deeper", "[json_stream]") {
  const auto nested = [](std::size_t levels) {
    return std::string(levels, '[') + std::string(levels, ']');
  };
  CHECK(is_skipped(nested(128)));
  CHECK_FALSE(is_skipped(nested(129)));
  CHECK_FALSE(is_skipped(std::string(1'000'000, '[')));
  json_stream inner("[[]]", "field");
  CHECK(outcome_of([&] { inner.skip_value(127); }).code == "bad_metadata");
}

TEST_CASE("what is taken and what is refused is what another parser says", "[json_stream]") {
  const std::string good =
      R"({"a":[1,-0,2.5e-3,1E5,"x\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t"],"b":{"c":null,"d":[]},"e":true})";
  std::mt19937 generator(11);
  int taken = 0;
  int refused = 0;
  for (int turn = 0; turn < 60'000; ++turn) {
    std::string text = good;
    for (auto changes = 1 + generator() % 3U; changes != 0; --changes) {
      static constexpr std::string_view telling = "{}[]\",:0129-+.eEu\\ \n\x01tfnx";
      const std::size_t at = generator() % text.size();
      switch (generator() % 3U) {
        case 0: text[at] = telling[generator() % telling.size()]; break;
        case 1: text.erase(at, 1 + generator() % 3U); break;
        default: text.insert(at, 1, telling[generator() % telling.size()]); break;
      }
    }
    const nlohmann::json other = nlohmann::json::parse(text, nullptr, false);
    const bool is_json = !other.is_discarded();
    if (is_skipped(text) != is_json) FAIL(text);
    const auto parsed = outcome_of([&] {
      if (nibble::parse_json_object(text, "field") != other) FAIL(text);
    });
    if ((parsed.code == "taken") != (is_json && other.is_object())) FAIL(text);
    ++(is_json ? taken : refused);
  }
  CHECK(taken > 5000);
  CHECK(refused > 5000);
}
