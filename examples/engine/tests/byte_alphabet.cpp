#include <engine/byte_alphabet.hpp>

#include <set>

#include <support/catch.hpp>

using nibble_engine::byte_alphabet;

TEST_CASE("the letters of bytes are those of the GPT-2 release", "[byte_alphabet]") {
  CHECK(byte_alphabet::letter(0x00) == "Ā");
  CHECK(byte_alphabet::letter('\n') == "Ċ");
  CHECK(byte_alphabet::letter('\r') == "č");
  CHECK(byte_alphabet::letter(' ') == "Ġ");
  CHECK(byte_alphabet::letter('!') == "!");
  CHECK(byte_alphabet::letter('a') == "a");
  CHECK(byte_alphabet::letter('~') == "~");
  CHECK(byte_alphabet::letter(0x7F) == "ġ");
  CHECK(byte_alphabet::letter(0xA0) == "ł");
  CHECK(byte_alphabet::letter(0xA1) == "¡");
  CHECK(byte_alphabet::letter(0xAC) == "¬");
  CHECK(byte_alphabet::letter(0xAD) == "Ń");
  CHECK(byte_alphabet::letter(0xAE) == "®");
  CHECK(byte_alphabet::letter(0xFF) == "ÿ");
}

TEST_CASE("every byte has a letter of its own, which gives it back", "[byte_alphabet]") {
  std::set<std::string> letters;
  std::string all_letters;
  std::string all_bytes;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string& letter = byte_alphabet::letter(static_cast<unsigned char>(byte));
    letters.insert(letter);
    all_letters += letter;
    all_bytes += static_cast<char>(byte);
  }
  CHECK(letters.size() == 256);
  CHECK(byte_alphabet::bytes(all_letters) == all_bytes);
}

TEST_CASE("what is no letter stands for no byte", "[byte_alphabet]") {
  CHECK(byte_alphabet::bytes("") == "");
  for (const char* const text :
       {" ", "a b", "\n", "\x7F", "\xC2\xAD", "\xC5\x84", "▁", "你", "\xC4", "\xFF"}) {
    CAPTURE(text);
    CHECK_FALSE(byte_alphabet::bytes(text));
  }
}
