#include <engine/tokenizer.hpp>

#include <random>
#include <string>

#include <support/catch.hpp>
#include <support/errors.hpp>

#include "says.hpp"
#include "small_vocabularies.hpp"

using nibble_engine::make_tokenizer;
using nibble_engine_test::says;
using nibble_engine_test::small_sentencepiece;
using nibble_engine_test::token_ids;

namespace {

constexpr std::uint32_t byte_token = 3;  // of byte 0

}  // namespace

TEST_CASE("sentencepiece: the pair of the highest score merges first", "[sentencepiece_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_sentencepiece());
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->encode("abc") == token_ids{265, 264});  // bc before ab, then ▁a; ▁abc is no token
  CHECK(tokenizer->encode("ab") == token_ids{267});
  CHECK(tokenizer->encode("aab") == token_ids{265, 263});
  CHECK(tokenizer->encode("aaa") == token_ids{265, 268});
  CHECK(tokenizer->encode(" ") == token_ids{269});
  CHECK(tokenizer->encode("  ") == token_ids{269, 259});
  CHECK(tokenizer->encode("a b") == token_ids{265, 259, 261});
}

TEST_CASE("sentencepiece: of pairs of one score the leftmost merges first",
          "[sentencepiece_tokenizer]") {
  auto metadata = small_sentencepiece();
  metadata["tokenizer.add_space_prefix"] = false;
  const auto tokenizer = make_tokenizer(metadata);
  CHECK(tokenizer->encode("aaa") == token_ids{268, 260});
  CHECK(tokenizer->encode("abc") == token_ids{266});
  CHECK(tokenizer->encode(" a") == token_ids{265});
  CHECK(tokenizer->decode(token_ids{265}) == " a");
}

TEST_CASE("sentencepiece: what is no token is bytes", "[sentencepiece_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_sentencepiece());
  CHECK(tokenizer->encode("aé") == token_ids{265, byte_token + 0xC3, byte_token + 0xA9});
  CHECK(tokenizer->encode("\xFF") == token_ids{259, byte_token + 0xFF});
  CHECK(tokenizer->encode("\xE2\x96") == token_ids{259, byte_token + 0xE2, byte_token + 0x96});
  CHECK(tokenizer->encode(std::string(1, '\0')) == token_ids{259, byte_token});
  CHECK(tokenizer->decode(token_ids{259, byte_token + 0xC3, byte_token + 0xA9}) == "é");
  CHECK(tokenizer->piece(byte_token + 0x20) == " ");
  CHECK(tokenizer->decode(token_ids{byte_token + 0x20}) == " ");
}

TEST_CASE("sentencepiece: special tokens begin a text anew", "[sentencepiece_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_sentencepiece());
  CHECK(tokenizer->encode("<s>ab</s>ab") == token_ids{1, 267, 2, 267});
  CHECK(tokenizer->decode(token_ids{1, 267, 2, 267}) == "<s>ab</s>ab");
  CHECK(tokenizer->decode(token_ids{1, 267, 2, 267}, false) == "abab");
  CHECK(tokenizer->decode(token_ids{265, 265}) == "a a");
  CHECK(tokenizer->encode("<s>", false) ==
        token_ids{259, byte_token + '<', byte_token + 's', byte_token + '>'});
  CHECK(tokenizer->begin_token() == 1U);
  CHECK(tokenizer->adds_begin());
  CHECK(tokenizer->is_end(2));
  CHECK_FALSE(tokenizer->is_end(1));
  CHECK(tokenizer->type(1) == nibble_engine::token_type::control);
  CHECK(tokenizer->type(3) == nibble_engine::token_type::byte);
  CHECK(tokenizer->piece(267) == " ab");
}

TEST_CASE("sentencepiece: without byte tokens a character is the unknown token, or refused",
          "[sentencepiece_tokenizer]") {
  nlohmann::json metadata = {{"tokenizer.ggml.model", "llama"},
                             {"tokenizer.ggml.tokens", {"<unk>", "▁", "a"}},
                             {"tokenizer.ggml.scores", {0, -1, -2}},
                             {"tokenizer.ggml.token_type", {2, 1, 1}},
                             {"tokenizer.ggml.unknown_token_id", 0}};
  CHECK(make_tokenizer(metadata)->encode("aéa\xFF") == token_ids{1, 2, 0, 2, 0});
  CHECK_FALSE(make_tokenizer(metadata)->adds_begin());

  metadata.erase("tokenizer.ggml.unknown_token_id");
  const auto tokenizer = make_tokenizer(metadata);
  CHECK(tokenizer->encode("a") == token_ids{1, 2});
  CHECK(says(nibble_test::error_of([&] { return tokenizer->encode("aé"); }),
             nibble::error_code::not_representable, "é"));
}

TEST_CASE("sentencepiece: texts come back, whatever they are", "[sentencepiece_tokenizer]") {
  std::mt19937 random(5);
  auto metadata = small_sentencepiece();
  for (const bool space_before : {true, false}) {
    metadata["tokenizer.add_space_prefix"] = space_before;
    const auto tokenizer = make_tokenizer(metadata);
    for (int round = 0; round < 1000; ++round) {
      std::string text = round % 2 == 0 ? nibble_engine_test::random_text(random, random() % 60)
                                        : nibble_engine_test::random_bytes(random, random() % 60);
      if (round % 5 == 0) text.insert(random() % (text.size() + 1), "<s> ab");
      REQUIRE(tokenizer->decode(tokenizer->encode(text)) == text);
      REQUIRE(tokenizer->decode(tokenizer->encode(text, false)) == text);
    }
  }
}

TEST_CASE("sentencepiece: a word of a megabyte is read", "[sentencepiece_tokenizer]") {
  const auto tokenizer = make_tokenizer(small_sentencepiece());
  std::string text;
  while (text.size() < 1'000'000) text += "abcaab";
  const token_ids tokens = tokenizer->encode(text);
  CHECK(tokens.size() < text.size());
  CHECK(tokenizer->decode(tokens) == text);
}

TEST_CASE("sentencepiece: metadata that contradicts itself is refused", "[sentencepiece_tokenizer]") {
  const auto refused = [](const char* key, const nlohmann::json& value) {
    auto metadata = small_sentencepiece();
    metadata[key] = value;
    return nibble_test::error_of([&] { return make_tokenizer(metadata); });
  };
  constexpr auto bad = nibble::error_code::bad_metadata;
  const nlohmann::json null;
  const std::size_t count = small_sentencepiece()["tokenizer.vocabulary"].size();

  CHECK(
      says(refused("tokenizer.vocabulary", null), bad, "tokenizer.vocabulary", "nothing", "an array"));
  CHECK(says(refused("tokenizer.vocabulary", "a"), bad, "tokenizer.vocabulary", "string"));
  CHECK(says(refused("tokenizer.vocabulary", nlohmann::json::array()), bad, "no token"));
  CHECK(says(refused("tokenizer.vocabulary", {"a", 7}), bad, "number as token 1"));
  CHECK(says(refused("tokenizer.scores", null), bad, "tokenizer.scores", "nothing"));
  CHECK(says(refused("tokenizer.scores", {1, 2}), bad, "tokenizer.scores", "2 scores",
             std::to_string(count)));
  CHECK(says(refused("tokenizer.scores", nlohmann::json(count, "high")), bad,
             "\"high\" as score of token 0"));
  CHECK(says(refused("tokenizer.scores", nlohmann::json(count, nullptr)), bad, "null as score"));
  CHECK(says(refused("tokenizer.scores", nlohmann::json(count, 1e300)), bad, "1e+300"));
  CHECK(says(refused("tokenizer.token_types", {1}), bad, "tokenizer.token_types", "1 types"));
  CHECK(says(refused("tokenizer.token_types", nlohmann::json(count, 7)), bad, "7 as type of token 0"));
  CHECK(says(refused("tokenizer.token_types", nlohmann::json(count, -1)), bad, "-1 as type"));
  CHECK(says(refused("tokenizer.token_types", nlohmann::json(count, "x")), bad, "string as type"));
  CHECK(says(refused("tokenizer.bos_token_id", count), bad, "tokenizer.bos_token_id",
             std::to_string(count)));
  CHECK(says(refused("tokenizer.bos_token_id", -1), bad, "-1"));
  CHECK(says(refused("tokenizer.bos_token_id", 1.5), bad, "1.5"));
  CHECK(says(refused("tokenizer.bos_token_id", "<s>"), bad, "string"));
  CHECK(says(refused("tokenizer.bos_token_id", {1, 2}), bad, "2 ids"));
  CHECK(says(refused("tokenizer.eos_token_id", {2, count}), bad, "tokenizer.eos_token_id"));
  CHECK(says(refused("tokenizer.unknown_token_id", 1U << 31U), bad, "tokenizer.unknown_token_id"));
  CHECK(says(refused("tokenizer.add_bos_token", 1), bad, "tokenizer.add_bos_token", "true or false"));
  CHECK(says(refused("tokenizer.add_space_prefix", "yes"), bad, "tokenizer.add_space_prefix"));
  CHECK(says(refused("tokenizer.model_type", null), bad, "tokenizer.model_type"));
  CHECK(says(refused("tokenizer.model_type", 3), bad, "tokenizer.model_type"));
  CHECK(says(refused("tokenizer.model_type", "bert"), nibble::error_code::unsupported_feature, "bert",
             "sentencepiece"));
  CHECK(says(nibble_test::error_of([] { return make_tokenizer(nlohmann::json::array()); }), bad,
             "model"));
}

TEST_CASE("sentencepiece: several tokens may end a text", "[sentencepiece_tokenizer]") {
  auto metadata = small_sentencepiece();
  metadata["tokenizer.eos_token_id"] = {2, 260};
  metadata["tokenizer.add_bos_token"] = false;
  const auto tokenizer = make_tokenizer(metadata);
  CHECK(tokenizer->is_end(2));
  CHECK(tokenizer->is_end(260));
  CHECK(tokenizer->end_tokens().size() == 2);
  CHECK_FALSE(tokenizer->adds_begin());
}

TEST_CASE("token_ids that are no token's are refused", "[tokenizer]") {
  for (const auto& metadata : {small_sentencepiece(), nibble_engine_test::small_byte_pair()}) {
    const auto tokenizer = make_tokenizer(metadata);
    const auto size = static_cast<std::uint32_t>(tokenizer->size());
    CHECK(tokenizer->decode(token_ids{}).empty());
    CHECK_NOTHROW(tokenizer->piece(size - 1));
    for (const std::uint32_t id : {size, 0xFFFFFFFFU}) {
      constexpr auto code = nibble::error_code::out_of_range;
      CHECK(says(nibble_test::error_of([&] {
                   return tokenizer->decode(token_ids{1, id});
                 }),
                 code, "id " + std::to_string(id)));
      CHECK(nibble_test::code_of([&] { return tokenizer->piece(id); }) == code);
      CHECK(nibble_test::code_of([&] { return tokenizer->type(id); }) == code);
      CHECK_FALSE(tokenizer->is_end(id));
    }
  }
}
