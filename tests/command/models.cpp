/// run, perplexity and parity, on the small trained model that comes along and on others where they are.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

#if defined(NIBBLE_DEMO_MODEL)

namespace {

using nibble_test::outcome;
using nibble_test::require_contains;
using nibble_test::require_ended;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;
namespace fs = std::filesystem;

const std::string model = NIBBLE_DEMO_MODEL;
const std::string oracle_path = NIBBLE_ENGINE_DATA "/demo_model.json";

json read_json(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file);
}

json answer(const words& arguments) { return json::parse(require_ended(arguments, 0).out); }

/// The oracle's prompts, tokens and texts, and its perplexity.
void require_oracle(const std::string& path, const json& oracle, const std::string& oracle_file) {
  for (const json& each : oracle.at("greedy")) {
    const std::string count = std::to_string(each.at("tokens").size());
    const json found =
        answer({"run", path, "-p", each.at("prompt").get<std::string>(), "-n", count, "--json"});
    CHECK(found.at("prompt_tokens") == each.at("prompt_tokens"));
    CHECK(found.at("tokens") == each.at("tokens"));
    CHECK(found.at("text") == each.at("text"));
  }
  const json scored = answer({"perplexity", path, "--tokens", oracle_file, "--json"});
  const double expected = oracle.at("evaluation").at("perplexity").get<double>();
  CHECK(std::fabs(scored.at("perplexity").get<double>() - expected) < 1e-4);
}

}  // namespace

TEST_CASE("run goes on as an independent engine does, and says so in JSON", "[command]") {
  const json oracle = read_json(oracle_path);
  require_oracle(model, oracle, oracle_path);
  const json found = answer({"run", model, "-p", "And God said", "-n", "5", "-j"});
  std::vector<std::string> keys;
  for (const auto& [key, value] : found.items()) keys.push_back(key);
  CHECK(keys == std::vector<std::string>{"load_seconds", "model", "prompt_tokens",
                                         "prompt_tokens_per_second", "stopped_by", "text", "tokens",
                                         "tokens_per_second", "version"});
  CHECK(found.at("stopped_by") == "tokens");
  CHECK(found.at("version") == 1);
  CHECK(found.at("model") == model);
  CHECK(found.at("tokens").size() == 5);
  CHECK(found.at("load_seconds").get<double>() > 0.0);
  // As text, the prompt and what follows.
  const std::string text = require_ended({"run", model, "-p", "And God said", "-n", "5"}, 0).out;
  CHECK(text == "And God said" + found.at("text").get<std::string>() + "\n");
}

TEST_CASE("run says that the context ended the text", "[command]") {
  const words arguments{"run", model, "-p", "And God said", "-n", "5000"};
  const outcome text = nibble_test::run(arguments);
  CHECK(text.exit_code == 0);
  words in_json = arguments;
  in_json.push_back("-j");
  const json found = answer(in_json);
  const bool is_full = found.at("stopped_by") == "context";
  CHECK((is_full || found.at("stopped_by") == "end_of_text"));
  CHECK((text.err.find("context") != std::string::npos) == is_full);
}

TEST_CASE("a model that was unpacked can be packed and run again", "[command]") {
  const temporary_directory files;
  require_ended({"pack", model, "-o", files / "m.apr", "-e", "f32"}, 0);
  require_ended({"unpack", files / "m.apr", "-o", files / "u.safetensors"}, 0);
  require_ended({"pack", files / "u.safetensors", "-o", files / "again.apr", "-e", "f32"}, 0);
  require_ended({"convert", files / "u.safetensors", "-o", files / "again.gguf"}, 0);
  const json expected = answer({"run", files / "m.apr", "-p", "And God said", "-n", "8", "-j"});
  for (const char* const name : {"again.apr", "again.gguf"}) {
    const json found = answer({"run", files / name, "-p", "And God said", "-n", "8", "-j"});
    CHECK(found.at("tokens") == expected.at("tokens"));
  }
}

TEST_CASE("verify notes metadata that run refuses", "[command]") {
  const temporary_directory files;
  require_ended({"convert", model, "-o", files / "m.gguf"}, 0);
  const json sound = answer({"verify", files / "m.gguf", "-j"});
  const std::string key = json::parse(require_ended({"meta", files / "m.gguf", "-j"}, 0).out)
                              .at("metadata")
                              .at("general.architecture")
                              .get<std::string>() +
                          ".context_length";
  require_ended({"meta", files / "m.gguf", "--set", key + ":str=\"long\""}, 0);
  const json report = answer({"verify", files / "m.gguf", "-j"});
  const auto has_code = [](const json& document, const std::string& code) {
    const json& findings = document.at("findings");
    return std::any_of(findings.begin(), findings.end(),
                       [&](const json& each) { return each.at("code") == code; });
  };
  CHECK_FALSE(has_code(sound, "not_runnable"));
  CHECK(has_code(report, "not_runnable"));
  require_ended({"verify", files / "m.gguf", "--fail-on", "not_runnable"}, 1);
}

TEST_CASE("the three containers of a model give the same tokens, on any number of threads",
          "[command]") {
  const temporary_directory files;
  const json oracle = read_json(oracle_path);
  require_ended({"pack", model, "-o", files / "m.apr", "-e", "bf16"}, 0);
  require_ended({"convert", files / "m.apr", "-o", files / "m.gguf"}, 0);
  require_oracle(files / "m.apr", oracle, oracle_path);
  require_oracle(files / "m.gguf", oracle, oracle_path);
  require_ended({"pack", model, "-o", files / "q4.apr", "-e", "q4"}, 0);
  for (const std::string mode : {"exact", "int16", "int8"}) {
    const auto tokens = [&](const words& more) {
      words all{"run",    files / "q4.apr", "-p", "In the beginning", "-n", "40",
                "--json", "--mode",         mode};
      all.insert(all.end(), more.begin(), more.end());
      return answer(all).at("tokens");
    };
    CHECK(tokens({"--threads", "1"}) == tokens({"--threads", "3"}));
    CHECK(tokens({"--repack"}).size() == 40);
    CHECK(tokens({"--in-memory"}) == tokens({}));
  }
}

TEST_CASE("a seed gives its text again", "[command]") {
  const auto text = [](const std::string& seed) {
    return answer({"run", model, "-p", "And", "-n", "30", "--json", "--temperature", "1.5", "--top-p",
                   "0.9", "--seed", seed})
        .at("text");
  };
  CHECK(text("7") == text("7"));
  CHECK(text("7") != text("8"));
}

TEST_CASE("perplexity of a text, of tokens and against another model", "[command]") {
  const temporary_directory files;
  require_ended({"pack", model, "-o", files / "q4.apr", "-e", "q4"}, 0);
  const json found =
      answer({"perplexity", files / "q4.apr", "--tokens", oracle_path, "--against", model, "--json"});
  CHECK(found.at("version") == 1);
  const json& against = found.at("against");
  CHECK(against.at("perplexity").get<double>() < found.at("perplexity").get<double>());
  CHECK(against.at("divergence").at("mean").get<double>() > 0.0);
  CHECK(against.at("divergence").at("max").get<double>() >=
        against.at("divergence").at("percentile_99").get<double>());
  const json itself =
      answer({"perplexity", model, "--tokens", oracle_path, "--against", model, "--json"});
  CHECK(itself.at("against").at("divergence").at("max") == 0.0);
  CHECK(itself.at("against").at("first_choice_agreement") == 1.0);

  const std::string text = "And God said, Let there be light: and there was light.\n";
  nibble_test::write_file(files / "text", std::as_bytes(std::span(text)));
  const json scored = answer({"perplexity", model, "--text", files / "text", "--json"});
  CHECK(scored.at("scored_tokens").get<int>() > 5);
  CHECK(scored.at("perplexity").get<double>() > 1.0);
  require_contains(require_ended({"perplexity", model, "--text", files / "text"}, 0).out,
                   {"perplexity"});
}

TEST_CASE("parity names what it checks, and ends with 1 where a check fails", "[command]") {
  const temporary_directory files;
  require_ended({"pack", model, "-o", files / "q8.apr", "-e", "q8"}, 0);
  require_ended({"pack", model, "-o", files / "q4.apr", "-e", "q4"}, 0);
  // Which holds the same values.
  require_ended({"pack", model, "-o", files / "f32.apr", "-e", "f32"}, 0);
  const json fine = answer(
      {"parity", model, files / "f32.apr", files / "f32.apr", "--oracle", oracle_path, "--json"});
  CHECK(fine.at("version") == 1);
  CHECK(fine.at("ok") == true);
  CHECK(fine.at("checks").size() == 25);
  const outcome lossy =
      require_ended({"parity", model, files / "q8.apr", files / "q4.apr", "--oracle", oracle_path}, 1);
  require_contains(lossy.out, {"canary", "FAILED", "passed, "});
  // In 8 bits, and by GGUF's 8 bits without a min, a text of so small a model may go another way at a near
  // tie; everything else holds.
  const json checks = json::parse(require_ended({"parity", model, files / "q8.apr", files / "q4.apr",
                                                 "--oracle", oracle_path, "--json"},
                                                1)
                                      .out)
                          .at("checks");
  for (const json& each : checks) {
    const auto name = each.at("name").get<std::string>();
    const bool is_of_texts = name.starts_with("canary") || name.starts_with("round trip");
    if (each.at("model") != "int8" || is_of_texts) continue;
    CAPTURE(name);
    CHECK(each.at("ok") == true);
  }
}

TEST_CASE("what cannot be run is refused by what is wrong with it", "[command]") {
  const temporary_directory files;
  require_contains(require_ended({"run", model, "-p", "x", "--mode", "int4"}, 2).err,
                   {"exact", "int16", "int8"});
  require_ended({"run", model}, 2);
  require_ended({"run", model, "-p", "x", "--top-p", "1.5"}, 2);
  require_ended({"run", model, "-p", "x", "-n", "0"}, 2);
  require_ended({"perplexity", model}, 2);
  require_ended({"perplexity", model, "--tokens", oracle_path, "--text", oracle_path}, 2);
  // A tensor is missing, and another one holds zeros.
  require_ended({"pack", model, "-o", files / "m.apr", "-e", "bf16", "--drop", "*layers.1*down_proj*"},
                0);
  require_contains(require_ended({"run", files / "m.apr", "-p", "x"}, 3).err,
                   {"F-LAYOUT-CONTRACT-001", "blk.1.ffn_down.weight", "64x96"});
  // Longer than the context.
  std::string prompt;
  for (int i = 0; i < 3000; ++i) prompt += "light ";
  require_ended({"run", model, "-p", prompt}, 2);
  // No model at all.
  nibble_test::write_safetensors(files / "t.safetensors",
                                 {{"a", "F32", {2}, std::vector<std::byte>(8)}});
  require_contains(require_ended({"run", files / "t.safetensors", "-p", "x"}, 3).err, {"architecture"});
}

TEST_CASE("the trained models at hand go on as their oracles do", "[command]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const temporary_directory files;
  for (const std::string name : {"stories260K", "kjv-qwen2", "kjv-gpt2"}) {
    const fs::path folder = shared / "models" / name;
    const std::string file = (folder / "oracle.json").string();
    INFO(name);
    const json oracle = read_json(file);
    require_oracle(folder.string(), oracle, file);
    require_ended({"pack", folder.string(), "-o", files / "m.apr", "-e", "f32"}, 0);
    require_oracle(files / "m.apr", oracle, file);
    require_ended({"convert", files / "m.apr", "-o", files / "m.gguf"}, 0);
    require_oracle(files / "m.gguf", oracle, file);
  }
}

#endif
