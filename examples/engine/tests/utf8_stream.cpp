#include <engine/utf8_stream.hpp>

#include <random>

#include <support/catch.hpp>

#include "small_vocabularies.hpp"

using nibble_engine::utf8_stream;

TEST_CASE("a character comes out once its last byte is in", "[utf8_stream]") {
  utf8_stream stream;
  CHECK(stream.push("a\xC3") == "a");
  CHECK(stream.push("\xA9") == "é");
  CHECK(stream.push("\xF0\x9F") == "");
  CHECK(stream.push("\xA6") == "");
  CHECK(stream.push("\x99!") == "🦙!");
  CHECK(stream.push("") == "");
  CHECK(stream.finish() == "");
}

TEST_CASE("bytes that can be no character are not held back", "[utf8_stream]") {
  utf8_stream stream;
  CHECK(stream.push("\x80") == "\uFFFD");
  CHECK(stream.push("\xC0") == "\uFFFD");
  CHECK(stream.push("\xED\xA0") == "\uFFFD\uFFFD");  // would be a surrogate
  CHECK(stream.push("\xE0\x9F") == "\uFFFD\uFFFD");  // would be overlong
  CHECK(stream.push("\xF4\x90") == "\uFFFD\uFFFD");  // would be above U+10FFFF
  CHECK(stream.push("\xE2\x28") == "\uFFFD(");
  CHECK(stream.push("\xE2\x96") == "");
  CHECK(stream.finish() == "\uFFFD\uFFFD");
  CHECK(stream.finish() == "");
}

TEST_CASE("however bytes are cut, the text is the same, and no more than three bytes wait",
          "[utf8_stream]") {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = round % 2 == 0 ? nibble_engine_test::random_text(random, random() % 12)
                                       : nibble_engine_test::random_bytes(random, random() % 12);
    if (round % 3 == 0 && !bytes.empty()) bytes[random() % bytes.size()] = '\xE2';
    utf8_stream stream;
    std::string out;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t count = std::min<std::size_t>(1 + random() % 4, bytes.size() - at);
      const std::string shown = stream.push(std::string_view(bytes).substr(at, count));
      REQUIRE(nibble::find_invalid_utf8(shown) == std::string::npos);
      out += shown;
      at += count;
      const std::string so_far =
          nibble::replace_invalid_utf8(bytes.substr(0, at - std::min<std::size_t>(at, 3)));
      REQUIRE(out.size() >= (so_far.size() > 9 ? so_far.size() - 9 : 0));
    }
    out += stream.finish();
    REQUIRE(out == nibble::replace_invalid_utf8(bytes));
  }
}
