#include <nibble/checkpoint/tokenizer_json.hpp>

#include <cstddef>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>

using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nlohmann::json;

namespace {

json metadata_of(const std::string& text) { return nibble::metadata_of_tokenizer<json>(text); }

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

json split(const std::string& pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", pattern}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

json sequence(const json& steps) { return {{"type", "Sequence"}, {"pretokenizers", steps}}; }

/// A byte-pair encoding of four tokens and two added ones.
json small_bpe() {
  return {{"version", "1.0"},
          {"added_tokens",
           {{{"id", 5}, {"content", "<|end|>"}, {"special", true}},
            {{"id", 7}, {"content", "<tool call>"}, {"special", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(true)},
          {"post_processor", byte_level(true)},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"unk_token", nullptr},
            {"byte_fallback", false},
            {"vocab", {{"a", 2}, {"b", 0}, {"ab", 1}, {"Ġa", 4}, {"Ġ", 3}}},
            {"merges", {"a b", "Ġ a"}}}}};
}

/// A byte-pair encoding made from a SentencePiece model, as Llama 2 and Mistral have it.
json small_sentencepiece() {
  const std::string mark = "\xE2\x96\x81";
  return {
      {"added_tokens",
       {{{"id", 0}, {"content", "<unk>"}, {"special", true}},
        {{"id", 1}, {"content", "<s>"}, {"special", true}},
        {{"id", 2}, {"content", "</s>"}, {"special", true}}}},
      {"normalizer",
       {{"type", "Sequence"},
        {"normalizers",
         {{{"type", "Prepend"}, {"prepend", mark}},
          {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", mark}}}}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}}},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<unk>"},
        {"byte_fallback", true},
        {"vocab",
         {{"<unk>", 0},
          {"<s>", 1},
          {"</s>", 2},
          {"<0x00>", 3},
          {"<0xFF>", 4},
          {mark + "t", 5},
          {"he", 6},
          {mark + "the", 7},
          {"t", 8},
          {"h", 9},
          {"e", 10},
          {mark, 11},
          {"<0xZZ>", 12}}},
        {"merges", json::array({json::array({mark, "t"}), json::array({"h", "e"}),
                                json::array({mark + "t", "he"}), json::array({mark + "th", "e"})})}}}};
}

}  // namespace

TEST_CASE("a byte-level encoding becomes flat keys", "[tokenizer_json]") {
  const json metadata = metadata_of(small_bpe().dump());
  CHECK(metadata ==
        json{{"tokenizer.model_type", "bpe"},
             {"tokenizer.pre_tokenizer", "gpt-2"},
             {"tokenizer.vocabulary", {"b", "ab", "a", "Ġ", "Ġa", "<|end|>", "[PAD6]", "<tool call>"}},
             {"tokenizer.token_types", {1, 1, 1, 1, 1, 3, 5, 4}},
             {"tokenizer.merges", {"a b", "Ġ a"}}});
}

TEST_CASE("merges as pairs are the same merges", "[tokenizer_json]") {
  json pairs = small_bpe();
  pairs["model"]["merges"] = json::array({json::array({"a", "b"}), json::array({"Ġ", "a"})});
  CHECK(metadata_of(pairs.dump()) == metadata_of(small_bpe().dump()));
  // Escapes, and the type behind the lists.
  const std::string text = R"({"model":{"vocab":{"\u0120\"":0,"\\n":1},"merges":["\\ n"],
    "unk_token":null,"type":"BPE","ignore_merges":true},
    "pre_tokenizer":{"type":"ByteLevel","use_regex":true}})";
  const json escaped = metadata_of(text);
  CHECK(escaped["tokenizer.vocabulary"] == json{"Ġ\"", "\\n"});
  CHECK(escaped["tokenizer.merges"] == json::array({"\\ n"}));
  CHECK(escaped["tokenizer.ignore_merges"] == true);
}

TEST_CASE("pre-tokenizers have GGUF's names, or none", "[tokenizer_json]") {
  const std::string words = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
  const std::string rest = R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  struct row {
    json steps;
    const char* name;
  };
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  json removed = split(words + R"(\p{N})" + rest);
  removed["behavior"] = "Removed";
  json inverted = split(words + R"(\p{N})" + rest);
  inverted["invert"] = true;
  json without = byte_level(true);
  without.erase("use_regex");
  const std::vector<row> rows = {
      {byte_level(true), "gpt-2"},
      {without, "gpt-2"},
      {sequence(json::array({byte_level(true)})), "gpt-2"},
      {sequence({split(words + R"(\p{N}{1,3})" + rest), byte_level(false)}), "llama-bpe"},
      {sequence({split(words + R"(\p{N})" + rest), byte_level(false)}), "qwen2"},
      {sequence({digits, byte_level(true)}), "smollm"},
      {byte_level(false), "unknown"},
      {sequence({split(words + R"(\p{N}+)" + rest), byte_level(false)}), "unknown"},
      {sequence({split(words + R"(\p{N})" + rest), byte_level(true)}), "unknown"},
      {sequence({removed, byte_level(false)}), "unknown"},
      {sequence({inverted, byte_level(false)}), "unknown"},
      {sequence({{{"type", "Digits"}}, byte_level(true)}), "unknown"},
      {sequence({split(words), split(words + R"(\p{N})" + rest), byte_level(false)}), "unknown"},
      {json(nullptr), "unknown"},
  };
  for (const row& each : rows) {
    CAPTURE(each.steps.dump());
    json tokenizer = small_bpe();
    tokenizer["pre_tokenizer"] = each.steps;
    CHECK(metadata_of(tokenizer.dump())["tokenizer.pre_tokenizer"] == each.name);
  }
}

TEST_CASE("an encoding made from SentencePiece gets scores by its merges", "[tokenizer_json]") {
  const json metadata = metadata_of(small_sentencepiece().dump());
  CHECK(metadata["tokenizer.model_type"] == "sentencepiece");
  CHECK(metadata["tokenizer.token_types"] == json{2, 3, 3, 6, 6, 1, 1, 1, 1, 1, 1, 1, 1});
  // "the" is made by the third merge and by the fourth: the first of them counts.
  CHECK(metadata["tokenizer.scores"] ==
        json{0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0, -2.0, -4.0, -4.0, -4.0, -4.0, -4.0});
  CHECK(metadata["tokenizer.add_space_prefix"] == true);
  CHECK(metadata["tokenizer.add_bos_token"] == true);
  CHECK(metadata["tokenizer.unknown_token_id"] == 0);
  CHECK_FALSE(metadata.contains("tokenizer.merges"));
  CHECK_FALSE(metadata.contains("tokenizer.pre_tokenizer"));

  json without_space = small_sentencepiece();
  without_space["normalizer"] = small_sentencepiece()["normalizer"]["normalizers"][1];
  CHECK(metadata_of(without_space.dump())["tokenizer.add_space_prefix"] == false);
  for (const auto& [scheme, adds] :
       std::vector<std::pair<const char*, bool>>{{"always", true}, {"first", true}, {"never", false}}) {
    json metaspace = small_sentencepiece();
    metaspace["normalizer"] = nullptr;
    metaspace["pre_tokenizer"] = {{"type", "Metaspace"}, {"prepend_scheme", scheme}};
    CHECK(metadata_of(metaspace.dump())["tokenizer.add_space_prefix"] == adds);
  }
}

TEST_CASE("a unigram model keeps its scores", "[tokenizer_json]") {
  const json metadata = metadata_of(
      R"({"pre_tokenizer":{"type":"Metaspace","add_prefix_space":true},
          "added_tokens":[{"id":0,"content":"<pad>","special":true}],
          "model":{"type":"Unigram","unk_id":1,"vocab":[["<pad>",0],["<unk>",0.0],["a",-2.5]]}})");
  CHECK(metadata == json{{"tokenizer.model_type", "unigram"},
                         {"tokenizer.vocabulary", {"<pad>", "<unk>", "a"}},
                         {"tokenizer.token_types", {3, 2, 1}},
                         {"tokenizer.scores", {0.0, 0.0, -2.5}},
                         {"tokenizer.add_space_prefix", true},
                         {"tokenizer.unknown_token_id", 1}});
}

TEST_CASE("tokenizers of other kinds have no keys", "[tokenizer_json]") {
  CHECK(metadata_of(R"({"model":{"type":"WordPiece","vocab":{"a":0}}})") == json::object());
  CHECK(metadata_of(R"({"model":{"type":"WordLevel","vocab":{"a":0}}})") == json::object());
  CHECK(metadata_of(R"({"model":null})") == json::object());
  CHECK(metadata_of("{}") == json::object());
}

TEST_CASE("a tokenizer.json that lies is refused by its key", "[tokenizer_json]") {
  struct row {
    std::string text;
    std::vector<std::string> named;
  };
  const auto model = [](const std::string& members) {
    return R"({"model":{"type":"BPE",)" + members + "}}";
  };
  const std::vector<row> rows = {
      {model(R"("vocab":{"a":-1})"), {"model.vocab['a']", "-1"}},
      {model(R"("vocab":{"a":1.5})"), {"model.vocab['a']", "1.5"}},
      {model(R"("vocab":{"a":"0"})"), {"model.vocab['a']", "a string"}},
      {model(R"("vocab":{"a":4294967296})"), {"model.vocab['a']", "4294967296"}},
      {model(R"("vocab":{"a":4294967295})"), {"model.vocab", "id 4294967295", "1 tokens"}},
      {model(R"("vocab":{"a":0,"b":0})"), {"model.vocab", "'b'", "0"}},
      {model(R"("vocab":{"a":0},"merges":["ab"])"), {"model.merges[0]", "'ab'"}},
      {model(R"("vocab":{"a":0},"merges":["a b c"])"), {"model.merges[0]", "'a b c'"}},
      {model(R"("vocab":{"a":0},"merges":["a b",["a"]])"), {"tokenizer.json, byte"}},
      {model(R"("vocab":{"a":0},"merges":[7])"), {"model.merges[0]", "7"}},
      {R"({"model":{"type":"Unigram","vocab":[["a"]]}})", {"model.vocab[0]"}},
      {R"({"model":{"type":"Unigram","vocab":["a"]}})", {"model.vocab[0]", "a string"}},
      {R"({"added_tokens":[{"id":0}],"model":{"type":"BPE"}})", {"added_tokens[0]"}},
      {R"({"added_tokens":[{"id":99999,"content":"a"}],"model":{"type":"BPE"}})",
       {"added_tokens[0]", "id 99999"}},
      {R"({"added_tokens":[7],"model":{"type":"BPE"}})", {"added_tokens[0]"}},
      {R"({"model":{"type":"BPE")", {"tokenizer.json, byte"}},
      {R"([])", {"tokenizer.json, byte 0"}},
      {"{\"a\":\"\xFF\"}", {"tokenizer.json, byte 6", "UTF-8"}},
      {R"({"normalizer":)" + std::string(200, '[') + std::string(200, ']') + "}", {"nesting"}},
  };
  for (const row& each : rows) {
    CAPTURE(each.text);
    const outcome result = outcome_of([&] { static_cast<void>(metadata_of(each.text)); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, each.named).empty());
  }
}

TEST_CASE("a text that would take too much memory is refused", "[tokenizer_json]") {
  std::string text = R"({"added_tokens":[)";
  for (int i = 0; i < 1'000'000; ++i) text += "{},";
  text += R"({}],"model":{"type":"BPE"}})";
  CHECK(outcome_of([&] { static_cast<void>(metadata_of(text)); }).code == "directory_too_large");
}

TEST_CASE("every cut of a tokenizer.json is refused", "[tokenizer_json]") {
  for (const json& tokenizer : {small_bpe(), small_sentencepiece()}) {
    const std::string text = tokenizer.dump();
    for (std::size_t size = 0; size < text.size(); ++size) {
      CAPTURE(size);
      const outcome result = outcome_of([&] { static_cast<void>(metadata_of(text.substr(0, size))); });
      if (result.code != "bad_metadata") CHECK(result.code == "bad_metadata");
    }
  }
}

TEST_CASE("the tokenizer of Qwen3 has its tokens and merges", "[tokenizer_json]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  std::ifstream in(shared / "fixtures/tokenizers/qwen3.tokenizer.json", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const json original = json::parse(text);
  const json metadata = metadata_of(text);
  CHECK(metadata["tokenizer.pre_tokenizer"] == "qwen2");
  CHECK(metadata["tokenizer.model_type"] == "bpe");
  const json& vocabulary = metadata["tokenizer.vocabulary"];
  REQUIRE(vocabulary.size() == 151'669);
  std::size_t wrong = 0;
  for (const auto& [token, id] : original["model"]["vocab"].items()) {
    wrong += vocabulary[id.get<std::size_t>()] == token ? 0U : 1U;
  }
  for (const json& added : original["added_tokens"]) {
    const auto id = added["id"].get<std::size_t>();
    wrong += vocabulary[id] == added["content"] ? 0U : 1U;
    wrong += metadata["tokenizer.token_types"][id] == (added["special"].get<bool>() ? 3 : 4) ? 0U : 1U;
  }
  const json& merges = original["model"]["merges"];
  REQUIRE(metadata["tokenizer.merges"].size() == merges.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::string merge = merges[i][0].get<std::string>() + " " + merges[i][1].get<std::string>();
    wrong += metadata["tokenizer.merges"][i] == merge ? 0U : 1U;
  }
  CHECK(wrong == 0);
}
