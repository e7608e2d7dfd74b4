#include <engine/pre_tokenizer.hpp>

#include <random>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "says.hpp"
#include "small_vocabularies.hpp"

using word_list = std::vector<std::string_view>;

namespace {

nibble_engine::pre_tokenizer named(const nlohmann::json& name) {
  return nibble_engine::pre_tokenizer({"tokenizer.pre_tokenizer", &name});
}

word_list split(const char* name, std::string_view text) { return named(name).split(text); }

}  // namespace

TEST_CASE("GPT-2's words", "[pre_tokenizer]") {
  CHECK(split("gpt-2", "").empty());
  CHECK(split("gpt-2", "I've  been 12345 x!\n\n y") ==
        word_list{"I", "'ve", " ", " been", " 12345", " x", "!", "\n\n", " y"});
  CHECK(split("gpt-2", "I'VE") == word_list{"I", "'", "VE"});
  CHECK(split("gpt-2", "a   ") == word_list{"a", "   "});
  CHECK(split("gpt-2", " \tb") == word_list{" ", "\t", "b"});
  CHECK(split("gpt-2", "你好 é½!?") == word_list{"你好", " é", "½", "!?"});
}

TEST_CASE("Qwen's words: contractions of any case, single digits, line ends with punctuation",
          "[pre_tokenizer]") {
  CHECK(split("qwen2", "I'VE 123\r\n  a") ==
        word_list{"I", "'VE", " ", "1", "2", "3", "\r\n", " ", " a"});
  CHECK(split("qwen2", "$a ?!\n\nx") == word_list{"$a", " ?!\n\n", "x"});
  CHECK(split("qwen2", "it'\u017F") == word_list{"it", "'\u017F"});  // a long s folds to s
  CHECK(split("qwen2", "  \n \n  x") == word_list{"  \n \n", " ", " x"});
}

TEST_CASE("words of other models", "[pre_tokenizer]") {
  CHECK(split("llama-bpe", "12345 a") == word_list{"123", "45", " a"});
  CHECK(split("smollm", "ab 12c") == word_list{"ab", " ", "1", "2", "c"});
  CHECK(split("default", "x+1234`") == word_list{"x", "+", "123", "4", "`"});
  CHECK(split("tekken", "HelloWorld 12 a/\n/") ==
        word_list{"Hello", "World", " ", "1", "2", " a", "/\n/"});
  CHECK(split("gpt-4o", "HelloWorld'S 1234") == word_list{"Hello", "World'S", " ", "123", "4"});
}

TEST_CASE("white space is Unicode's, not PCRE2's", "[pre_tokenizer]") {
  CHECK(split("gpt-2", "a\u180E\u180Eb") == word_list{"a", "\u180E\u180E", "b"});
  CHECK(split("gpt-2", "\u180E!") == word_list{"\u180E!"});
  CHECK(split("gpt-2", "a \u180E") == word_list{"a", " \u180E"});
  CHECK(split("gpt-2", "a\u3000\u00A0\u0085b") == word_list{"a", "\u3000\u00A0", "\u0085", "b"});
}

TEST_CASE("bytes that are not UTF-8 are words of their own", "[pre_tokenizer]") {
  CHECK(split("gpt-2", "ab\xFF\xFE\x80 c\xC3") == word_list{"ab", "\xFF\xFE\x80", " c", "\xC3"});
  CHECK(split("qwen2", "\xED\xA0\x80") == word_list{"\xED\xA0\x80"});
}

TEST_CASE("words are the text again, whatever it is", "[pre_tokenizer]") {
  std::mt19937 random(11);
  for (const char* const name :
       {"gpt-2", "llama-bpe", "dbrx", "qwen2", "smollm", "default", "tekken", "gpt-4o"}) {
    const nibble_engine::pre_tokenizer splitter = named(name);
    for (int round = 0; round < 200; ++round) {
      const std::string text = round % 2 == 0 ? nibble_engine_test::random_text(random, random() % 40)
                                              : nibble_engine_test::random_bytes(random, random() % 40);
      std::string together;
      for (const std::string_view word : splitter.split(text)) {
        REQUIRE_FALSE(word.empty());
        together += word;
      }
      REQUIRE(together == text);
    }
  }
}

TEST_CASE("long runs take no more than their length", "[pre_tokenizer]") {
  constexpr std::size_t size = 1'000'000;
  for (const char* const name :
       {"gpt-2", "llama-bpe", "qwen2", "smollm", "default", "tekken", "gpt-4o"}) {
    CAPTURE(name);
    const nibble_engine::pre_tokenizer splitter = named(name);
    CHECK(splitter.split(std::string(size, 'a')).size() == 1);
    CHECK(splitter.split(std::string(size, ' ') + "a").size() == 2);
    CHECK_FALSE(splitter.split(std::string(size, '!')).empty());
    CHECK_FALSE(splitter.split(std::string(size, '1')).empty());
    CHECK_FALSE(splitter.split(std::string(size, '\xFF')).empty());
  }
}

TEST_CASE("models say whether whole words go first and whether a prompt has a beginning",
          "[pre_tokenizer]") {
  CHECK(named("llama-bpe").whole_words_first());
  CHECK(named("llama-bpe").adds_begin());
  CHECK_FALSE(named("gpt-2").whole_words_first());
  CHECK_FALSE(named("qwen2").adds_begin());
}

TEST_CASE("a pre-tokenizer that is not known is refused by name", "[pre_tokenizer]") {
  const auto problem = nibble_test::error_of([] { named("gpt-99"); });
  CHECK(nibble_engine_test::says(problem, nibble::error_code::unsupported_feature,
                                 "tokenizer.pre_tokenizer", "gpt-99", "qwen2"));
  CHECK(nibble_test::code_of([] { named(17); }) == nibble::error_code::bad_metadata);
  CHECK(nibble_test::code_of([] {
          nibble_engine::pre_tokenizer({"tokenizer.pre_tokenizer", nullptr});
        }) == nibble::error_code::bad_metadata);
}
