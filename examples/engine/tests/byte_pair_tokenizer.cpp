#include <engine/tokenizer.hpp>

#include <random>
#include <string>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "says.hpp"
#include "small_vocabularies.hpp"

using nibble_engine::make_tokenizer;
using nibble_engine_test::says;
using nibble_engine_test::small_byte_pair;
using nibble_engine_test::token_ids;

TEST_CASE("byte pairs merge in the order of the merges", "[byte_pair_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_byte_pair());
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->encode("abc") ==
        token_ids{'a', 258});  // b c is the first merge; "abc" is out of reach
  CHECK(tokenizer->encode(" abab") == token_ids{260, 256});  // a b before Ġ a
  CHECK(tokenizer->encode(" a") == token_ids{259});
  CHECK(tokenizer->encode("a b") == token_ids{'a', ' ', 'b'});  // two words
  CHECK(tokenizer->encode("aé\n") == token_ids{'a', 263, '\n'});
  CHECK(tokenizer->encode("\xC3") == token_ids{0xC3});
  CHECK(tokenizer->encode(std::string(1, '\0')) == token_ids{0});
  CHECK(tokenizer->decode(token_ids{260, 263, '\n'}) == " abé\n");
  CHECK(tokenizer->piece(259) == " a");
}

TEST_CASE("models like Llama 3 take whole words first", "[byte_pair_tokenizer]") {
  CHECK(make_tokenizer(small_byte_pair("llama-bpe"))->encode("abc") == token_ids{257});
  CHECK(make_tokenizer(small_byte_pair("llama-bpe"))->encode("abcabc") ==
        token_ids{'a', 258, 'a', 258});
  CHECK(make_tokenizer(small_byte_pair("llama-bpe"))->adds_begin());
  auto metadata = small_byte_pair();
  metadata["tokenizer.ignore_merges"] = true;
  CHECK(make_tokenizer(metadata)->encode("abc") == token_ids{257});
  CHECK_FALSE(make_tokenizer(metadata)->adds_begin());
  metadata["tokenizer.add_bos_token"] = true;
  CHECK(make_tokenizer(metadata)->adds_begin());
  metadata.erase("tokenizer.bos_token_id");
  CHECK_FALSE(make_tokenizer(metadata)->adds_begin());
}

TEST_CASE("byte pairs: special tokens are whole", "[byte_pair_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_byte_pair());
  CHECK(tokenizer->encode("ab<|end|>ab<tool>") == token_ids{256, 261, 256, 262});
  CHECK(tokenizer->encode("<|end|><tool>", false) == token_ids{'<', '|', 'e', 'n', 'd', '|', '>', 262});
  CHECK(tokenizer->decode(token_ids{256, 261, 262}) == "ab<|end|><tool>");
  CHECK(tokenizer->decode(token_ids{256, 261, 262}, false) == "ab<tool>");
  CHECK(tokenizer->begin_token() == 261U);
  CHECK(tokenizer->is_end(261));
}

TEST_CASE("byte pairs: a byte that is no token is the unknown one, or refused",
          "[byte_pair_tokenizer]") {
  nlohmann::json metadata = {{"tokenizer.ggml.model", "gpt2"},
                             {"tokenizer.ggml.pre", "gpt-2"},
                             {"tokenizer.ggml.tokens", {"a", "b", "ab", "<?>", "▁x"}},
                             {"tokenizer.ggml.token_type", {1, 1, 1, 2, 1}},
                             {"tokenizer.ggml.merges", {"a b"}}};
  CHECK(says(nibble_test::error_of([&] { return make_tokenizer(metadata)->encode("abz"); }),
             nibble::error_code::not_representable, "'z'"));
  metadata["tokenizer.ggml.unknown_token_id"] = 3;
  const auto tokenizer = make_tokenizer(metadata);
  CHECK(tokenizer->encode("abz\xFF"
                          "a") == token_ids{2, 3, 3, 0});
  CHECK(tokenizer->piece(4) == "▁x");  // not spelt in letters of bytes
}

TEST_CASE("byte pairs: texts come back, whatever they are", "[byte_pair_tokenizer]") {
  std::mt19937 random(6);
  for (const char* const name :
       {"gpt-2", "llama-bpe", "qwen2", "smollm", "default", "tekken", "gpt-4o"}) {
    const auto tokenizer = make_tokenizer(small_byte_pair(name));
    for (int round = 0; round < 300; ++round) {
      std::string text = round % 2 == 0 ? nibble_engine_test::random_text(random, random() % 60)
                                        : nibble_engine_test::random_bytes(random, random() % 60);
      if (round % 5 == 0) text.insert(random() % (text.size() + 1), "<|end|> ab");
      REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
      REQUIRE(tokenizer->decode(tokenizer->encode(text, false)) == text);
    }
  }
}

TEST_CASE("byte pairs: a word of a megabyte is read", "[byte_pair_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_byte_pair());
  std::string text;
  while (text.size() < 1'000'000) text += "abcaab";
  const token_ids tokens = tokenizer->encode(text);
  CHECK(tokens.size() < text.size());
  CHECK(tokenizer->decode(tokens) == text);
}

TEST_CASE("byte pairs: metadata that contradicts itself is refused", "[byte_pair_tokenizer]") {
  const auto refused = [](const char* key, const nlohmann::json& value) {
    auto metadata = small_byte_pair();
    metadata[key] = value;
    return nibble_test::error_of([&] { return make_tokenizer(metadata); });
  };
  constexpr auto bad = nibble::error_code::bad_metadata;
  const nlohmann::json null;
  CHECK(says(refused("tokenizer.merges", null), bad, "tokenizer.merges", "nothing"));
  CHECK(says(refused("tokenizer.merges", {"a b", "a"}), bad, "\"a\" as merge 1", "a space"));
  CHECK(says(refused("tokenizer.merges", {"a b c"}), bad, "\"a b c\" as merge 0"));
  CHECK(says(refused("tokenizer.merges", {5}), bad, "5 as merge 0"));
  CHECK(says(refused("tokenizer.merges", {" a"}), bad, "no token ''"));
  CHECK(says(refused("tokenizer.merges", {"zz b"}), bad, "merge 0 of 'zz b'", "no token 'zz'"));
  CHECK(says(refused("tokenizer.merges", {"a zz"}), bad, "no token 'zz'"));
  CHECK(says(refused("tokenizer.merges", {"a b", "c a"}), bad, "merge 1 of 'c a'", "no token 'ca'"));
  CHECK(says(refused("tokenizer.pre_tokenizer", null), bad, "tokenizer.pre_tokenizer"));
  CHECK(says(refused("tokenizer.pre_tokenizer", "bert"), nibble::error_code::unsupported_feature,
             "bert"));
  CHECK(says(refused("tokenizer.vocabulary", null), bad, "tokenizer.vocabulary"));
  CHECK(says(refused("tokenizer.ignore_merges", 1), bad, "tokenizer.ignore_merges"));
  CHECK_FALSE(refused("tokenizer.merges", nlohmann::json::array()));
}
