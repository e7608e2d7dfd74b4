#include <engine/model.hpp>

#include <cstdint>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint.hpp>

#include <engine/generate.hpp>

#include <support/catch.hpp>

namespace {

using token_list = std::vector<std::uint32_t>;

nlohmann::json demo_oracle() {
  std::ifstream file(NIBBLE_ENGINE_DATA "/demo_model.json");
  return nlohmann::json::parse(file);
}

nibble_engine::model demo_model() { return {nibble::checkpoint(NIBBLE_DEMO_MODEL), {}}; }

TEST_CASE("the demo's model goes on as its oracle does, also where it was moved", "[model]") {
  nibble_engine::model first = demo_model();
  nibble_engine::model model = std::move(first);
  for (const nlohmann::json& each : demo_oracle().at("greedy")) {
    const auto prompt = model.prompt_tokens(each.at("prompt").get<std::string>());
    CHECK(prompt == each.at("prompt_tokens").get<token_list>());
    const auto expected = each.at("tokens").get<token_list>();
    const auto found = nibble_engine::generate(model, prompt, expected.size(), {});
    CHECK(found.tokens == expected);
    CHECK(model.continuation(found.tokens) == each.at("text").get<std::string>());
  }
}

TEST_CASE("tokens that say nothing have no text", "[model]") {
  nibble_engine::model model = demo_model();
  const token_list words = model.text().encode(" light");
  const std::string text = model.continuation(words);
  CHECK(text == " light");
  token_list more = words;
  more.push_back(0);  // the end of a text
  more.push_back(static_cast<std::uint32_t>(model.text().size()));
  more.push_back(0xffff'ffffU);
  CHECK(model.continuation(more) == text);
  CHECK(model.ends_text(0));
  CHECK_FALSE(model.ends_text(words.front()));
}

TEST_CASE("show is called with each token and may end the run", "[model]") {
  nibble_engine::model model = demo_model();
  const token_list prompt = model.prompt_tokens("And God said");
  token_list shown;
  const auto found = nibble_engine::generate(model, prompt, 20, {}, [&](std::uint32_t token) {
    shown.push_back(token);
    return shown.size() < 7;
  });
  CHECK(found.tokens.size() == 7);
  CHECK(found.tokens == shown);
}

}  // namespace
