#include <engine/tokenizer.hpp>

#include <fstream>
#include <random>
#include <string>

#include <nibble/reader.hpp>
#include <support/catch.hpp>
#include <support/files.hpp>

#include "small_vocabularies.hpp"

using nibble_engine::make_tokenizer;
using nibble_engine::tokenizer;
using nibble_engine_test::token_ids;

namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

/// The flat keys of a byte-level tokenizer.json.
nlohmann::json flat_keys(const nlohmann::json& file, const char* pre_tokenizer) {
  nlohmann::json vocabulary = nlohmann::json::array();
  nlohmann::json types = nlohmann::json::array();
  const auto set = [&](const nlohmann::json& id, const std::string& text, int type) {
    const auto at = id.get<std::size_t>();
    while (vocabulary.size() <= at) {
      vocabulary.push_back("");
      types.push_back(5);
    }
    vocabulary[at] = text;
    types[at] = type;
  };
  for (const auto& [text, id] : file["model"]["vocab"].items()) set(id, text, 1);
  for (const auto& token : file["added_tokens"]) {
    set(token["id"], token["content"], token["special"].get<bool>() ? 3 : 4);
  }
  nlohmann::json merge_lines = nlohmann::json::array();
  for (const auto& merge : file["model"]["merges"]) {
    merge_lines.push_back(merge.is_string()
                              ? merge.get<std::string>()
                              : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return {{"tokenizer.model_type", "bpe"},
          {"tokenizer.vocabulary", vocabulary},
          {"tokenizer.token_types", types},
          {"tokenizer.merges", merge_lines},
          {"tokenizer.pre_tokenizer", pre_tokenizer}};
}

/// Every text has the token_ids that another tokenizer gave, and comes back from them.
void check_expected(const tokenizer& checked, const nlohmann::json& expected) {
  REQUIRE(expected.size() >= 46);
  for (const auto& each : expected) {
    const std::string text = each["text"];
    CAPTURE(text);
    CHECK(checked.encode(text) == each["ids"].get<token_ids>());
    CHECK(checked.decode(each["ids"].get<token_ids>()) == text);
  }
}

void check_round_trips(const tokenizer& checked) {
  std::mt19937 random(3);
  for (int round = 0; round < 1000; ++round) {
    const std::string text = round % 2 == 0 ? nibble_engine_test::random_text(random, random() % 60)
                                            : nibble_engine_test::random_bytes(random, random() % 60);
    REQUIRE(checked.decode(checked.encode(text)) == text);
    REQUIRE(checked.decode(checked.encode(text, false)) == text);
  }
}

/// The prompts of a model's oracle.
void check_prompts(const tokenizer& checked, const nlohmann::json& oracle) {
  REQUIRE_FALSE(oracle["greedy"].empty());
  for (const auto& each : oracle["greedy"]) {
    const std::string prompt = each["prompt"];
    CAPTURE(prompt);
    token_ids tokens;
    if (checked.adds_begin()) tokens.push_back(*checked.begin_token());
    for (const std::uint32_t id : checked.encode(prompt)) tokens.push_back(id);
    CHECK(tokens == each["prompt_tokens"].get<token_ids>());
    CHECK(checked.decode(tokens, false) == prompt);

    std::string text;
    for (const auto& id : each["tokens"]) text += checked.piece(id);
    CHECK(text == each["text"].get<std::string>());
  }
}

}  // namespace

TEST_CASE("GPT-2's and Phi-3's vocabularies give the token_ids of another tokenizer",
          "[tokenizer_fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const auto folder = shared / "fixtures" / "tokenizers";
  for (const std::string name : {"gpt2", "phi3"}) {
    CAPTURE(name);
    const nibble::reader file((folder / (name + ".gguf")).string());
    const auto made = make_tokenizer(file.metadata());
    check_expected(*made, read_json(folder / (name + ".expected.json")));
    check_round_trips(*made);
  }
}

TEST_CASE("GPT-2's end of text is one token, and Phi-3 asks for begin of text",
          "[tokenizer_fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const auto folder = shared / "fixtures" / "tokenizers";
  const auto gpt_2 = make_tokenizer(nibble::reader((folder / "gpt2.gguf").string()).metadata());
  CHECK(gpt_2->encode("<|endoftext|>") == token_ids{50256});
  CHECK(gpt_2->is_end(50256));
  CHECK_FALSE(gpt_2->adds_begin());
  const auto phi_3 = make_tokenizer(nibble::reader((folder / "phi3.gguf").string()).metadata());
  CHECK(phi_3->encode("<|user|>Hello<|end|>") == token_ids{32010, 15043, 32007});
  CHECK(phi_3->adds_begin());
  CHECK(phi_3->begin_token() == 1U);
  CHECK(phi_3->is_end(32000));
}

TEST_CASE("Qwen's tokenizer.json gives the token_ids of another tokenizer", "[tokenizer_fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const auto folder = shared / "fixtures" / "tokenizers";
  const auto made = make_tokenizer(flat_keys(read_json(folder / "qwen3.tokenizer.json"), "qwen2"));
  check_expected(*made, read_json(folder / "qwen3.expected.json"));
  check_round_trips(*made);
  CHECK(made->encode("<|im_start|>") == token_ids{151644});
  CHECK(made->encode("<|im_start|>", false) != token_ids{151644});
  CHECK(made->encode("<think>", false) == token_ids{151667});
}

TEST_CASE("prompts of the models' oracles", "[tokenizer_fixtures]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const auto stories = shared / "models" / "stories260K";
  if (std::filesystem::is_directory(stories)) {
    const auto made = make_tokenizer(read_json(stories / "metadata.json"));
    check_prompts(*made, read_json(stories / "oracle.json"));
    check_round_trips(*made);
  }
  for (const char* const name : {"kjv-gpt2", "kjv-qwen2"}) {
    const auto folder = shared / "models" / name;
    if (!std::filesystem::is_directory(folder)) continue;
    CAPTURE(name);
    const auto made = make_tokenizer(flat_keys(read_json(folder / "tokenizer.json"), "gpt-2"));
    check_prompts(*made, read_json(folder / "oracle.json"));
  }
}
