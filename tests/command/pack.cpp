#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
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
using nibble_test::require_contains;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::run;
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
  require_success({"convert", in, "-o", files / "converted.gguf", "--names", "keep"});
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

namespace {

/// What a packed file holds: the encoding of each tensor.
std::map<std::string, std::string> encodings_in(const std::string& path) {
  std::map<std::string, std::string> encodings;
  const json listed = json::parse(require_success({"inspect", path, "--json"}));
  for (const json& tensor : listed.at("tensors")) encodings[tensor.at("name")] = tensor.at("encoding");
  return encodings;
}

/// A model of two layers with rows of 256, 288 and 14 elements.
std::string write_model(const temporary_directory& folder) {
  std::vector<stored_tensor> tensors;
  std::uint32_t seed = 1;
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape) {
    std::uint64_t elements = 1;
    for (const std::uint64_t each : shape) elements *= each;
    tensors.push_back({name, "F32", std::move(shape),
                       nibble_test::bytes_of(nibble_test::gaussian(elements, seed++))});
  };
  add("token_embd.weight", {8, 256});
  add("output_norm.weight", {256});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    for (const char* const name : {"attn_q", "attn_k", "attn_v", "attn_output"}) {
      add(layer + name + ".weight", {4, 256});
    }
    add(layer + "attn_norm.weight", {256});
    add(layer + "ffn_down.weight", {4, 288});
    add(layer + "ffn_up.weight", {4, 256});
  }
  add("v.patch.weight", {4, 3, 2, 14});
  std::string path = folder / "model.safetensors";
  nibble_test::write_safetensors(path, tensors,
                                 {{"general.architecture", "llama"}, {"llama.block_count", "2"}});
  return path;
}

}  // namespace

TEST_CASE("pack --tensor chooses before --encoding, and the last that matches counts", "[pack]") {
  const temporary_directory folder;
  const std::string model = write_model(folder);
  require_success({"pack", model, "-o", folder / "a.apr", "-e", "q4", "--tensor", "*attn_v*=q6_k",
                   "--tensor", "blk.1.*=q8_0", "--tensor", "blk.1.ffn_up*=f16", "--tensor",
                   "blk.0.attn_norm.weight=bf16", "--keep", "*attn_q*"});
  const auto encodings = encodings_in(folder / "a.apr");
  CHECK(encodings.at("blk.0.attn_v.weight") == "q6_k");
  CHECK(encodings.at("blk.1.attn_v.weight") == "q8_0");
  CHECK(encodings.at("blk.1.ffn_down.weight") == "q8_0");
  CHECK(encodings.at("blk.1.ffn_up.weight") == "f16");
  CHECK(encodings.at("blk.1.attn_norm.weight") == "q8_0");
  CHECK(encodings.at("blk.0.attn_norm.weight") == "bf16");
  CHECK(encodings.at("blk.0.attn_k.weight") == "q4");
  CHECK(encodings.at("blk.1.attn_q.weight") == "f32");
  CHECK(encodings.at("output_norm.weight") == "f32");
  // With --only, what it does not name stays as it is.
  require_success({"pack", model, "-o", folder / "b.apr", "-e", "q4", "--only", "*attn_k*", "--tensor",
                   "*attn_v*=q5_1"});
  const auto chosen = encodings_in(folder / "b.apr");
  CHECK(chosen.at("blk.0.attn_k.weight") == "q4");
  CHECK(chosen.at("blk.0.attn_v.weight") == "q5_1");
  CHECK(chosen.at("blk.0.attn_q.weight") == "f32");
  for (const auto& [option, text] :
       std::map<std::string, std::string>{{"nothing*=q4", "matches no tensor"},
                                          {"*=q9", "q8_0"},
                                          {"*", "GLOB=ENCODING"},
                                          {"=q4", "GLOB"}}) {
    require_refusal(run({"pack", model, "-o", folder / "c.apr", "--tensor", option}), 2,
                    {"--tensor", text});
  }
}

TEST_CASE("rows that blocks do not fit fall back, said and refused on demand", "[pack]") {
  const temporary_directory folder;
  const std::string model = write_model(folder);
  for (const std::string suffix : {".apr", ".gguf"}) {
    const std::string out = folder / ("k" + suffix);
    const std::string said = require_success({"pack", model, "-o", out, "-e", "q4_k"});
    require_contains(said,
                     {"q5_0 instead of q4_k: 2 tensors ('blk.0.ffn_down.weight' first)",
                      "rows of 288 elements", "f16 instead of q4_k: 1 tensor ('v.patch.weight')"});
    const auto encodings = encodings_in(out);
    CHECK(encodings.at("blk.0.attn_q.weight") == "q4_k");
    CHECK(encodings.at("blk.0.ffn_down.weight") == "q5_0");
    CHECK(encodings.at("v.patch.weight") == "f16");
    require_success({"verify", out});
    require_refusal(run({"pack", model, "-o", folder / ("n" + suffix), "-e", "q4_k", "--no-fallback"}),
                    2, {"blk.0.ffn_down.weight", "288", "q4_k", "256"});
    CHECK_FALSE(std::filesystem::exists(folder / ("n" + suffix)));
  }
  // Rows shorter than a block stay f16, unless they are named; longer ones are padded in .apr.
  require_success({"pack", model, "-o", folder / "q.apr", "-e", "q4"});
  CHECK(encodings_in(folder / "q.apr").at("v.patch.weight") == "f16");
  for (const words& naming : {words{"--tensor", "v.*=q4"}, words{"--only", "v.*"}}) {
    words pack{"pack", model, "-o", folder / "named.apr", "-e", "q4"};
    pack.insert(pack.end(), naming.begin(), naming.end());
    require_success(pack);
    CHECK(encodings_in(folder / "named.apr").at("v.patch.weight") == "q4");
  }
}

TEST_CASE("the suffix of what is packed chooses the container and what fits it", "[pack]") {
  const temporary_directory folder;
  const std::string model = write_model(folder);
  require_success({"pack", model, "-o", folder / "m.gguf"});
  CHECK(encodings_in(folder / "m.gguf").at("blk.0.attn_q.weight") == "q8_0");
  require_refusal(run({"pack", model, "-o", folder / "m.safetensors"}), 2, {"--encoding", "bf16"});
  require_success({"pack", model, "-o", folder / "m.safetensors", "-e", "bf16"});
  CHECK(encodings_in(folder / "m.safetensors").at("blk.0.attn_q.weight") == "bf16");
  // The values of q4 and apr_q4 are the same there and in .apr.
  for (const std::string which : {"q4", "apr_q4"}) {
    require_success({"pack", model, "-o", folder / "a.apr", "-e", which, "--drop", "v.*"});
    require_success({"pack", model, "-o", folder / "a.gguf", "-e", which, "--drop", "v.*"});
    for (const std::string from : {"a.apr", "a.gguf"}) {
      require_success({"unpack", folder / from, "-o", folder / (from + ".safetensors")});
    }
    const auto one = read_safetensors(folder / "a.apr.safetensors");
    auto other = read_safetensors(folder / "a.gguf.safetensors");
    REQUIRE(one.tensors.size() == 16);
    for (const stored_tensor& tensor : one.tensors) {
      CHECK((other[tensor.name].bytes == tensor.bytes));
    }
    CHECK(encodings_in(folder / "a.gguf").at("blk.0.attn_q.weight") ==
          (which == "q4" ? "q4_1" : "q4_0"));
  }
  require_refusal(run({"pack", model, "-o", folder / "x.gguf", "-e", "q8"}), 2,
                  {"x.gguf", "--encoding q8", ".gguf files cannot hold q8", "q8_0"});
  require_refusal(
      run({"pack", model, "-o", folder / "x.safetensors", "-e", "f16", "--tensor", "blk*=q4"}), 2,
      {"--tensor 'blk*=q4'", ".safetensors files cannot hold q4", "f32, f16 or bf16"});
  require_refusal(run({"pack", model, "-o", folder / "x.gguf", "--shard-size", "1MB"}), 2,
                  {"--shard-size", ".apr"});
  require_refusal(run({"pack", model, "-o", folder / "x.apr", "--mix", "q6_k", "-e", "q4"}), 2,
                  {"--mix", "--encoding"});
}

TEST_CASE("what GGUF has no place for is said before anything is written", "[pack]") {
  const temporary_directory folder;
  const std::string name(64, 'n');
  const auto values = nibble_test::bytes_of(nibble_test::gaussian(64, 1));
  nibble_test::write_safetensors(folder / "m.safetensors", {{"fine", "F32", {2, 32}, values},
                                                            {name, "F32", {2, 32}, values},
                                                            {"deep", "F32", {1, 2, 1, 1, 32}, values}});
  for (const std::string which : {"pack", "convert"}) {
    require_refusal(run({which, folder / "m.safetensors", "-o", folder / "m.gguf"}), 2,
                    {name, "64 bytes", "'deep' (5 dimensions)", "--drop"});
    CHECK_FALSE(std::filesystem::exists(folder / "m.gguf"));
  }
  require_success(
      {"pack", folder / "m.safetensors", "-o", folder / "m.gguf", "--drop", "nnn*", "--drop", "deep"});
}

TEST_CASE("pack --mix takes llama-quantize's choice, under either convention of names", "[pack]") {
  const temporary_directory folder;
  const std::string model = write_model(folder);
  require_success({"pack", model, "-o", folder / "m.gguf", "--mix", "q4_k_m"});
  const auto encodings = encodings_in(folder / "m.gguf");
  // As llama-quantize types these: of two layers the second is among the last eighth.
  CHECK(encodings.at("token_embd.weight") == "q6_k");
  CHECK(encodings.at("blk.0.attn_v.weight") == "q4_k");
  CHECK(encodings.at("blk.1.attn_v.weight") == "q6_k");
  CHECK(encodings.at("blk.0.attn_q.weight") == "q4_k");
  CHECK(encodings.at("blk.0.ffn_down.weight") == "q5_0");
  CHECK(encodings.at("blk.1.ffn_down.weight") == "q8_0");
  CHECK(encodings.at("blk.1.attn_norm.weight") == "f32");
  const auto values = nibble_test::bytes_of(nibble_test::gaussian(512, 1));
  nibble_test::write_safetensors(folder / "hub.safetensors",
                                 {{"model.layers.0.self_attn.v_proj.weight", "F32", {2, 256}, values},
                                  {"model.layers.0.self_attn.q_proj.weight", "F32", {2, 256}, values}},
                                 {{"architecture", "llama"}});
  require_success({"pack", folder / "hub.safetensors", "--mix", "q4_k_m"});
  const auto hub = encodings_in(folder / "hub-q4_k_m.apr");
  CHECK(hub.at("model.layers.0.self_attn.v_proj.weight") == "q6_k");
  CHECK(hub.at("model.layers.0.self_attn.q_proj.weight") == "q4_k");
  nibble_test::write_safetensors(folder / "none.safetensors", {{"a.weight", "F32", {2, 256}, values}});
  require_refusal(run({"pack", folder / "none.safetensors", "--mix", "q4_k_m"}), 2,
                  {"--mix q4_k_m", "architecture", "--tensor"});
}

TEST_CASE("pack --dry-run prints the plan that packing follows and writes nothing", "[pack]") {
  const temporary_directory folder;
  const std::string model = write_model(folder);
  const words options{"-e", "q4_k", "--tensor", "*attn_v*=q6_k", "--drop", "v.*"};
  const auto pack = [&](const words& more) {
    words arguments{"pack", model, "-o", folder / "m.apr"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), more.begin(), more.end());
    return require_success(arguments);
  };
  const std::string text = pack({"--dry-run"});
  require_contains(text, {"blk.0.attn_v.weight", "q6_k", "total", "nothing is written", "instead of"});
  const json planned = json::parse(pack({"--dry-run", "--json"}));
  CHECK_FALSE(std::filesystem::exists(folder / "m.apr"));
  const json written = json::parse(pack({"--json"}));
  CHECK(planned.at("version") == 1);
  CHECK(planned.at("output") == folder / "m.apr");
  CHECK(planned.at("fallbacks") == written.at("fallbacks"));
  CHECK(planned.at("fallbacks").size() == 2);
  const json listed = json::parse(require_success({"inspect", folder / "m.apr", "--json"}));
  REQUIRE(planned.at("tensors").size() == listed.at("tensors").size());
  std::uint64_t bytes = 0;
  for (const json& tensor : listed.at("tensors")) {
    bytes += tensor.at("bytes").get<std::uint64_t>();
    const auto same = [&](const json& plan) {
      return plan.at("name") == tensor.at("name") && plan.at("to") == tensor.at("encoding") &&
             plan.at("shape") == tensor.at("shape") && plan.at("bytes") == tensor.at("bytes");
    };
    CAPTURE(tensor.dump());
    CHECK(std::ranges::any_of(planned.at("tensors"), same));
  }
  CHECK(planned.at("tensor_bytes") == bytes);
}
