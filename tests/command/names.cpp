/// Names of tensors and metadata in the new file: checkpoint folders become what llama.cpp loads, and back.
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

using nibble_test::bytes_of;
using nibble_test::gaussian;
using nibble_test::numbers_of;
using nibble_test::read_safetensors;
using nibble_test::require_contains;
using nibble_test::require_ended;
using nibble_test::require_refusal;
using nibble_test::require_success;
using nibble_test::stored_tensor;
using nibble_test::temporary_directory;
using nibble_test::words;
using nlohmann::json;

namespace {

/// A folder of a model of one layer, hidden size 8, whose tensors a test adds.
struct named_model {
  temporary_directory files;
  std::string path = files / "model";
  json config = {
      {"num_hidden_layers", 1},        {"hidden_size", 8},        {"num_attention_heads", 2},
      {"num_key_value_heads", 1},      {"intermediate_size", 12}, {"vocab_size", 5},
      {"max_position_embeddings", 16}, {"rms_norm_eps", 1e-5},    {"tie_word_embeddings", true}};
  std::vector<stored_tensor> tensors;

  void add(const std::string& name, const std::vector<std::uint64_t>& shape) {
    std::size_t elements = 1;
    for (const std::uint64_t each : shape) elements *= static_cast<std::size_t>(each);
    const auto seed = static_cast<std::uint32_t>(tensors.size() + 1);
    tensors.push_back({name, "F32", shape, bytes_of(gaussian(elements, seed))});
  }
  [[nodiscard]] std::vector<float> values(const std::string& name) const {
    for (const stored_tensor& each : tensors) {
      if (each.name == name) return numbers_of<float>(each.bytes);
    }
    FAIL("no tensor " << name);
    return {};
  }
  void write(const char* architecture) {
    config["model_type"] = architecture;
    std::filesystem::create_directory(path);
    nibble_test::write_safetensors(path + "/model.safetensors", tensors, {{"format", "pt"}});
    const std::string text = config.dump();
    nibble_test::write_file(path + "/config.json", std::as_bytes(std::span(text)));
  }
  void add_llama() {
    add("model.embed_tokens.weight", {5, 8});
    add("model.layers.0.input_layernorm.weight", {8});
    add("model.layers.0.self_attn.q_proj.weight", {8, 8});
    add("model.layers.0.self_attn.k_proj.weight", {4, 8});
    add("model.layers.0.self_attn.v_proj.weight", {4, 8});
    add("model.layers.0.self_attn.o_proj.weight", {8, 8});
    add("model.layers.0.post_attention_layernorm.weight", {8});
    add("model.layers.0.mlp.gate_proj.weight", {12, 8});
    add("model.layers.0.mlp.up_proj.weight", {12, 8});
    add("model.layers.0.mlp.down_proj.weight", {8, 12});
    add("model.norm.weight", {8});
  }
};

/// Values of a tensor in the file that unpack makes of `path`.
std::vector<float> unpacked(const temporary_directory& files, const std::string& path,
                            const std::string& name) {
  require_success({"unpack", path, "-o", files / "unpacked.safetensors"});
  return numbers_of<float>(read_safetensors(files / "unpacked.safetensors")[name].bytes);
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  const json listing = json::parse(require_success({"inspect", path, "--json"}));
  for (const json& each : listing.at("tensors")) names.push_back(each.at("name"));
  return names;
}

json types_in(const std::string& path) {
  return json::parse(require_success({"meta", path, "--json"})).at("types");
}

/// Rows 0, 2, 1, 3 of each head of four: halves become neighbours.
std::vector<float> neighbours(const std::vector<float>& from, std::size_t cols) {
  std::vector<float> to;
  for (std::size_t head = 0; head < from.size() / (4 * cols); ++head) {
    for (const std::size_t row : {0U, 2U, 1U, 3U}) {
      const auto begin = from.begin() + static_cast<long>((head * 4 + row) * cols);
      to.insert(to.end(), begin, begin + static_cast<long>(cols));
    }
  }
  return to;
}

}  // namespace

TEST_CASE("a checkpoint becomes a GGUF file with that format's names, and comes back", "[names]") {
  named_model model;
  model.add_llama();
  model.write("llama");
  const auto& files = model.files;
  const std::string path = files / "model.gguf";
  const json report = json::parse(require_success({"convert", model.path, "-o", path, "--json"}));
  CHECK(report.at("conversions").size() == 11);
  CHECK(names_in(path) == std::vector<std::string>{
                              "blk.0.attn_k.weight", "blk.0.attn_norm.weight",
                              "blk.0.attn_output.weight", "blk.0.attn_q.weight", "blk.0.attn_v.weight",
                              "blk.0.ffn_down.weight", "blk.0.ffn_gate.weight", "blk.0.ffn_norm.weight",
                              "blk.0.ffn_up.weight", "output_norm.weight", "token_embd.weight"});
  for (const json& each : report.at("conversions")) {
    const bool is_permuted =
        each.at("name") == "blk.0.attn_q.weight" || each.at("name") == "blk.0.attn_k.weight";
    CHECK(each.at("how") == (is_permuted ? "rows moved, bit for bit" : "bit for bit"));
    if (is_permuted)
      require_contains(each.at("source").get<std::string>(), {"model.layers.0.self_attn."});
  }
  CHECK(unpacked(files, path, "blk.0.attn_q.weight") ==
        neighbours(model.values("model.layers.0.self_attn.q_proj.weight"), 8));
  CHECK(unpacked(files, path, "blk.0.attn_k.weight") ==
        neighbours(model.values("model.layers.0.self_attn.k_proj.weight"), 8));
  CHECK(unpacked(files, path, "blk.0.attn_v.weight") ==
        model.values("model.layers.0.self_attn.v_proj.weight"));
  const json metadata = json::parse(require_success({"meta", path, "--json"})).at("metadata");
  CHECK(metadata.at("general.architecture") == "llama");
  CHECK(metadata.at("general.file_type") == 0);
  CHECK(metadata.at("llama.block_count") == 1);
  CHECK(metadata.at("llama.rope.dimension_count") == 4);
  CHECK(metadata.at("tokenizer.ggml.model") == "no_vocab");

  SECTION("back, bit for bit") {
    require_success({"convert", path, "-o", files / "back.safetensors", "--names", "hf"});
    const auto back = read_safetensors(files / "back.safetensors");
    REQUIRE(back.tensors.size() == model.tensors.size());
    for (const stored_tensor& each : model.tensors) {
      CAPTURE(each.name);
      CHECK(back[each.name].bytes == each.bytes);
      CHECK(back[each.name].shape == each.shape);
    }
    CHECK(back.metadata.at("architecture") == "llama");
    CHECK(back.metadata.at("hidden_size") == "8");
    require_success({"convert", path, "-o", files / "back.apr", "--names", "hf"});
    const json flat =
        json::parse(require_success({"meta", files / "back.apr", "--json"})).at("metadata");
    CHECK(flat.at("num_kv_heads") == 1);
    CHECK(flat.at("rope_type") == 2);
  }
  SECTION("by way of .apr, and packed") {
    require_success({"pack", model.path, "-o", files / "model.apr", "-e", "q8_0"});
    require_success({"convert", files / "model.apr", "-o", files / "again.gguf", "--requantize"});
    CHECK(names_in(files / "again.gguf") == names_in(path));
    require_success({"pack", model.path, "-o", files / "packed.gguf", "-e", "f16"});
    CHECK(names_in(files / "packed.gguf") == names_in(path));
    const json packed =
        json::parse(require_success({"meta", files / "packed.gguf", "--json"})).at("metadata");
    CHECK(packed.at("general.file_type") == 1);
    require_success({"diff", path, files / "packed.gguf", "--max-error", "0.001"});
    // Globs are of the names that the input has.
    require_success({"pack", model.path, "-o", files / "part.gguf", "-e", "f16", "--keep", "*q_proj*"});
    const json listing = json::parse(require_success({"inspect", files / "part.gguf", "--json"}));
    for (const json& each : listing.at("tensors")) {
      if (each.at("name") == "blk.0.attn_q.weight") CHECK(each.at("encoding") == "f32");
      if (each.at("name") == "blk.0.attn_k.weight") CHECK(each.at("encoding") == "f16");
    }
    CHECK(unpacked(files, files / "part.gguf", "blk.0.attn_q.weight") ==
          neighbours(model.values("model.layers.0.self_attn.q_proj.weight"), 8));
  }
  SECTION("or they are kept") {
    require_success({"convert", model.path, "-o", files / "kept.gguf", "--names", "keep"});
    CHECK(names_in(files / "kept.gguf").size() == 11);
    CHECK(unpacked(files, files / "kept.gguf", "model.layers.0.self_attn.q_proj.weight") ==
          model.values("model.layers.0.self_attn.q_proj.weight"));
    require_success({"convert", model.path, "-o", files / "named.apr", "--names", "gguf"});
    CHECK(names_in(files / "named.apr") == names_in(path));
  }
}

TEST_CASE("what has no name in GGUF is refused, and how to keep it is said", "[names]") {
  named_model model;
  model.add_llama();
  model.add("model.layers.0.self_attn.router.weight", {8, 8});
  model.write("llama");
  const auto& files = model.files;
  for (const char* const subcommand : {"convert", "pack"}) {
    require_refusal(nibble_test::run({subcommand, model.path, "-o", files / "model.gguf"}), 2,
                    {"model.layers.0.self_attn.router.weight", "llama", "--names keep"});
    require_success({subcommand, model.path, "-o", files / "kept.gguf", "--names", "keep"});
  }
  require_success({"pack", model.path, "-o", files / "model.gguf", "--drop", "*router*"});
  require_refusal(
      nibble_test::run({"convert", model.path, "-o", files / "model.gguf", "--names", "other"}), 2,
      {"--names other", "keep, gguf or hf"});
  model.config.erase("num_hidden_layers");
  model.write("llama");
  require_refusal(
      nibble_test::run({"pack", model.path, "-o", files / "model.gguf", "--drop", "*router*"}), 2,
      {"num_layers", "--names keep"});
  // An architecture that is not known here is written as it is.
  model.write("nobody");
  require_success({"convert", model.path, "-o", files / "other.gguf"});
  require_refusal(
      nibble_test::run({"convert", model.path, "-o", files / "other.gguf", "--names", "gguf"}), 2,
      {"architecture", "nobody"});
}

TEST_CASE("GPT-2's matrices are transposed on their way", "[names]") {
  named_model model;
  model.add("wte.weight", {5, 8});
  model.add("wpe.weight", {16, 8});
  model.add("h.0.attn.c_attn.weight", {8, 24});
  model.add("h.0.attn.c_attn.bias", {24});
  model.add("h.0.attn.bias", {1, 1, 4, 4});
  model.config["layer_norm_epsilon"] = 1e-5;
  model.write("gpt2");
  const auto& files = model.files;
  require_contains(require_success({"convert", model.path, "-o", files / "model.gguf"}),
                   {"transposed, values kept", "tensor 'h.0.attn.bias': left out"});
  const std::vector<float> stored = model.values("h.0.attn.c_attn.weight");
  std::vector<float> expected;
  for (std::size_t col = 0; col < 24; ++col) {
    for (std::size_t row = 0; row < 8; ++row) expected.push_back(stored[row * 24 + col]);
  }
  CHECK(unpacked(files, files / "model.gguf", "blk.0.attn_qkv.weight") == expected);
  require_success({"pack", model.path, "-o", files / "packed.gguf", "-e", "f32"});
  CHECK(unpacked(files, files / "packed.gguf", "blk.0.attn_qkv.weight") == expected);
  require_success({"convert", files / "model.gguf", "-o", files / "back.safetensors", "--names", "hf"});
  CHECK(numbers_of<float>(
            read_safetensors(files / "back.safetensors")["transformer.h.0.attn.c_attn.weight"].bytes) ==
        stored);
  // Blocks run along rows, and values alone can be moved.
  require_success({"pack", model.path, "-o", files / "packed.apr", "--tensor", "*c_attn.weight=q8"});
  require_refusal(nibble_test::run({"convert", files / "packed.apr", "-o", files / "no.gguf"}), 2,
                  {"h.0.attn.c_attn.weight", "--requantize"});
  require_success({"convert", files / "packed.apr", "-o", files / "values.gguf", "--requantize"});
  const std::vector<float> packed = unpacked(files, files / "packed.apr", "h.0.attn.c_attn.weight");
  for (std::size_t i = 0; i < packed.size(); ++i) {
    expected[i % 24 * 8 + i / 24] = packed[i];
  }
  CHECK(unpacked(files, files / "values.gguf", "blk.0.attn_qkv.weight") == expected);
}

TEST_CASE("experts become one tensor of three dimensions, Gemma's gains whole", "[names]") {
  SECTION("experts") {
    named_model model;
    model.add("model.embed_tokens.weight", {5, 8});
    for (const char* const number : {"0", "1", "2"}) {
      model.add(std::string("model.layers.0.mlp.experts.") + number + ".up_proj.weight", {4, 8});
    }
    model.add("model.layers.0.mlp.gate.weight", {3, 8});
    model.config.update(json{{"num_experts", 3}, {"num_experts_per_tok", 2}});
    model.write("qwen3_moe");
    const auto& files = model.files;
    require_contains(require_success({"convert", model.path, "-o", files / "model.gguf"}),
                     {"experts stacked, bit for bit", "3x4x8"});
    std::vector<float> expected;
    for (const char* const number : {"0", "1", "2"}) {
      const auto one =
          model.values(std::string("model.layers.0.mlp.experts.") + number + ".up_proj.weight");
      expected.insert(expected.end(), one.begin(), one.end());
    }
    CHECK(unpacked(files, files / "model.gguf", "blk.0.ffn_up_exps.weight") == expected);
    require_success({"pack", model.path, "-o", files / "packed.gguf", "-e", "f16"});
    const json listing = json::parse(require_success({"inspect", files / "packed.gguf", "--json"}));
    for (const json& each : listing.at("tensors")) {
      const bool is_router = each.at("name") == "blk.0.ffn_gate_inp.weight";
      CHECK(each.at("encoding") == (is_router ? "f32" : "f16"));
    }
  }
  SECTION("gains") {
    named_model model;
    model.add("model.embed_tokens.weight", {5, 8});
    model.add("model.norm.weight", {8});
    model.write("gemma");
    const auto& files = model.files;
    require_contains(require_success({"convert", model.path, "-o", files / "model.gguf"}), {"1 added"});
    std::vector<float> expected = model.values("model.norm.weight");
    for (float& value : expected) value += 1.0F;
    CHECK(unpacked(files, files / "model.gguf", "output_norm.weight") == expected);
    require_success({"pack", model.path, "-o", files / "packed.gguf", "-e", "q8_0"});
    CHECK(unpacked(files, files / "packed.gguf", "output_norm.weight") == expected);
  }
}

TEST_CASE("keys have the types that readers of GGUF ask for", "[names]") {
  named_model model;
  model.add_llama();
  model.config["rope_theta"] = 10000;
  model.config["bos_token_id"] = 1;
  model.write("mistral");
  const std::string path = model.files / "model.gguf";
  require_success({"convert", model.path, "-o", path});
  const json types = types_in(path);
  CHECK(types.at("llama.rope.freq_base") == "f32");
  CHECK(types.at("llama.attention.layer_norm_rms_epsilon") == "f32");
  CHECK(types.at("llama.context_length") == "u32");
  CHECK(types.at("tokenizer.ggml.bos_token_id") == "u32");
  CHECK(types.at("general.file_type") == "u32");
}

TEST_CASE("diff pairs a checkpoint with its GGUF, whose names and rows are others", "[names]") {
  named_model model;
  model.add_llama();
  model.write("llama");
  const std::string gguf = model.files / "m.gguf";
  require_success({"convert", model.path, "-o", gguf});
  for (const words& files : {words{model.path, gguf}, words{gguf, model.path}}) {
    const json same = json::parse(require_success({"diff", files[0], files[1], "-j"}));
    CHECK(same.at("tensors").size() == model.tensors.size());
    CHECK(same.at("only_in_a").empty());
    CHECK(same.at("only_in_b").empty());
    CHECK(same.at("all_tensors").at("equal") == true);
  }
  // One weight of k, whose rows the conversion moves, is another.
  model.tensors[3].bytes[4 * 8 + 2] ^= std::byte{64};
  model.write("llama");
  const json changed = json::parse(require_success({"diff", model.path, gguf, "-j"}));
  for (const json& each : changed.at("tensors")) {
    CHECK(each.at("equal") == (each.at("name") != "blk.0.attn_k.weight"));
  }
  require_contains(require_success({"diff", model.path, gguf}),
                   {"largest relative rmse: 'blk.0.attn_k.weight'"});
}
