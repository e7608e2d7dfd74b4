#include <nibble/checkpoint/folder_metadata.hpp>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/checkpoint_files.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>

using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::temporary_directory;
using nibble_test::write_text;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

const std::string tokenizer = R"({"added_tokens":[{"id":2,"content":"<end>","special":true}],
  "pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}})";

/// What a folder with these files says.
json metadata_of(const std::map<std::string, std::string>& files) {
  const temporary_directory folder;
  for (const auto& [name, text] : files) write_text(folder / name, text);
  return nibble::metadata_of_folder<json>(folder.path().string());
}

}  // namespace

TEST_CASE("a folder without files that say something has no metadata", "[folder_metadata]") {
  CHECK(metadata_of({}) == json::object());
  CHECK(metadata_of({{"README.md", "x"}, {"vocab.json", "x"}}) == json::object());
}

TEST_CASE("config.json counts before metadata.json", "[folder_metadata]") {
  const std::string metadata = R"({"architecture":"llama","rope_type":0,"x":{"y":[]}})";
  CHECK(metadata_of({{"metadata.json", metadata}}) == json::parse(metadata));
  const json config = metadata_of({{"metadata.json", metadata}, {"config.json", R"({"n_layer":3})"}});
  CHECK(config == json{{"num_layers", 3}});
}

TEST_CASE("ids of special tokens come from the file that knows best", "[folder_metadata]") {
  const std::string config =
      R"({"bos_token_id":5,"eos_token_id":6,"pad_token_id":-1,"unk_token_id":0})";
  const std::string by_text = R"({"bos_token":"a","eos_token":{"content":"<end>"},"pad_token":null,
                                  "unk_token":"b","add_bos_token":true})";
  const json first = metadata_of({{"config.json", config}});
  CHECK(first == json{{"tokenizer.bos_token_id", 5},
                      {"tokenizer.eos_token_id", 6},
                      {"tokenizer.unknown_token_id", 0}});
  const json generation = metadata_of(
      {{"config.json", config}, {"generation_config.json", R"({"eos_token_id":[2,6,null]})"}});
  CHECK(generation["tokenizer.eos_token_id"] == json{2, 6});
  CHECK(generation["tokenizer.bos_token_id"] == 5);
  const json texts = metadata_of({{"tokenizer.json", tokenizer}, {"tokenizer_config.json", by_text}});
  CHECK(texts["tokenizer.bos_token_id"] == 0);
  CHECK(texts["tokenizer.eos_token_id"] == 2);
  CHECK(texts["tokenizer.unknown_token_id"] == 1);
  CHECK(texts["tokenizer.add_bos_token"] == true);
  CHECK_FALSE(texts.contains("tokenizer.pad_token_id"));
  CHECK(metadata_of({{"tokenizer.json", tokenizer},
                     {"tokenizer_config.json", "{}"}})["tokenizer.add_bos_token"] == false);
  CHECK(metadata_of({{"tokenizer.json", tokenizer},
                     {"tokenizer_config.json",
                      R"({"tokenizer_class":"LlamaTokenizer"})"}})["tokenizer.add_bos_token"] == true);
}

TEST_CASE("the chat template is the newest of its places", "[folder_metadata]") {
  std::map<std::string, std::string> files = {
      {"tokenizer_config.json", R"({"chat_template":"one\n{{ x }}"})"}};
  CHECK(metadata_of(files)["chat_template"] == "one\n{{ x }}");
  files["tokenizer_config.json"] =
      R"({"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]})";
  CHECK(metadata_of(files)["chat_template"] == "d");
  files["chat_template.json"] = R"({"chat_template":"json"})";
  CHECK(metadata_of(files)["chat_template"] == "json");
  files["chat_template.jinja"] = "{% jinja %}\n";
  CHECK(metadata_of(files)["chat_template"] == "{% jinja %}\n");
}

TEST_CASE("the scheme of quantized weights is kept by its name", "[folder_metadata]") {
  const auto scheme_of = [](const std::map<std::string, std::string>& files) {
    return nibble::quantization_scheme(metadata_of(files)).value_or("none");
  };
  CHECK(scheme_of({{"config.json", R"({"quantization_config":{"quant_method":"sevenbit"}})"}}) ==
        "sevenbit");
  CHECK(scheme_of({{"config.json", R"({"text_config":{"quantization_config":{"quant_method":"fp8",
          "format":"x"}}})"}}) == "fp8");
  CHECK(scheme_of({{"config.json", R"({"compression_config":{"format":"pack-quantized"}})"}}) ==
        "pack-quantized");
  CHECK(scheme_of({{"hf_quant_config.json", R"({"quantization":{"quant_algo":"NVFP4"}})"}}) == "NVFP4");
  CHECK(scheme_of({{"config.json", R"({"quantization_config":{"bits":4}})"}}) == "none");
  CHECK(scheme_of({{"config.json", R"({"quantization_config":null})"}}) == "none");
  CHECK(scheme_of({{"config.json", R"({"quant_method":"gptq"})"}}) == "none");
}

TEST_CASE("a file that is wrong is named, and its key", "[folder_metadata]") {
  struct row {
    std::map<std::string, std::string> files;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {{{"config.json", R"({"hidden_size":"x"})"}}, {"config.json", "hidden_size"}},
      {{{"config.json", "{"}}, {"config.json"}},
      {{{"config.json", "[]"}}, {"config.json", "array"}},
      {{{"config.json", ""}}, {"config.json"}},
      {{{"config.json", R"({"eos_token_id":"x"})"}}, {"config.json", "eos_token_id"}},
      {{{"metadata.json", "7"}}, {"metadata.json"}},
      {{{"generation_config.json", R"({"eos_token_id":[[1]]})"}},
       {"generation_config.json", "eos_token_id"}},
      {{{"tokenizer.json", R"({"model":{"type":"BPE","vocab":{"a":"x"}}})"}},
       {"tokenizer.json", "model.vocab['a']"}},
      {{{"tokenizer_config.json", "nothing"}}, {"tokenizer_config.json"}},
      {{{"chat_template.jinja", "\xFF"}}, {"chat_template.jinja", "UTF-8"}},
      {{{"config.json", R"({"a":)" + std::string(200, '[') + std::string(200, ']') + "}"}},
       {"config.json", "nesting"}},
  };
  for (const row& each : rows) {
    CAPTURE(each.files);
    const outcome result = outcome_of([&] { static_cast<void>(metadata_of(each.files)); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, each.named).empty());
  }
}

TEST_CASE("files are read through links, up to a size", "[folder_metadata]") {
  const temporary_directory folder;
  write_text(folder / "blobs/c", R"({"n_layer":3})");
  fs::create_directories(folder / "snapshots/r1");
  fs::create_symlink("../../blobs/c", folder / "snapshots/r1/config.json");
  const std::string snapshot = folder / "snapshots/r1";
  CHECK(nibble::metadata_of_folder<json>(snapshot) == json{{"num_layers", 3}});
  fs::remove(folder / "blobs/c");
  const outcome lost =
      outcome_of([&] { static_cast<void>(nibble::metadata_of_folder<json>(snapshot)); });
  CHECK(lost.code == "file_not_found");
  CHECK(missing_parts(lost.message, {"config.json"}).empty());

  const temporary_directory large;
  write_text(large / "config.json", "{}");
  fs::resize_file(large / "config.json", (std::uintmax_t{64} << 20U) + 1);
  const outcome refused =
      outcome_of([&] { static_cast<void>(nibble::metadata_of_folder<json>(large.path().string())); });
  CHECK(refused.code == "bad_metadata");
  CHECK(missing_parts(refused.message, {"config.json", "67108865"}).empty());

  const temporary_directory nested;
  fs::create_directory(nested / "config.json");
  CHECK(outcome_of([&] {
          static_cast<void>(nibble::metadata_of_folder<json>(nested.path().string()));
        }).code == "read_failed");
}
