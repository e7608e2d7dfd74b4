/// Folders as model hubs lay them out, and what stands beside the tensors in them.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::read_file;
using nibble_test::require_contains;
using nibble_test::temporary_directory;
using nibble_test::told;
using nibble_test::words;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

void write_text(const std::string& path, const std::string& text) {
  nibble_test::write_file(path, std::as_bytes(std::span(text)));
}

nibble_test::stored_tensor weights(const std::string& name, std::uint32_t seed) {
  return {name, "F32", {4, 64}, nibble_test::bytes_of(nibble_test::gaussian(4 * 64, seed))};
}

/// A folder with one file of two tensors and a config.json.
struct model_folder {
  temporary_directory files;
  std::string path = files / "model";
  std::string file = path + "/model.safetensors";

  model_folder() {
    fs::create_directory(path);
    nibble_test::write_safetensors(file, {weights("a", 1), weights("b", 2)});
    write_text(path + "/config.json", R"({"model_type":"qwen2","num_hidden_layers":7})");
  }
};

}  // namespace

TEST_CASE("what a file beside the tensors says is not set in theirs", "[command]") {
  const model_folder model;
  const std::vector<std::byte> before = read_file(model.file);
  nibble_test::require_refusal(nibble_test::run({"meta", model.path, "--set", "num_layers=8"}), 2,
                               {"num_layers", "config.json"});
  CHECK(read_file(model.file) == before);
  told({"meta", model.path, "--set-string", "note=x"});
  require_contains(told({"meta", model.path}), {"note", "num_layers"});
}

TEST_CASE("a folder is no name: what is packed from \".\" lies beside it", "[command]") {
  const model_folder model;
  require_contains(told({"pack", model.path + "/.", "-e", "q4"}), {"model-q4.apr"});
  CHECK(fs::exists(model.files / "model-q4.apr"));
  fs::create_directory(model.path + "/inner");
  told({"pack", model.path + "/inner/..", "-e", "q8"});
  CHECK(fs::exists(model.files / "model-q8.apr"));
  CHECK_FALSE(fs::exists(model.path + "/..-q8.apr"));
}

TEST_CASE("a folder is taken wherever a file is", "[command]") {
  const model_folder model;
  const auto& files = model.files;
  const json listing = json::parse(told({"inspect", model.path, "--json"}));
  REQUIRE(listing.at("tensors").size() == 2);
  REQUIRE(listing.at("metadata").at("num_layers") == 7);
  require_contains(told({"inspect", model.path}), {"num_layers: 7", "architecture: \"qwen2\""});
  REQUIRE(json::parse(told({"meta", model.path, "--json"})).at("metadata").at("num_layers") == 7);
  told({"verify", model.path});
  told({"hash", model.path});
  told({"diff", model.path, model.file, "--max-error", "0"});

  told({"pack", model.path, "-o", files / "packed.apr"});
  REQUIRE(json::parse(told({"meta", files / "packed.apr", "--json"})).at("metadata").at("num_layers") ==
          7);
  told({"pack", model.file, "-o", files / "same.apr"});
  REQUIRE(read_file(files / "same.apr") == read_file(files / "packed.apr"));
  told({"pack", model.file, "-o", files / "alone.apr", "--single"});
  REQUIRE_FALSE(
      json::parse(told({"meta", files / "alone.apr", "--json"})).at("metadata").contains("num_layers"));
  told({"convert", model.path, "-o", files / "converted.gguf"});
  REQUIRE(
      json::parse(told({"meta", files / "converted.gguf", "--json"})).at("metadata").at("num_layers") ==
      7);
  told({"convert", model.path, "-o", files / "converted.apr"});
  REQUIRE(json::parse(told({"meta", files / "converted.apr", "--json"}))
              .at("metadata")
              .at("architecture") == "qwen2");

  // What goes into safetensors has its config beside it.
  told({"unpack", model.path, "-o", files / "out.safetensors"});
  REQUIRE_FALSE(json::parse(told({"meta", files / "out.safetensors", "--json"}))
                    .at("metadata")
                    .contains("num_layers"));
  told({"diff", model.path, files / "out.safetensors", "--max-error", "0"});
}

TEST_CASE("metadata that are edited are the file's own", "[command]") {
  const model_folder model;
  told({"meta", model.path, "--set-string", "note=mine"});
  const json metadata = json::parse(told({"meta", model.file, "--single", "--json"})).at("metadata");
  REQUIRE(metadata.at("note") == "mine");
  REQUIRE_FALSE(metadata.contains("num_layers"));
  REQUIRE(json::parse(told({"meta", model.path, "--json"})).at("metadata").at("num_layers") == 7);
}

TEST_CASE("a folder of two models is refused and lists them", "[command]") {
  const model_folder model;
  nibble_test::write_safetensors(model.path + "/adapter.safetensors", {weights("c", 3)});
  require_contains(told({"inspect", model.path}, 2),
                   {"several_models", "'adapter.safetensors', 'model.safetensors'"});
  const json listing = json::parse(told({"inspect", model.file, "--json"}));
  REQUIRE(listing.at("tensors").size() == 2);
  REQUIRE_FALSE(listing.at("metadata").contains("num_layers"));
  require_contains(told({"pack", model.files / "none", "-o", model.files / "x.apr"}, 4), {"none"});
}

TEST_CASE("a config.json that is wrong is named with its key", "[command]") {
  const model_folder model;
  write_text(model.path + "/config.json", R"({"num_hidden_layers":"seven"})");
  require_contains(told({"verify", model.path}, 3), {"config.json", "num_hidden_layers", "string"});
  told({"verify", model.file, "--single"});
}

TEST_CASE("tensors that an index does not map are left out and noted", "[command]") {
  const temporary_directory folder;
  nibble_test::write_safetensors(folder / "model-00001-of-00002.safetensors",
                                 {weights("a", 1), weights("of.nobody", 2)});
  nibble_test::write_safetensors(folder / "model-00002-of-00002.safetensors",
                                 {weights("b", 3), weights("of.nobody", 4)});
  write_text(folder / "model.safetensors.index.json", R"({"weight_map":{
    "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})");
  const std::string path = folder.path().string();
  require_contains(told({"inspect", path}), {"2 tensors", "'of.nobody': left out"});
  REQUIRE(json::parse(told({"inspect", path, "--json"})).at("tensors").size() == 2);
  require_contains(told({"verify", path}), {"note", "of.nobody", "2 tensors read", "ok"});
  told({"pack", path, "-o", folder / "packed.apr"});
  REQUIRE(json::parse(told({"inspect", folder / "packed.apr", "--json"})).at("tensors").size() == 2);
  fs::remove(folder / "packed.apr");
  fs::remove(folder / "model-00002-of-00002.safetensors");
  require_contains(told({"inspect", path}, 3),
                   {"model-00002-of-00002.safetensors", "model.safetensors.index.json"});
}

TEST_CASE("experts in one tensor pack expert by expert", "[command]") {
  const temporary_directory folder;
  const std::vector<float> values = nibble_test::gaussian(std::size_t{4} * 64 * 96, 5);
  nibble_test::write_safetensors(
      folder / "model.safetensors",
      {{"experts.down_proj", "F32", {4, 64, 96}, nibble_test::bytes_of(values)}});
  const std::vector<float> third(values.begin() + 2 * 64 * 96, values.begin() + 3 * 64 * 96);
  fs::create_directory(folder / "third");
  nibble_test::write_safetensors(folder / "third/model.safetensors",
                                 {{"w", "F32", {64, 96}, nibble_test::bytes_of(third)}});
  told({"pack", folder.path().string(), "-o", folder / "all.apr", "--encoding", "q4"});
  told({"pack", folder / "third", "-o", folder / "third.apr", "--encoding", "q4"});
  const json all = json::parse(told({"inspect", folder / "all.apr", "--json"})).at("tensors")[0];
  const json one = json::parse(told({"inspect", folder / "third.apr", "--json"})).at("tensors")[0];
  REQUIRE(all.at("shape") == json{4, 64, 96});
  const std::size_t bytes = one.at("bytes");
  REQUIRE(all.at("bytes") == 4 * bytes);
  const auto stored = [&](const char* file, std::size_t at) {
    const auto contents = read_file(folder / file);
    const auto start = contents.begin() + static_cast<std::ptrdiff_t>(at);
    return std::vector<std::byte>(start, start + static_cast<std::ptrdiff_t>(bytes));
  };
  REQUIRE(stored("all.apr", all.at("offset").get<std::size_t>() + 2 * bytes) ==
          stored("third.apr", one.at("offset")));
}

TEST_CASE("weights of a scheme that is not decoded are refused by its name", "[command]") {
  const model_folder model;
  write_text(model.path + "/config.json", R"({"quantization_config":{"quant_method":"sevenbit"}})");
  for (const words& arguments : {words{"pack", model.path, "-o", model.files / "x.apr"},
                                 words{"pack", model.file, "-o", model.files / "x.apr"},
                                 words{"convert", model.path, "-o", model.files / "x.gguf"}}) {
    require_contains(told(arguments, 3), {"sevenbit", "quantization_config"});
  }
  REQUIRE_FALSE(fs::exists(model.files / "x.apr"));
  REQUIRE_FALSE(fs::exists(model.files / "x.gguf"));
  REQUIRE(json::parse(told({"inspect", model.path, "--json"})).at("tensors").size() == 2);
  told({"pack", model.file, "-o", model.files / "x.apr", "--single"});
}
