#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/writer.hpp>

#include "../support/catch.hpp"
#include "../support/files.hpp"
#include "../support/gguf_bytes.hpp"
#include "../support/random_values.hpp"
#include "process.hpp"
#include "require.hpp"
#include "tensor_file.hpp"

using nibble::encoding;
using nibble_test::read_file;
using nibble_test::read_safetensors;
using nibble_test::require_success;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

namespace {

/// Requires that both files, packed with the same options, are one .apr file, byte for byte, when the
/// keys in which they say where they are from are taken out of its metadata.
void require_same_packed(const std::string& safetensors, const std::string& gguf,
                         const words& provenance, const words& options) {
  const temporary_directory files;
  const auto packed = [&](const std::string& from, const std::string& name) {
    const std::string to = files / name;
    words pack{"pack", from, "-o", to};
    pack.insert(pack.end(), options.begin(), options.end());
    require_success(pack);
    const json metadata = nibble_test::metadata_of(to);
    words remove{"meta", to};
    for (const std::string& key : provenance) {
      if (metadata.contains(key)) remove.insert(remove.end(), {"--remove", key});
    }
    if (remove.size() > 2) require_success(remove);
    return read_file(to);
  };
  INFO(json(options).dump());
  const auto expected = packed(safetensors, "s.apr");
  REQUIRE(expected.size() > 64);
  REQUIRE((packed(gguf, "g.apr") == expected));
  require_success({"verify", files / "g.apr"});
}

/// The options of every encoding, and of some tensors being kept, left out and turned.
std::vector<words> every_way(const std::string& kept, const std::string& turned) {
  std::vector<words> ways;
  for (const std::string which : {"q8", "q4", "apr_q8", "apr_q4", "f16", "bf16", "f32"}) {
    ways.push_back({"--encoding", which});
  }
  ways.push_back({"--encoding", "apr_q4", "--packing-rule", "reference", "--threads", "3"});
  ways.push_back({"--encoding", "q4", "--keep", kept, "--transpose", turned});
  return ways;
}

/// ggml's type of a safetensors dtype.
std::uint32_t ggml_type_of(const std::string& dtype) {
  static const std::map<std::string, std::uint32_t> types = {
      {"F32", 0}, {"F16", 1}, {"BF16", 30}, {"F64", 28}, {"I64", 27}};
  return types.at(dtype);
}

}  // namespace

TEST_CASE("one model in safetensors and in GGUF, as the library writes them, is one .apr file",
          "[pack]") {
  const temporary_directory files;
  const auto wide = nibble_test::gaussian(40 * 96, 1);
  const auto gain = nibble_test::gaussian(96, 2);
  const auto cube = nibble_test::heavy_tailed(4 * 3 * 33, 3);
  const std::vector<std::int64_t> ids = {0, -7, std::int64_t{1} << 60, 3};
  nibble::writer plan;
  plan.metadata() = {{"name", "tiny"}, {"license", "MIT"}};
  // In no order of their names, sizes or dtypes.
  plan.add(encoding::f32, "layer.wide", {40, 96}, wide);
  plan.add(encoding::f16, "layer.narrow", {96, 40}, wide);
  plan.add(encoding::f32, "norm", {96}, gain);
  plan.add(encoding::bf16, "cube", {4, 3, 33}, cube);
  plan.add_stored(encoding::i64, "ids", {2, 2}, std::as_bytes(std::span(ids)));
  plan.add(encoding::f32, "scalar", {}, std::span(gain).first(1));
  plan.add(encoding::f16, "empty", {0, 96}, std::span<const float>());
  plan.write(files / "a.safetensors", {.container = nibble::container::safetensors});
  plan.write(files / "a.gguf", {.container = nibble::container::gguf});
  for (const words& way : every_way("layer.narrow", "layer.wide")) {
    require_same_packed(files / "a.safetensors", files / "a.gguf", {}, way);
  }
}

TEST_CASE("what GGUF and safetensors files say of themselves is all that packing keeps apart",
          "[pack]") {
  const temporary_directory files;
  const std::vector<stored_tensor> tensors = {
      {"w", "F32", {5, 70}, nibble_test::bytes_of(nibble_test::gaussian(350, 1))},
      {"half", "BF16", {3, 32}, nibble_test::bytes_of(std::vector<std::uint16_t>(96, 0x3F8C))},
      {"wide", "F64", {2, 40}, nibble_test::bytes_of(std::vector<double>(80, -0.3))},
      {"norm", "F32", {70}, nibble_test::bytes_of(nibble_test::gaussian(70, 2))}};
  nibble_test::write_safetensors(files / "a.safetensors", tensors, {{"format", "pt"}});
  nibble_test::gguf_file gguf{.metadata = {{"general.architecture", nibble_test::gguf_id::string,
                                            nibble_test::string_bytes("llama")},
                                           {"general.file_type", nibble_test::gguf_id::u32,
                                            nibble_test::number_bytes(std::uint32_t{0})}}};
  for (const stored_tensor& tensor : tensors) {
    gguf.tensors.push_back({tensor.name,
                            ggml_type_of(tensor.dtype),
                            {tensor.shape.rbegin(), tensor.shape.rend()},
                            tensor.bytes});
  }
  nibble_test::write_file(files / "a.gguf", gguf.bytes());
  for (const words& way : every_way("half", "w")) {
    require_same_packed(files / "a.safetensors", files / "a.gguf",
                        {"format", "general.architecture", "general.file_type"}, way);
  }
  // Without taking them out the files are not the same, and it is these keys that are between them.
  require_success({"pack", files / "a.safetensors", "-o", files / "s.apr"});
  require_success({"pack", files / "a.gguf", "-o", files / "g.apr"});
  REQUIRE((read_file(files / "s.apr") != read_file(files / "g.apr")));
  json expected = nibble_test::metadata_of(files / "s.apr");
  REQUIRE(expected.erase("format") == 1);
  expected["general.architecture"] = "llama";  // q8 has no general.file_type
  REQUIRE(nibble_test::metadata_of(files / "g.apr") == expected);
}

TEST_CASE("a real model in safetensors and in GGUF is one .apr file", "[pack]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(folder);
  const auto model = folder / "models/stories260K";
  const std::string in = (model / "model.safetensors").string();
  const temporary_directory files;
  // As the command writes it, and as another program would.
  require_success({"convert", in, "-o", files / "converted.gguf"});
  nibble_test::gguf_file gguf{.metadata = {{"general.architecture", nibble_test::gguf_id::string,
                                            nibble_test::string_bytes("llama")},
                                           {"llama.block_count", nibble_test::gguf_id::u32,
                                            nibble_test::number_bytes(std::uint32_t{5})}}};
  const auto source = read_safetensors(in);
  REQUIRE(source.tensors.size() == 47);
  for (const stored_tensor& tensor : source.tensors) {
    gguf.tensors.insert(gguf.tensors.begin(), {tensor.name,
                                               ggml_type_of(tensor.dtype),
                                               {tensor.shape.rbegin(), tensor.shape.rend()},
                                               tensor.bytes});
  }
  nibble_test::write_file(files / "built.gguf", gguf.bytes());
  const std::string metadata = (model / "metadata.json").string();
  for (words way : every_way("*.mlp.*", "*.q_proj.*")) {
    way.insert(way.end(), {"--metadata", metadata});
    require_same_packed(in, files / "converted.gguf", {}, way);
    require_same_packed(in, files / "built.gguf",
                        {"format", "general.architecture", "llama.block_count"}, way);
  }
}
