/// Weights that several stored tensors make up: every subcommand sees the one weight that they are.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
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

/// A folder with a weight in fp8 of one scale, 0.5, what scales its inputs, and a vector.
struct fp8_folder {
  temporary_directory files;
  std::string path = files / "model";
  std::vector<float> values{};

  explicit fp8_folder(bool has_scale = true) {
    fs::create_directory(path);
    std::vector<std::byte> codes;
    for (std::size_t i = 0; i < std::size_t{4} * 64; ++i) {
      const std::size_t exponent = 5 + i % 5;
      const std::size_t mantissa = i % 8;
      codes.push_back(static_cast<std::byte>(exponent << 3U | mantissa));
      const float power = exponent < 7 ? 1.0F / static_cast<float>(1U << (7 - exponent))
                                       : static_cast<float>(1U << (exponent - 7));
      values.push_back(0.5F * power * (1.0F + static_cast<float>(mantissa) / 8.0F));
    }
    std::vector<nibble_test::stored_tensor> tensors = {
        {"l.weight", "F8_E4M3", {4, 64}, codes},
        {"l.input_scale", "F32", {}, nibble_test::bytes_of(std::vector<float>{0.25F})},
        {"norm.weight", "F32", {64}, nibble_test::bytes_of(nibble_test::gaussian(64, 1))}};
    if (has_scale) {
      tensors.push_back({"l.weight_scale", "F32", {}, nibble_test::bytes_of(std::vector<float>{0.5F})});
    }
    nibble_test::write_safetensors(path + "/model.safetensors", tensors);
    const std::string config =
        R"({"model_type":"qwen2","quantization_config":{"quant_method":"fp8","activation_scheme":"static"}})";
    nibble_test::write_file(path + "/config.json", std::as_bytes(std::span(config)));
  }
};

}  // namespace

TEST_CASE("an fp8 folder is listed, packed, unpacked, converted and compared as its weights",
          "[command]") {
  const fp8_folder model;
  const auto& files = model.files;
  const json listing = json::parse(told({"inspect", model.path, "--json"}));
  REQUIRE(listing.at("tensors").size() == 2);
  const json& weight = listing.at("tensors")[0];
  REQUIRE(weight.at("name") == "l.weight");
  REQUIRE(weight.at("encoding").is_null());
  REQUIRE(weight.at("dtype") == "fp8");
  REQUIRE(weight.at("bytes") == 260);
  REQUIRE_FALSE(listing.at("metadata").contains("quantization_config"));
  require_contains(told({"inspect", model.path}), {"fp8", "2 tensors", "'l.input_scale'", "left out"});
  require_contains(told({"verify", model.path}), {"l.input_scale", "ok"});

  told({"unpack", model.path, "-o", files / "plain.safetensors"});
  const auto plain = nibble_test::read_safetensors(files / "plain.safetensors");
  REQUIRE(plain.tensors.size() == 2);
  REQUIRE(plain["l.weight"].dtype == "F32");
  REQUIRE(plain["l.weight"].bytes == nibble_test::bytes_of(model.values));
  told({"diff", model.path, files / "plain.safetensors", "--max-error", "0"});

  for (const char* const encoding : {"q4", "q8", "f32", "bf16"}) {
    told({"pack", model.path, "-o", files / "packed.apr", "--encoding", encoding, "--force"});
    told({"pack", files / "plain.safetensors", "-o", files / "of_plain.apr", "--encoding", encoding,
          "--force"});
    REQUIRE(told({"diff", files / "packed.apr", files / "of_plain.apr", "--max-error", "0"}) != "");
  }
  told({"pack", model.path, "-o", files / "kept.apr", "--keep", "l.*"});
  const json kept = json::parse(told({"inspect", files / "kept.apr", "--json"})).at("tensors");
  REQUIRE(kept[0].at("encoding") == "f32");
  for (const char* const name : {"out.gguf", "out.apr"}) {
    require_contains(told({"convert", model.path, "-o", files / name, "--names", "keep"}),
                     {"fp8", "f32", "expanded"});
    told({"diff", model.path, files / name, "--max-error", "0"});
  }
  told({"split", model.path, "-o", files / "split.apr", "--shard-size", "1G"});
  told({"diff", model.path, files / "split.apr", "--max-error", "0"});
  // Converted to the container that it has, it stays as it is stored.
  told({"convert", model.path, "-o", files / "same.safetensors"});
  REQUIRE(nibble_test::read_safetensors(files / "same.safetensors").tensors.size() == 4);
  require_contains(told({"hash", model.path}), {"tensor l.weight\n", "tensor l.weight_scale\n"});
  require_contains(told({"pack", model.path, "-o", files / "x.apr", "--transpose", "l.weight"}, 2),
                   {"l.weight", "--transpose"});
}

TEST_CASE("an fp8 weight without its scale is refused by its name, and read as stored when asked",
          "[command]") {
  const fp8_folder model(false);
  for (const words& arguments : {words{"pack", model.path, "-o", model.files / "x.apr"},
                                 words{"inspect", model.path}, words{"verify", model.path},
                                 words{"unpack", model.path, "-o", model.files / "x.safetensors"}}) {
    require_contains(told(arguments, 3), {"bad_scheme", "l.weight", "4x64", "--single"});
  }
  REQUIRE_FALSE(fs::exists(model.files / "x.apr"));
  const json listing =
      json::parse(told({"inspect", model.path + "/model.safetensors", "--single", "--json"}));
  REQUIRE(listing.at("tensors").size() == 3);
  REQUIRE(listing.at("tensors")[0].at("encoding") == "f8_e4m3");
}

TEST_CASE("every case of the shared generator packs, and only by q8's own error", "[command]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  const temporary_directory files;
  const std::string cases = files / "cases";
  const std::string command =
      fmt::format("python3 \"{}\" \"{}\"", (shared / "cases/make.py").string(), cases);
  if (!fs::exists(shared / "cases/make.py") || std::system(command.c_str()) != 0) {
    WARN("passed by: the generator of cases is not there, or Python is not");
    return;
  }
  std::size_t packed = 0;
  for (const auto& entry : fs::directory_iterator(cases)) {
    if (!fs::exists(entry.path() / "expected.json")) continue;
    const std::string folder = entry.path().string();
    CAPTURE(folder);
    const std::string name = entry.path().filename().string();
    told({"unpack", folder, "-o", files / name + ".safetensors"});
    told({"pack", folder, "-o", files / name + ".apr", "--encoding", "q8"});
    told(
        {"pack", files / name + ".safetensors", "-o", files / name + ".plain.apr", "--encoding", "q8"});
    told({"diff", files / name + ".apr", files / name + ".plain.apr", "--max-error", "0"});
    ++packed;
  }
  REQUIRE(packed == 16);
  for (const char* const name : {"fp8_scale_missing", "fp8_scale_of_another_shape"}) {
    require_contains(told({"pack", cases + "/" + name, "-o", files / "x.apr"}, 3),
                     {"bad_scheme", "l.weight"});
  }
  require_contains(told({"pack", cases + "/scheme_nobody_knows", "-o", files / "x.apr"}, 3),
                   {"sevenbit"});
  REQUIRE_FALSE(fs::exists(files / "x.apr"));
}

TEST_CASE("a set of quantized shards is packed as a set, though no file has its weights' names",
          "[command]") {
  const temporary_directory files;
  const std::string path = files / "model";
  fs::create_directory(path);
  nibble_test::write_safetensors(
      path + "/model-00001-of-00002.safetensors",
      {{"a.weight", "F32", {2, 32}, nibble_test::bytes_of(nibble_test::gaussian(64, 1))}});
  // Eight codes of 4 bits a word, all 7; zeros stored as 7 are 8.
  const std::vector<std::uint32_t> words_of_sevens(8, 0x77777777U);
  const std::vector<std::uint32_t> zeros = {0x77777777U};
  nibble_test::write_safetensors(
      path + "/model-00002-of-00002.safetensors",
      {{"l.qweight", "I32", {1, 8}, nibble_test::bytes_of(words_of_sevens)},
       {"l.qzeros", "I32", {1, 1}, nibble_test::bytes_of(zeros)},
       {"l.scales", "F32", {1, 8}, nibble_test::bytes_of(std::vector<float>(8, 0.5F))},
       {"z.weight", "F32", {2, 32}, nibble_test::bytes_of(nibble_test::gaussian(64, 2))}});
  json map = {{"a.weight", "model-00001-of-00002.safetensors"}};
  for (const char* const name : {"l.qweight", "l.qzeros", "l.scales", "z.weight"}) {
    map[name] = "model-00002-of-00002.safetensors";
  }
  const auto write_json = [&](const std::string& name, const json& value) {
    const std::string text = value.dump();
    nibble_test::write_file(path + name, std::as_bytes(std::span(text)));
  };
  write_json("/model.safetensors.index.json", {{"weight_map", map}});
  write_json("/config.json",
             {{"model_type", "llama"},
              {"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 8}}}});
  told({"pack", path, "-o", files / "set.apr", "--keep-shards", "-e", "f32"});
  const auto names_in = [&](const std::string& file) {
    std::vector<std::string> names;
    const json listing = json::parse(told({"inspect", files / file, "--single", "--json"}));
    for (const json& tensor : listing.at("tensors")) names.push_back(tensor.at("name"));
    return names;
  };
  CHECK(names_in("set-00001-of-00002.apr") == std::vector<std::string>{"a.weight", "l.weight"});
  CHECK(names_in("set-00002-of-00002.apr") == std::vector<std::string>{"z.weight"});
  told({"unpack", files / "set-00001-of-00002.apr", "-o", files / "plain.safetensors"});
  CHECK(nibble_test::read_safetensors(files / "plain.safetensors")["l.weight"].bytes ==
        nibble_test::bytes_of(std::vector<float>(64, -0.5F)));
}
