#include <nibble/core/utf8.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <support/catch.hpp>
#include <support/code_points.hpp>

namespace {

TEST_CASE("a sequence of up to three bytes is UTF-8 where a code point encodes to it", "[utf8]") {
  std::vector<bool> is_pair(0x10000U);
  std::vector<bool> is_triple(0x1000000U);
  for (std::uint32_t point = 0x80U; point < 0x10000U; ++point) {
    if (nibble_test::is_surrogate(point)) continue;
    const std::string bytes = nibble_test::encode_code_point(point);
    std::uint32_t key = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i) key = key * 256U + nibble_test::byte_at(bytes, i);
    (bytes.size() == 2 ? is_pair : is_triple)[key] = true;
  }
  for (std::uint32_t key = 0; key < 0x1000000U; ++key) {
    const std::string_view::value_type bytes[3] = {static_cast<char>(key / 65536U),
                                                   static_cast<char>(key / 256U % 256U),
                                                   static_cast<char>(key % 256U)};
    const std::size_t expected = key / 65536U < 0x80U  ? 1U
                                 : is_pair[key / 256U] ? 2U
                                 : is_triple[key]      ? 3U
                                                       : 0U;
    if (nibble::utf8_sequence_bytes({bytes, 3}) != expected) FAIL(fmt::format("{:06x}", key));
    if (key % 256U == 0U) {
      const std::size_t alone = expected == 3U ? 0U : expected;
      if (nibble::utf8_sequence_bytes({bytes, 2}) != alone) FAIL(fmt::format("{:04x}", key / 256U));
    }
  }
  CHECK(nibble::utf8_sequence_bytes("") == 0);
}

TEST_CASE("every code point beyond the first plane is four bytes, and cut short is none", "[utf8]") {
  for (std::uint32_t point = 0x10000U; point <= 0x10FFFFU; ++point) {
    const std::string bytes = nibble_test::encode_code_point(point);
    if (nibble::utf8_sequence_bytes(bytes) != 4) FAIL(fmt::format("U+{:X}", point));
    if (point % 977U != 0U) continue;
    for (std::size_t kept = 1; kept < 4; ++kept) {
      if (nibble::utf8_sequence_bytes(bytes.substr(0, kept)) != 0)
        FAIL(fmt::format("U+{:X} cut", point));
    }
    for (std::size_t broken = 1; broken < 4; ++broken) {
      for (const char wrong : {'\x7F', '\xC0', '\x00', '\xFF'}) {
        std::string bad = bytes;
        bad[broken] = wrong;
        if (nibble::utf8_sequence_bytes(bad) != 0) FAIL(fmt::format("U+{:X} broken", point));
      }
    }
  }
  // Overlong, and above U+10FFFF.
  for (const std::string_view bad : {"\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                                     "\xF8\x88\x80\x80\x80", "\xFF\xBF\xBF\xBF"}) {
    CHECK(nibble::utf8_sequence_bytes(bad) == 0);
  }
}

TEST_CASE("the first byte that is not UTF-8 is found", "[utf8]") {
  constexpr auto nowhere = std::string_view::npos;
  CHECK(nibble::find_invalid_utf8("") == nowhere);
  CHECK(nibble::find_invalid_utf8("weight") == nowhere);
  CHECK(nibble::find_invalid_utf8("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80!") == nowhere);
  CHECK(nibble::find_invalid_utf8(std::string_view("\0a\0", 3)) == nowhere);
  CHECK(nibble::find_invalid_utf8("\x80") == 0);
  CHECK(nibble::find_invalid_utf8("ab\xC3") == 2);
  CHECK(nibble::find_invalid_utf8("a\xC3\xBC\xE2\x82") == 3);
  CHECK(nibble::find_invalid_utf8("\xF0\x9F\x98\x80\xED\xA0\x80") == 4);
  CHECK(nibble::find_invalid_utf8("a\xC0\x80") == 1);
  static_assert(nibble::find_invalid_utf8("ab\xFF") == 2);
}

TEST_CASE("every byte that is not UTF-8 becomes U+FFFD", "[utf8]") {
  const std::string mark = "\xEF\xBF\xBD";
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"", ""},
      {"plain", "plain"},
      {"\xC3\xA9\xE2\x96\x81\xF0\x9F\xA6\x99", "\xC3\xA9\xE2\x96\x81\xF0\x9F\xA6\x99"},
      {"\xFF", mark},
      {"a\x80z", "a" + mark + "z"},
      {"\xC3", mark},
      {"\xC3(", mark + "("},
      {"\xE2\x96", mark + mark},
      {"\xE2\x96\xC3\xA9", mark + mark + "\xC3\xA9"},
      {"\xC0\x80", mark + mark},                        // an overlong zero
      {"\xED\xA0\x80", mark + mark + mark},             // a surrogate
      {"\xF4\x90\x80\x80", mark + mark + mark + mark},  // beyond U+10FFFF
      {std::string("\0\xFE\0", 3), std::string(1, '\0') + mark + std::string(1, '\0')},
  };
  for (const auto& [text, expected] : rows) CHECK(nibble::replace_invalid_utf8(text) == expected);
}

}  // namespace
