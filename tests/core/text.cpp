#include <nibble/core/text.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/utf8.hpp>

#include <support/catch.hpp>
#include <support/code_points.hpp>

namespace {

TEST_CASE("what could act on a terminal is escaped byte by byte", "[text]") {
  CHECK(nibble::escape_text("\x1b[2J") == "\\x1b[2J");
  CHECK(nibble::escape_text(std::string_view("a\0b", 3)) == "a\\x00b");
  CHECK(nibble::escape_text("\r\n\t\x7f") == "\\x0d\\x0a\\x09\\x7f");
  CHECK(nibble::escape_text("\xC2\x85|\xC2\x9F|\xC2\xA0") == "\\xc2\\x85|\\xc2\\x9f|\xC2\xA0");
  CHECK(nibble::escape_text("\xFF\xC3(") == "\\xff\\xc3(");
  CHECK(nibble::escape_text("\xE2\x80") == "\\xe2\\x80");
  CHECK(nibble::escape_text("back\\slash 'quoted' \xC3\xA9") == "back\\slash 'quoted' \xC3\xA9");
}

TEST_CASE("exactly the control and direction characters are escaped of all code points", "[text]") {
  const auto is_hostile = [](std::uint32_t point) {
    const bool is_control = point < 0x20U || (point >= 0x7FU && point <= 0x9FU);
    const bool breaks_lines = point == 0x2028U || point == 0x2029U;
    // Unicode's Bidi_Control property.
    const bool is_bidirectional = point == 0x061CU || point == 0x200EU || point == 0x200FU ||
                                  (point >= 0x202AU && point <= 0x202EU) ||
                                  (point >= 0x2066U && point <= 0x2069U);
    return is_control || breaks_lines || is_bidirectional;
  };
  std::string wrong;
  for (std::uint32_t point = 0; point <= 0x10FFFFU; ++point) {
    if (nibble_test::is_surrogate(point)) continue;
    const std::string bytes = nibble_test::encode_code_point(point);
    std::string expected;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      expected += fmt::format("\\x{:02x}", nibble_test::byte_at(bytes, i));
    if (nibble::escape_text(bytes) != (is_hostile(point) ? expected : bytes)) {
      wrong += fmt::format(" U+{:04X}", point);
    }
  }
  CHECK(wrong == "");
}

TEST_CASE("escaped text of any bytes is UTF-8 and is not escaped again", "[text]") {
  std::mt19937 generator(5);
  const std::string alphabet = "\x1b\x80\xC2\xC3\xE2\xED\xF0\xF4\xFF\x9F\xA0\xAE az\\\n";
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (std::size_t length = generator() % 12; length != 0; --length) {
      text += alphabet[generator() % alphabet.size()];
    }
    const std::string escaped = nibble::escape_text(text);
    if (nibble::find_invalid_utf8(escaped) != std::string_view::npos) FAIL(escaped);
    if (nibble::escape_text(escaped) != escaped) FAIL(escaped);
  }
  SUCCEED("20,000 texts");
}

TEST_CASE("parts of a message are joined as they are, whole numbers in decimal", "[text]") {
  const std::string name = "w";
  CHECK(nibble::join_text({}).empty());
  CHECK(nibble::join_text({"tensor ", name, std::string_view(": "), std::uint8_t{200}, "/",
                           std::uint16_t{65535}, "-", 0U, "-",
                           std::numeric_limits<std::uint64_t>::max()}) ==
        "tensor w: 200/65535-0-18446744073709551615");
  CHECK(nibble::list_text({}, ", ").empty());
  const std::vector<std::uint64_t> numbers = {3, 0, 18446744073709551615U};
  CHECK(nibble::list_text(numbers, ", ") == "3, 0, 18446744073709551615");
}

TEST_CASE("numbers read as a formatting library writes them", "[text]") {
  std::mt19937_64 random(7);
  const auto check = [](float number) {
    CAPTURE(number);
    CHECK(nibble::shortest_text(number) == fmt::format("{}", number));
    CHECK(nibble::fixed_text(static_cast<double>(number), 1) ==
          fmt::format("{:.1f}", static_cast<double>(number)));
  };
  for (const float number :
       {0.0F,      1.0F,          -1.0F,  0.5F,        65504.0F,      65520.0F, 100000.0F,
        123456.0F, 1e15F,         1e16F,  -1e16F,      9.9999998e15F, 1e-4F,    9.999e-5F,
        1.5e-5F,   3.4028235e38F, 1e-45F, 16777216.0F, 0.1F,          80.05F}) {
    check(number);
  }
  for (int i = 0; i < 20000; ++i) {
    const auto number = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (nibble::shortest_text(number) != fmt::format("{}", number)) check(number);
    const auto bits = random() >> (random() % 64U);
    REQUIRE(nibble::hex_text(bits, 8) == fmt::format("{:08x}", bits));
  }
  CHECK(nibble::shortest_text(-0.0F) == "-0");
  CHECK(nibble::hex_text(0, 0).empty());
  CHECK(nibble::hex_text(0, 2) == "00");
}

}  // namespace
