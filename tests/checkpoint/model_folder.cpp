#include <nibble/checkpoint/model_folder.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <support/catch.hpp>
#include <support/checkpoint_files.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>

using nibble::find_model;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::temporary_directory;
using nibble_test::write_text;
namespace fs = std::filesystem;

namespace {

outcome found_in(const std::vector<std::string>& files) {
  const temporary_directory folder;
  for (const std::string& file : files) write_text(folder / file, "");
  std::string name;
  outcome result = outcome_of([&] { name = find_model(folder.path().string()).file; });
  if (result.code == "taken") result.message = name;
  return result;
}

}  // namespace

TEST_CASE("the model of a folder is found in the order that hubs mean", "[model_folder]") {
  struct row {
    std::vector<std::string> files;
    std::string found;
  };
  const std::string index = "model.safetensors.index.json";
  const std::string consolidated = "consolidated.safetensors.index.json";
  const std::vector<row> rows = {
      {{"model.safetensors"}, "model.safetensors"},
      {{"a.safetensors", "config.json", "README.md", "tokenizer.model"}, "a.safetensors"},
      {{"b.gguf", "config.json"}, "b.gguf"},
      {{"c.apr"}, "c.apr"},
      {{"a.safetensors", "b.gguf", "b2.gguf", "c.apr"}, "a.safetensors"},
      {{index}, index},
      {{index, "model.safetensors", "adapter.safetensors"}, index},
      {{index, consolidated, "consolidated.safetensors"}, index},
      {{consolidated, "a.safetensors", "b.safetensors"}, consolidated},
      {{index, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}, index},
      {{"model.fp16.safetensors.index.json", "model.fp16-00001-of-00001.safetensors"},
       "model.fp16.safetensors.index.json"},
      {{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"},
       "m-00001-of-00002.safetensors"},
      {{"m-00002-of-00002.gguf"}, "m-00002-of-00002.gguf"},
      {{".model.safetensors", "._a.safetensors", "a.safetensors"}, "a.safetensors"},
  };
  for (const row& each : rows) {
    const outcome result = found_in(each.files);
    CAPTURE(each.found, result.code, result.message);
    CHECK(result.code == "taken");
    CHECK(result.message == each.found);
  }
}

TEST_CASE("several models in a folder are refused and listed", "[model_folder]") {
  const outcome two = found_in({"model.safetensors", "adapter.safetensors"});
  CHECK(two.code == "several_models");
  CHECK(missing_parts(two.message, {"'adapter.safetensors', 'model.safetensors'"}).empty());
  const outcome sets = found_in({"a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf"});
  CHECK(sets.code == "several_models");
  CHECK(missing_parts(sets.message, {"'a-00001-of-00002.gguf', 'b.gguf'"}).empty());
  const outcome beside = found_in({"x.safetensors.index.json", "y.safetensors"});
  CHECK(beside.code == "several_models");
  CHECK(missing_parts(beside.message, {"x.safetensors.index.json", "y.safetensors"}).empty());
}

TEST_CASE("a folder without a model, and no folder, are told apart", "[model_folder]") {
  const outcome none = found_in({"config.json", "pytorch_model.bin"});
  CHECK(none.code == "file_not_found");
  CHECK(missing_parts(none.message, {"no model", ".safetensors"}).empty());
  const temporary_directory folder;
  CHECK(outcome_of([&] { static_cast<void>(find_model(folder / "missing")); }).code ==
        "file_not_found");
  write_text(folder / "file", "x");
  CHECK(outcome_of([&] { static_cast<void>(find_model(folder / "file")); }).code == "read_failed");
}

TEST_CASE("folders are no files of a model, and links are", "[model_folder]") {
  const temporary_directory folder;
  fs::create_directory(folder / "original.safetensors");
  write_text(folder / "blobs/1", "");
  fs::create_symlink("blobs/1", folder / "model.safetensors");
  CHECK(find_model(folder.path().string()).file == "model.safetensors");
  // A link that leads nowhere is a file that is missing, not one that nobody meant.
  fs::create_symlink("blobs/2", folder / "other.safetensors");
  CHECK(outcome_of([&] { static_cast<void>(find_model(folder.path().string())); }).code ==
        "several_models");
}

TEST_CASE("a model has its own file and its shards", "[model_folder]") {
  const nibble::model_in_folder single{"model.safetensors", std::nullopt};
  CHECK(single.has("model.safetensors"));
  CHECK_FALSE(single.has("adapter.safetensors"));
  CHECK_FALSE(single.has("model-00001-of-00002.safetensors"));
  const nibble::model_in_folder set{"model.safetensors.index.json",
                                    nibble::shard_names{"model-", ".safetensors"}};
  CHECK(set.has("model-00002-of-00002.safetensors"));
  CHECK(set.has("model.safetensors.index.json"));
  CHECK_FALSE(set.has("other-00002-of-00002.safetensors"));
  CHECK_FALSE(set.has("model-00002-of-00002.gguf"));
  CHECK_FALSE(set.has("model.safetensors"));
}
