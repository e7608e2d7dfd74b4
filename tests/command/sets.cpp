/// Sets of files, and what the command does to files without touching their tensors.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/gguf_bytes.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble_test::bytes_of;
using nibble_test::outcome;
using nibble_test::read_file;
using nibble_test::require_contains;
using nibble_test::run;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::told;
using nibble_test::words;
using nibble_test::write_safetensors;
using nlohmann::json;

namespace {

stored_tensor matrix(const std::string& name, std::uint32_t seed) {
  return {name, "F32", {4, 64}, bytes_of(nibble_test::gaussian(4 * 64, seed))};
}

/// One model as a single file and as three shards with an index.
struct model_files {
  temporary_directory files;
  std::string whole = files / "whole.safetensors";
  std::string index = files / "model.safetensors.index.json";

  model_files() {
    std::vector<stored_tensor> all;
    json map = json::object();
    for (std::uint32_t shard = 1; shard <= 3; ++shard) {
      std::vector<stored_tensor> tensors;
      for (std::uint32_t i = 0; i < shard; ++i) {
        tensors.push_back(matrix(fmt::format("w{}{}", shard, i), 10 * shard + i));
        map[tensors.back().name] = name_of(shard);
      }
      all.insert(all.end(), tensors.begin(), tensors.end());
      write_safetensors(files / name_of(shard), tensors);
    }
    write_safetensors(whole, all);
    write_text(index, json{{"weight_map", map}}.dump());
  }

  static std::string name_of(std::uint32_t shard) {
    return fmt::format("model-0000{}-of-00003.safetensors", shard);
  }
  static void write_text(const std::string& path, const std::string& text) {
    nibble_test::write_file(path, std::as_bytes(std::span(text)));
  }
};

}  // namespace

TEST_CASE("a set is packed, listed, checked and compared like one file", "[command]") {
  const model_files model;
  const auto& files = model.files;
  told({"pack", model.whole, "-o", files / "whole.apr"});
  told({"pack", model.index, "-o", files / "set.apr"});
  REQUIRE(read_file(files / "set.apr") == read_file(files / "whole.apr"));
  told({"pack", files / model_files::name_of(1), "-o", files / "set.apr"});
  REQUIRE(read_file(files / "set.apr") == read_file(files / "whole.apr"));
  told({"pack", files / model_files::name_of(1), "-o", files / "alone.apr", "--single"});
  REQUIRE(json::parse(told({"inspect", files / "alone.apr", "--json"})).at("tensors").size() == 1);

  const json listing = json::parse(told({"inspect", model.index, "--json"}));
  REQUIRE(listing.at("tensors").size() == 6);
  REQUIRE(listing.at("shards").size() == 3);
  REQUIRE(listing.at("shards")[2].at("tensors") == 3);
  REQUIRE(listing.at("shard").is_null());
  require_contains(told({"inspect", model.index}), {"6 tensors", model_files::name_of(3)});
  REQUIRE(json::parse(told({"inspect", files / model_files::name_of(2), "--json"})).at("tensors") ==
          listing.at("tensors"));
  const json second =
      json::parse(told({"inspect", files / model_files::name_of(2), "--json", "--single"}));
  REQUIRE(second.at("tensors").size() == 2);
  REQUIRE(second.at("shard") == json{{"index", 1}, {"count", 3}});
  require_contains(told({"inspect", files / model_files::name_of(1), "--single"}), {"shard 1 of 3"});

  require_contains(told({"verify", model.index}), {"6 tensors read"});
  told({"diff", model.index, model.whole, "--max-error", "0"});
  told({"unpack", model.index, "-o", files / "unpacked.safetensors"});
  told({"diff", files / "unpacked.safetensors", model.whole, "--max-error", "0"});

  std::filesystem::remove(files / model_files::name_of(2));
  require_contains(told({"verify", model.index}, 3),
                   {"bad_shard", model_files::name_of(2), "shard 2 of 3", "--single"});
  require_contains(told({"verify", files / model_files::name_of(1)}, 3), {model_files::name_of(2)});
  told({"verify", files / model_files::name_of(1), "--single"});
  model_files::write_text(model.index, R"({"weight_map":{"w10":"../x"}})");
  require_contains(told({"inspect", model.index}, 3), {"bad_shard", "../x"});
}

TEST_CASE("a damaged shard is told by its name", "[command]") {
  const model_files model;
  told({"pack", model.index, "-o", model.files / "m.apr", "--shard-size", "1400"});
  const std::string path = model.files / "m-00002-of-00003.apr";
  auto bytes = read_file(path);
  bytes[bytes.size() - 30] ^= std::byte{1};
  nibble_test::write_file(path, bytes);
  const std::string report = told({"verify", model.files / "m-00001-of-00003.apr"}, 1);
  require_contains(report, {"problem: " + path, "not ok"});
  const outcome as_json = run({"verify", model.files / "m-00001-of-00003.apr", "--json"});
  const json parsed = json::parse(as_json.out);
  REQUIRE(parsed.at("findings")[0].at("file") == path);
}

TEST_CASE("files are split and merged without touching a tensor", "[command]") {
  const model_files model;
  const auto& files = model.files;
  told({"pack", model.whole, "-o", files / "m.apr", "--encoding", "q4"});
  const auto whole = read_file(files / "m.apr");
  const std::string said =
      told({"split", files / "m.apr", "-o", files / "s.apr", "--shard-size", "1000B"});
  require_contains(said, {"s-00001-of-00003.apr", "s-00003-of-00003.apr"});
  told({"merge", files / "s-00003-of-00003.apr", "-o", files / "merged.apr"});
  REQUIRE(read_file(files / "merged.apr") == whole);
  told({"merge", model.index, "-o", files / "merged.safetensors"});
  told({"diff", files / "merged.safetensors", model.whole, "--max-error", "0"});
  require_contains(told({"inspect", files / "merged.safetensors"}), {"safetensors", "6 tensors"});

  // A size that is no whole number of bytes is not guessed at.
  told({"split", files / "m.apr", "-o", files / "t.apr", "--shard-size", "1.0001kB"}, 2);
  told({"split", files / "m.apr", "-o", files / "t.apr"}, 2);
  told({"split", files / "m.apr", "-o", files / "t.apr", "--shard-size", "0"}, 2);
  told({"split", files / "m.apr", "-o", files / "t.apr", "--shard-size", "many"}, 2);
}

TEST_CASE("hashes are those that other programs compute, and lists are checked", "[command]") {
  const temporary_directory files;
  // SHA-256 of "abc" is FIPS 180-2's own example.
  const std::string text = "abc";
  const auto abc = std::as_bytes(std::span(text));
  const std::string in = files / "in.safetensors";
  write_safetensors(in, {{"letters", "U8", {3}, {abc.begin(), abc.end()}}, {"a b\n", "U8", {0}, {}}});
  const std::string list = told({"hash", in});
  require_contains(
      list, {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  tensor letters\n",
             "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  tensor a b\\x0a\n",
             "  file in.safetensors\n"});
  REQUIRE(std::count(list.begin(), list.end(), '\n') == 3);
  REQUIRE(told({"hash", in, "--threads", "3"}) == list);
  model_files::write_text(files / "list", list);
  require_contains(told({"hash", in, "--check", files / "list"}), {"as listed"});

  auto bytes = read_file(in);
  bytes.back() ^= std::byte{1};
  nibble_test::write_file(in, bytes);
  require_contains(told({"hash", in, "--check", files / "list"}, 1),
                   {"differs: tensor letters", "differs: file in.safetensors", "not as listed"});
  model_files::write_text(files / "list", std::string(64, '0') + "  tensor gone\n");
  require_contains(told({"hash", in, "--check", files / "list"}, 1),
                   {"missing: tensor gone", "not listed: tensor letters"});
  model_files::write_text(files / "list", "hello\n");
  require_contains(told({"hash", in, "--check", files / "list"}, 3), {"line 1", "hello"});
  told({"hash", in, "--check", files / "absent"}, 4);

  const model_files model;
  const std::string set = told({"hash", model.index});
  REQUIRE(std::count(set.begin(), set.end(), '\n') == 6 + 3);
  require_contains(set, {"file model-00002-of-00003.safetensors"});
}

TEST_CASE("metadata are printed and changed, and tensors stay as they are", "[command]") {
  const model_files model;
  const auto& files = model.files;
  const std::string file = files / "m.apr";
  told({"pack", model.whole, "-o", file, "--encoding", "q8"});
  const auto before = read_file(file);
  const json old = nibble_test::metadata_of(file);
  REQUIRE_FALSE(old.contains("nibble"));
  told({"meta", file, "--set", "list=[1,{\"a\":null}]", "--set", "n=3", "--set-string", "text=a=\"b"});
  const json changed = nibble_test::metadata_of(file);
  json expected = old;
  expected.update({{"list", {1, {{"a", nullptr}}}}, {"n", 3}, {"text", "a=\"b"}});
  REQUIRE(changed == expected);
  told({"verify", file});
  told({"diff", file, files / "m.apr", "--max-error", "0"});
  told({"meta", file, "--remove", "list", "--remove", "n", "--remove", "text", "-o",
        files / "back.apr"});
  REQUIRE(read_file(files / "back.apr") == before);

  for (const words& wrong : std::vector<words>{{"--remove", "absent"},
                                               {"--set", "nibble={}"},
                                               {"--remove", "quantization"},
                                               {"--set", "novalue"},
                                               {"--set", "=1"},
                                               {"--set", "a=text"},
                                               {"--set", "a=1,\"b\":2"},
                                               {"-o", files / "x.apr"}}) {
    words arguments{"meta", file};
    arguments.insert(arguments.end(), wrong.begin(), wrong.end());
    told(arguments, 2);
  }
}

TEST_CASE("metadata of GGUF and safetensors are changed, and tensors stay as they are", "[command]") {
  const model_files model;
  const auto& files = model.files;
  nibble_test::gguf_file sample = nibble_test::sample_gguf_file();
  std::ranges::sort(sample.metadata, {}, &nibble_test::gguf_value::key);
  const std::string gguf = files / "m.gguf";
  nibble_test::write_file(gguf, sample.bytes());
  // A value keeps its type where it fits, and loses the bytes of what it was.
  told({"meta", gguf, "--set", "a.u16=3", "--set", "a.nan=1.5", "--remove", "a.i8"});
  std::erase_if(sample.metadata, [](const auto& value) { return value.key == "a.i8"; });
  for (auto& value : sample.metadata) {
    if (value.key == "a.u16") value.bytes = nibble_test::number_bytes(std::uint16_t{3});
    if (value.key == "a.nan") value.bytes = nibble_test::number_bytes(1.5F);
  }
  REQUIRE(read_file(gguf) == sample.bytes());
  require_contains(told({"meta", gguf, "--set", "a.infinite=null"}, 2), {"does not fit f64"});
  require_contains(told({"meta", gguf, "--set", "general.alignment=64"}, 2), {"general.alignment"});
  require_contains(told({"meta", gguf, "--remove", "nibble.gguf"}, 2), {"nibble.gguf"});
  require_contains(told({"meta", gguf, "--set", "n=1", "-o", files / "n.apr"}, 2), {"gguf", "apr"});

  const std::string before = told({"hash", model.whole});
  told({"meta", model.whole, "--set", "n=3", "--set-string", "format=np"});
  REQUIRE(nibble_test::metadata_of(model.whole) == json{{"format", "np"}, {"n", "3"}});
  const std::string after = told({"hash", model.whole});
  REQUIRE(before.substr(0, before.find("  file ") - 64) == after.substr(0, after.find("  file ") - 64));

  // Of a set the first file's.
  told({"meta", model.index, "--set-string", "format=pt"});
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(2)) == json{{"format", "pt"}});
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(1), {"--single"}) ==
          json{{"format", "pt"}});
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(2), {"--single"}) == json::object());
  told({"meta", model.index, "--set", "n=1", "-o", files / "x.safetensors"}, 2);
  // Whichever shard is named, they are one; alone, a shard has its own.
  told({"meta", files / model_files::name_of(2), "--set-string", "own=2"});
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(2), {"--single"}) == json::object());
  REQUIRE(nibble_test::metadata_of(model.index) == json{{"format", "pt"}, {"own", "2"}});
  told({"meta", files / model_files::name_of(2), "--set-string", "own=3", "--single"});
  told({"meta", model.index, "--set-string", "own=4"});  // in both that hold it
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(2), {"--single"}) ==
          json{{"own", "4"}});
  told({"meta", files / model_files::name_of(3), "--remove", "own"});
  REQUIRE(nibble_test::metadata_of(model.index) == json{{"format", "pt"}});
  REQUIRE(nibble_test::metadata_of(files / model_files::name_of(2), {"--single"}) == json::object());
}

TEST_CASE("a set is converted whole, and a shard only on demand", "[command]") {
  const model_files model;
  const auto& files = model.files;
  told({"convert", model.whole, "-o", files / "whole.apr"});
  for (const std::string& of_set : {model.index, files / model_files::name_of(3)}) {
    told({"convert", of_set, "-o", files / "set.apr"});
    REQUIRE(read_file(files / "set.apr") == read_file(files / "whole.apr"));
  }
  told({"convert", files / model_files::name_of(3), "-o", files / "one.apr", "--single"});
  REQUIRE(json::parse(told({"inspect", files / "one.apr", "--json"})).at("tensors").size() == 3);
}

TEST_CASE("no file is written under the name of another container", "[command]") {
  const model_files model;
  const auto& files = model.files;
  const std::vector<words> runs = {{"merge", model.index, "-o", files / "x.apr"},
                                   {"split", model.whole, "-o", files / "x.gguf", "--shard-size", "9"},
                                   {"pack", model.whole, "-o", files / "x.gguf", "--encoding", "q8"},
                                   {"unpack", model.whole, "-o", files / "x.apr"}};
  for (const words& arguments : runs) {
    const std::string said = told(arguments, 2);
    require_contains(said, {"x."});
    CHECK((said.find("the name says") != said.npos || said.find("cannot hold q8") != said.npos));
  }
  for (const auto& entry : std::filesystem::directory_iterator(files.path())) {
    REQUIRE_FALSE(entry.path().filename().string().starts_with("x"));
  }
}

TEST_CASE("pack --keep-shards parts what is packed as the set that is read", "[command]") {
  const model_files model;
  const auto& files = model.files;
  told({"pack", model.index, "-o", files / "kept.apr", "-e", "q4", "--keep-shards"});
  for (std::uint32_t shard = 1; shard <= 3; ++shard) {
    const auto listed = json::parse(
        told({"inspect", files / fmt::format("kept-{:05}-of-00003.apr", shard), "--single", "--json"}));
    REQUIRE(listed.at("tensors").size() == shard);
    for (const json& tensor : listed.at("tensors")) {
      CHECK(tensor.at("name").get<std::string>().starts_with(fmt::format("w{}", shard)));
    }
  }
  told({"verify", files / "kept-00001-of-00003.apr"});
  // A shard of which nothing is left goes, and one file needs no number.
  told({"pack", model.index, "-o", files / "two.apr", "--keep-shards", "--drop", "w2*"});
  CHECK(
      json::parse(told({"inspect", files / "two-00002-of-00002.apr", "--json"})).at("tensors").size() ==
      4);
  told({"pack", model.index, "-o", files / "one.apr", "--keep-shards", "--only", "w1*", "--drop",
        "w[23]*"});
  CHECK(std::filesystem::exists(files / "one.apr"));
  require_contains(told({"pack", model.whole, "-o", files / "x.apr", "--keep-shards"}, 2), {"no set"});
  require_contains(
      told({"pack", model.index, "-o", files / "x.apr", "--keep-shards", "--shard-size", "9MB"}, 2),
      {"--keep-shards", "--shard-size"});
}
