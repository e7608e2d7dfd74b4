#include <engine/special_tokens.hpp>

#include <string>

#include <support/catch.hpp>

using nibble_engine::token_type;

namespace {

nibble_engine::vocabulary few_words() {
  nibble_engine::vocabulary made;
  made.texts = {"<unk>", "<s>", "<s>>", "bcd", "ab", "", "xyz", "<s>", "<tool>", "<t", "bcd"};
  made.types = {token_type::unknown,      token_type::control,     token_type::control,
                token_type::user_defined, token_type::control,     token_type::control,
                token_type::normal,       token_type::control,     token_type::user_defined,
                token_type::control,      token_type::user_defined};
  return made;
}

/// "text|" for text between tokens, "7|" for token 7.
std::string split(std::string_view text, bool with_control) {
  std::string out;
  for (const auto& part : nibble_engine::special_tokens(few_words()).split(text, with_control)) {
    out += (part.token ? std::to_string(*part.token) : std::string(part.text)) + "|";
  }
  return out;
}

}  // namespace

TEST_CASE("special tokens are found from the left, the longest at each place", "[special_tokens]") {
  CHECK(split("", true) == "");
  CHECK(split("hello", true) == "hello|");
  CHECK(split("<s>hello<s>", true) == "1|hello|1|");
  CHECK(split("<s>>", true) == "2|");
  CHECK(split("<s><s>>>", true) == "1|2|>|");
  CHECK(split("abcd", true) == "4|cd|");
  CHECK(split("bcdab", true) == "3|4|");
  CHECK(split("<unk>xyz<", true) == "0|xyz<|");
  CHECK(split("<tool", true) == "9|ool|");
  CHECK(split("<tool>", true) == "8|");
}

TEST_CASE("a prompt that may not spell control tokens still spells user-defined ones",
          "[special_tokens]") {
  CHECK(split("<s>hello<s>>", false) == "<s>hello<s>>|");
  CHECK(split("abcd", false) == "a|3|");
  CHECK(split("<unk><tool>", false) == "<unk>|8|");
}
