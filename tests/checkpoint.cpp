/// Folders as hubs lay them out, opened whole: what ../shared/cases shows, rebuilt in small.
#include <nibble/checkpoint.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/checkpoint_files.hpp>
#include <support/files.hpp>
#include <support/outcome.hpp>
#include <support/random_values.hpp>

using nibble::checkpoint;
using nibble_test::byte_tensor;
using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nibble_test::random_bytes;
using nibble_test::temporary_directory;
using nibble_test::write_byte_tensors;
using nibble_test::write_text;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

outcome opened(const std::string& path) {
  return outcome_of([&] { static_cast<void>(checkpoint(path)); });
}

std::string names_of(const nibble::reader& in) {
  std::string names;
  for (const nibble::tensor_view& tensor : in) {
    names += fmt::format("{}{}", names.empty() ? "" : " ", tensor.name());
  }
  return names;
}

const std::string two_shards = R"({"metadata":{"total_size":17},"weight_map":{
  "a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}})";
const std::string index_name = "model.safetensors.index.json";

}  // namespace

TEST_CASE("a folder is opened with what stands beside its tensors", "[checkpoint]") {
  const temporary_directory folder;
  const byte_tensor weight{"w", random_bytes(33, 1)};
  write_byte_tensors(folder / "model.safetensors", {weight});
  write_text(folder / "config.json", R"({"model_type":"qwen2","num_hidden_layers":2})");
  const std::string tokenizer =
      R"({"model":{"type":"BPE","vocab":{"a":0}},"pre_tokenizer":{"type":"ByteLevel"}})";
  write_text(folder / "tokenizer.json", tokenizer);
  for (const std::string& path :
       {folder.path().string(), folder.path().string() + "/", folder / "model.safetensors"}) {
    for (const nibble::file_access how : {nibble::file_access::mapped, nibble::file_access::read}) {
      CAPTURE(path);
      checkpoint in(path, how);
      CHECK(fs::equivalent(in.name(), folder / "model.safetensors"));
      CHECK(std::ranges::equal(in["w"].bytes(), weight.bytes));
      CHECK(in.metadata()["num_layers"] == 2);
      CHECK(in.metadata()["architecture"] == "qwen2");
      CHECK(in.metadata()["tokenizer.vocabulary"] == json::array({"a"}));
      CHECK(in.metadata()["format"] == "pt");
      CHECK(in.metadata_text().find("num_layers") == std::string_view::npos);
      // It is a reader, and can be kept as one.
      const nibble::reader moved = std::move(in);
      CHECK(moved.metadata()["num_layers"] == 2);
      CHECK(std::ranges::equal(moved["w"].bytes(), weight.bytes));
    }
  }
  // A reader reads the file alone.
  CHECK(nibble::reader(folder / "model.safetensors").metadata() == json{{"format", "pt"}});
}

TEST_CASE("a file counts as its folder's model where it is the only one", "[checkpoint]") {
  const temporary_directory folder;
  write_byte_tensors(folder / "model.safetensors", {{"a", random_bytes(8, 1)}});
  write_byte_tensors(folder / "adapter.safetensors", {{"b", random_bytes(9, 1)}});
  write_text(folder / "config.json", R"({"n_layer":2})");
  const outcome both = opened(folder.path().string());
  CHECK(both.code == "several_models");
  CHECK(missing_parts(both.message, {"model.safetensors", "adapter.safetensors"}).empty());
  CHECK(names_of(checkpoint(folder / "model.safetensors")) == "a");
  CHECK(names_of(checkpoint(folder / "adapter.safetensors")) == "b");
  CHECK_FALSE(checkpoint(folder / "model.safetensors").metadata().contains("num_layers"));
  fs::remove(folder / "model.safetensors");
  CHECK(checkpoint(folder / "adapter.safetensors").metadata()["num_layers"] == 2);
  // A path without a folder.
  const fs::path here = fs::current_path();
  fs::current_path(folder.path());
  CHECK(checkpoint("adapter.safetensors").metadata()["num_layers"] == 2);
  CHECK(checkpoint(".").metadata()["num_layers"] == 2);
  fs::current_path(here);
}

TEST_CASE("the index of a folder is the authority", "[checkpoint]") {
  const temporary_directory folder;
  const byte_tensor a{"a", random_bytes(8, 1)};
  const byte_tensor b{"b", random_bytes(9, 2)};
  write_byte_tensors(folder / "model-00001-of-00002.safetensors", {a, {"reused.by.nobody", {}}});
  write_byte_tensors(folder / "model-00002-of-00002.safetensors", {b, {"reused.by.nobody", {}}});
  write_text(folder / index_name, two_shards);
  write_text(folder / "config.json", R"({"n_layer":2})");
  for (const std::string& path :
       {folder.path().string(), folder / index_name, folder / "model-00002-of-00002.safetensors"}) {
    CAPTURE(path);
    const checkpoint in(path);
    CHECK(names_of(in) == "a b");
    CHECK(std::ranges::equal(in["b"].bytes(), b.bytes));
    CHECK(in.metadata()["num_layers"] == 2);
    REQUIRE(in.notes().size() == 2);
    for (const nibble::finding& note : in.notes()) CHECK(note.tensor == "reused.by.nobody");
  }
}

TEST_CASE("a shard that is missing is named, and nothing is opened in its place", "[checkpoint]") {
  const temporary_directory folder;
  write_byte_tensors(folder / "model.safetensors", {{"a", random_bytes(8, 1)}});
  write_text(folder / index_name, two_shards);
  const outcome result = opened(folder.path().string());
  CHECK(result.code == "bad_shard");
  CHECK(missing_parts(result.message, {"model-00001-of-00002.safetensors", index_name}).empty());
  // A tensor that its shard lacks.
  write_byte_tensors(folder / "model-00001-of-00002.safetensors", {{"a", random_bytes(8, 1)}});
  write_byte_tensors(folder / "model-00002-of-00002.safetensors", {{"c", random_bytes(8, 1)}});
  const outcome lacking = opened(folder.path().string());
  CHECK(lacking.code == "bad_shard");
  CHECK(missing_parts(lacking.message, {"model-00002-of-00002.safetensors", "'b'"}).empty());
}

TEST_CASE("a hub's cache is opened through its links", "[checkpoint]") {
  const temporary_directory cache;
  write_byte_tensors(cache / "blobs/0001", {{"a", random_bytes(8, 1)}});
  write_byte_tensors(cache / "blobs/0002", {{"b", random_bytes(9, 2)}});
  write_text(cache / "blobs/index", R"({"metadata":{},"weight_map":{
    "a":"consolidated-00001-of-00002.safetensors","b":"consolidated-00002-of-00002.safetensors"}})");
  write_text(cache / "blobs/config", R"({"n_layer":2})");
  const std::string snapshot = cache / "snapshots/r1";
  fs::create_directories(snapshot);
  const auto link = [&](const std::string& blob, const std::string& name) {
    fs::create_symlink("../../blobs/" + blob, fs::path(snapshot) / name);
  };
  link("0001", "consolidated-00001-of-00002.safetensors");
  link("0002", "consolidated-00002-of-00002.safetensors");
  link("index", "consolidated.safetensors.index.json");
  link("config", "config.json");
  for (const char* const name :
       {"", "/consolidated.safetensors.index.json", "/consolidated-00001-of-00002.safetensors",
        "/consolidated-00002-of-00002.safetensors"}) {
    CAPTURE(name);
    const checkpoint in(snapshot + name);
    CHECK(names_of(in) == "a b");
    CHECK(in.metadata()["num_layers"] == 2);
    CHECK(in.shards().size() == 2);
  }
  fs::remove(cache / "blobs/0002");
  const outcome lost = opened(snapshot);
  CHECK(lost.code == "bad_shard");
  CHECK(missing_parts(lost.message, {"consolidated-00002-of-00002.safetensors"}).empty());
}

TEST_CASE("a file beside the tensors that is wrong is named", "[checkpoint]") {
  const temporary_directory folder;
  write_byte_tensors(folder / "model.safetensors", {{"a", random_bytes(8, 1)}});
  write_text(folder / "config.json", R"({"n_layer":"two"})");
  for (const std::string& path : {folder.path().string(), folder / "model.safetensors"}) {
    const outcome result = opened(path);
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, {"config.json", "n_layer"}).empty());
  }
  CHECK(nibble::reader(folder / "model.safetensors").size() == 1);
}

TEST_CASE("models of the shared folder are opened with their metadata", "[checkpoint]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  struct row {
    const char* name;
    const char* architecture;
    std::size_t tensors;
    std::size_t vocabulary;
    json expected;
  };
  const std::vector<row> rows = {
      {"kjv-gpt2",
       "gpt2",
       64,
       1024,
       {{"hidden_size", 256},
        {"num_layers", 5},
        {"intermediate_size", 1024},
        {"num_kv_heads", 8},
        {"tokenizer.eos_token_id", 1023},
        {"tokenizer.pre_tokenizer", "gpt-2"}}},
      {"kjv-qwen2",
       "qwen2",
       62,
       1024,
       {{"num_kv_heads", 2},
        {"rope_type", 2},
        {"rms_norm_eps", 1e-6},
        {"head_dim", 32},
        {"tokenizer.add_bos_token", false},
        {"tie_word_embeddings", true}}},
      {"stories260K",
       "llama",
       47,
       512,
       {{"rope_type", 0}, {"tokenizer.model_type", "sentencepiece"}, {"num_kv_heads", 4}}},
  };
  for (const row& each : rows) {
    CAPTURE(each.name);
    const checkpoint in((shared / "models" / each.name).string());
    CHECK(in.size() == each.tensors);
    CHECK(in.metadata()["architecture"] == each.architecture);
    CHECK(in.metadata()["tokenizer.vocabulary"].size() == each.vocabulary);
    for (const auto& [key, value] : each.expected.items()) {
      CAPTURE(key);
      CHECK(in.metadata()[key] == value);
    }
  }
}
