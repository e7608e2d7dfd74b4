#include <nibble/checkpoint/metadata_names.hpp>

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/model_config.hpp>
#include <nibble/format/gguf/write_metadata.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble::metadata_in_gguf;
using nibble::metadata_in_hugging_face;
using nibble_test::missing_in_error;
using nlohmann::json;

namespace {

/// What any model has to say.
json small_model(const char* architecture) {
  return {{"architecture", architecture},
          {"hidden_size", 64},
          {"num_layers", 2},
          {"num_heads", 4},
          {"num_kv_heads", 2},
          {"intermediate_size", 96},
          {"max_position_embeddings", 128},
          {"rms_norm_eps", 1e-5}};
}

/// Members of `expected` that `metadata` lacks or has otherwise.
json unlike(const json& metadata, const json& expected) {
  json wrong = json::object();
  for (const auto& [key, value] : expected.items()) {
    if (!metadata.contains(key) || metadata[key] != value) wrong[key] = metadata.value(key, json());
  }
  return wrong;
}

/// The type that a key has in a GGUF file of these metadata.
std::string type_of(const json& metadata, const std::string& key) {
  const auto record = nibble::gguf::value_record::find(metadata);
  auto kind = record.kind_of(key);
  if (!kind) kind = nibble::gguf::natural_kind(metadata.at(key));
  if (!kind) return "none";
  if (kind->type != nibble::gguf::value_type::array) return std::string(to_string(kind->type));
  return "[" + std::string(to_string(kind->elements.front().type)) + "]";
}

}  // namespace

TEST_CASE("keys of a Llama are those that llama.cpp's converter writes, with its types",
          "[metadata_names]") {
  // As released, shortened; expected: what convert_hf_to_gguf.py writes for it.
  const json flat = nibble::metadata_of_config(json::parse(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009], "head_dim": 64, "hidden_act": "silu",
    "hidden_size": 2048, "intermediate_size": 8192, "max_position_embeddings": 131072,
    "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000, "tie_word_embeddings": true, "vocab_size": 128256})"));
  const json metadata = metadata_in_gguf(flat);
  CHECK(unlike(metadata, {{"general.architecture", "llama"},
                          {"llama.block_count", 16},
                          {"llama.context_length", 131072},
                          {"llama.embedding_length", 2048},
                          {"llama.feed_forward_length", 8192},
                          {"llama.attention.head_count", 32},
                          {"llama.attention.head_count_kv", 8},
                          {"llama.rope.freq_base", 500000.0},
                          {"llama.attention.layer_norm_rms_epsilon", 1e-5},
                          {"llama.attention.key_length", 64},
                          {"llama.attention.value_length", 64},
                          {"llama.vocab_size", 128256},
                          {"llama.rope.dimension_count", 64},
                          {"tokenizer.ggml.model", "no_vocab"},
                          {"tokenizer.ggml.bos_token_id", 128000},
                          {"tokenizer.ggml.eos_token_id", 128001},
                          {"tokenizer.ggml.eot_token_id", 128008},
                          {"tokenizer.ggml.eom_token_id", 128009},
                          {"hidden_act", "silu"}}) == json::object());
  for (const char* const gone :
       {"architecture", "hidden_size", "rope_type", "tokenizer.eos_token_id"}) {
    CAPTURE(gone);
    CHECK_FALSE(metadata.contains(gone));
  }
  // Divisors of angles say it, in a tensor.
  CHECK_FALSE(metadata.contains("llama.rope.scaling.type"));
  CHECK(type_of(metadata, "llama.block_count") == "u32");
  CHECK(type_of(metadata, "llama.rope.freq_base") == "f32");
  CHECK(type_of(metadata, "llama.attention.layer_norm_rms_epsilon") == "f32");

  // Back, all is as it was.
  CHECK(unlike(metadata_in_hugging_face(metadata), flat) == json::object());
}

TEST_CASE("whole numbers are f32 where readers ask for f32", "[metadata_names]") {
  json flat = small_model("qwen2");
  flat["rope_theta"] = 10'000;
  flat["tokenizer.model_type"] = "sentencepiece";
  flat["tokenizer.vocabulary"] = {"<unk>", "<s>", "</s>", "<0x0A>", "a"};
  flat["tokenizer.scores"] = {0, 0, 0, 0, -1};
  flat["tokenizer.bos_token_id"] = 1;
  flat["tokenizer.eos_token_id"] = 2;
  const json metadata = metadata_in_gguf(flat, 7);
  CHECK(type_of(metadata, "qwen2.rope.freq_base") == "f32");
  CHECK(type_of(metadata, "tokenizer.ggml.scores") == "[f32]");
  CHECK(type_of(metadata, "tokenizer.ggml.token_type") == "[i32]");
  CHECK(type_of(metadata, "tokenizer.ggml.tokens") == "[str]");
  CHECK(metadata["tokenizer.ggml.model"] == "llama");
  CHECK(metadata["tokenizer.ggml.add_bos_token"] == true);
  // As many tokens as the embedding has rows, and what each is.
  CHECK(metadata["tokenizer.ggml.tokens"] ==
        json({"<unk>", "<s>", "</s>", "<0x0A>", "a", "[PAD5]", "[PAD6]"}));
  CHECK(metadata["tokenizer.ggml.token_type"] == json({2, 3, 3, 6, 1, 5, 5}));
  CHECK(metadata["tokenizer.ggml.scores"] == json({0, 0, 0, 0, -1, -1000.0, -1000.0}));
  // The bytes in the file are of those types.
  std::vector<std::byte> bytes;
  nibble::gguf::append_metadata(bytes, metadata);
  CHECK(nibble::gguf::keys_of_text(metadata).empty());
}

TEST_CASE("a byte-pair encoding keeps its merges, and names its pre-tokenizer", "[metadata_names]") {
  json flat = small_model("gpt2");
  flat["layer_norm_epsilon"] = 1e-5;
  flat.erase("rms_norm_eps");
  flat["tokenizer.model_type"] = "bpe";
  flat["tokenizer.pre_tokenizer"] = "gpt-2";
  flat["tokenizer.vocabulary"] = {"a", "b", "ab", "<|endoftext|>"};
  flat["tokenizer.token_types"] = {1, 1, 1, 3};
  flat["tokenizer.merges"] = {"a b"};
  flat["tokenizer.eos_token_id"] = 3;
  flat["tokenizer.unknown_token_id"] = 3;
  flat["chat_template"] = "{{ messages }}";
  const json metadata = metadata_in_gguf(flat, 4);
  CHECK(unlike(metadata, {{"tokenizer.ggml.model", "gpt2"},
                          {"tokenizer.ggml.pre", "gpt-2"},
                          {"tokenizer.ggml.merges", {"a b"}},
                          {"tokenizer.ggml.token_type", {1, 1, 1, 3}},
                          {"tokenizer.ggml.eos_token_id", 3},
                          {"tokenizer.ggml.unknown_token_id", 3},
                          {"tokenizer.ggml.add_bos_token", false},
                          {"tokenizer.chat_template", "{{ messages }}"},
                          {"gpt2.attention.layer_norm_epsilon", 1e-5}}) == json::object());
  CHECK_FALSE(metadata.contains("gpt2.rope.dimension_count"));
  json back = metadata_in_hugging_face(metadata);
  CHECK(unlike(back, flat) == json::object());

  flat["tokenizer.pre_tokenizer"] = "unknown";
  CHECK(missing_in_error([&] { return metadata_in_gguf(flat); },
                         {"unsupported_feature", "tokenizer.pre_tokenizer"})
            .empty());
  flat.erase("tokenizer.pre_tokenizer");
  CHECK(missing_in_error([&] { return metadata_in_gguf(flat, 3); },
                         {"bad_metadata", "tokenizer.vocabulary", "4 tokens", "3"})
            .empty());
}

TEST_CASE("architectures have keys of their own", "[metadata_names]") {
  SECTION("Mixtral's experts") {
    json flat = small_model("mixtral");
    flat.update(json{{"num_local_experts", 8}, {"num_experts_per_tok", 2}, {"sliding_window", 4096}});
    const json metadata = metadata_in_gguf(flat);
    CHECK(unlike(metadata, {{"general.architecture", "llama"},
                            {"llama.expert_count", 8},
                            {"llama.expert_used_count", 2},
                            {"sliding_window", 4096}}) == json::object());
    CHECK(metadata_in_hugging_face(metadata)["architecture"] == "mixtral");
    CHECK(metadata_in_hugging_face(metadata)["num_local_experts"] == 8);
  }
  SECTION("Qwen's") {
    json flat = small_model("qwen3_moe");
    flat.update(json{{"num_experts", 128}, {"num_experts_per_tok", 8}, {"moe_intermediate_size", 768}});
    CHECK(unlike(metadata_in_gguf(flat), {{"general.architecture", "qwen3moe"},
                                          {"qwen3moe.expert_count", 128},
                                          {"qwen3moe.expert_used_count", 8},
                                          {"qwen3moe.expert_feed_forward_length", 768}}) ==
          json::object());
  }
  SECTION("Gemma's windows and caps") {
    json flat = small_model("gemma2");
    flat.update(json{{"sliding_window", 4096},
                     {"attn_logit_softcapping", 50},
                     {"final_logit_softcapping", 30.0},
                     {"head_dim", 256}});
    const json metadata = metadata_in_gguf(flat);
    CHECK(unlike(metadata, {{"gemma2.attention.sliding_window", 4096},
                            {"gemma2.attn_logit_softcapping", 50},
                            {"gemma2.final_logit_softcapping", 30.0},
                            {"gemma2.attention.key_length", 256},
                            {"gemma2.attention.value_length", 256},
                            {"gemma2.rope.dimension_count", 256}}) == json::object());
    CHECK(type_of(metadata, "gemma2.attn_logit_softcapping") == "f32");
  }
  SECTION("Gemma 3's second base") {
    json flat = small_model("gemma3_text");
    flat.update(json{{"rope_theta", 1e6},
                     {"rope_local_base_freq", 10'000},
                     {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
    const json metadata = metadata_in_gguf(flat);
    CHECK(unlike(metadata, {{"gemma3.rope.freq_base", 1e6},
                            {"gemma3.rope.freq_base_swa", 10'000},
                            {"gemma3.rope.scaling.type", "linear"},
                            {"gemma3.rope.scaling.factor", 8.0}}) == json::object());
    CHECK(type_of(metadata, "gemma3.rope.freq_base_swa") == "f32");
    CHECK(metadata_in_hugging_face(metadata)["architecture"] == "gemma3_text");
  }
  SECTION("Granite's multipliers") {
    json flat = small_model("granite");
    flat.update(json{{"attention_multiplier", 0.015625},
                     {"embedding_multiplier", 12},
                     {"residual_multiplier", 0.22},
                     {"logits_scaling", 8}});
    CHECK(unlike(metadata_in_gguf(flat), {{"granite.attention.scale", 0.015625},
                                          {"granite.embedding_scale", 12},
                                          {"granite.residual_scale", 0.22},
                                          {"granite.logit_scale", 8}}) == json::object());
  }
  SECTION("a part of a head that turns, and contexts stretched by lists") {
    json flat = small_model("phi3");
    flat.update(json{{"head_dim", 128},
                     {"partial_rotary_factor", 0.75},
                     {"max_position_embeddings", 131072},
                     {"original_max_position_embeddings", 4096},
                     {"rope_scaling", {{"type", "longrope"}}}});
    const json metadata = metadata_in_gguf(flat);
    CHECK(metadata["phi3.rope.dimension_count"] == 96);
    CHECK(metadata["phi3.rope.scaling.original_context_length"] == 4096);
    // sqrt(1 + ln(32) / ln(4096)) = sqrt(1 + 5 / 12)
    CHECK(metadata["phi3.rope.scaling.attn_factor"].get<double>() == Approx(1.190238));
    const json back = metadata_in_hugging_face(metadata);
    CHECK(back["partial_rotary_factor"] == 0.75);
    CHECK(back["original_max_position_embeddings"] == 4096);
    CHECK(back["rope_scaling"] == json({{"type", "longrope"}}));
  }
}

TEST_CASE("what readers of GGUF would refuse is refused by its key", "[metadata_names]") {
  const auto refused = [](const json& changes, std::vector<std::string> parts) {
    json flat = small_model("llama");
    for (const auto& [key, value] : changes.items()) {
      if (value.is_null()) {
        flat.erase(key);
      } else {
        flat[key] = value;
      }
    }
    return missing_in_error([&] { return metadata_in_gguf(flat); }, parts);
  };
  CHECK(refused({{"architecture", "nobody's"}}, {"bad_metadata", "architecture", "nobody's"}).empty());
  CHECK(refused({{"architecture", nullptr}}, {"bad_metadata", "architecture", "nothing"}).empty());
  CHECK(
      refused({{"num_layers", nullptr}}, {"bad_metadata", "num_layers", "llama.block_count"}).empty());
  CHECK(refused({{"num_layers", "2"}}, {"bad_metadata", "num_layers", "'2'", "u32"}).empty());
  CHECK(refused({{"num_kv_heads", -1}}, {"bad_metadata", "num_kv_heads", "-1"}).empty());
  CHECK(refused({{"rms_norm_eps", nullptr}}, {"bad_metadata", "rms_norm_eps"}).empty());
  CHECK(refused({{"tokenizer.model_type", "wordpiece"}}, {"bad_metadata", "wordpiece"}).empty());
  CHECK(refused({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}},
                {"unsupported_feature", "rope_scaling", "dynamic"})
            .empty());
  CHECK(refused({{"partial_rotary_factor", 2.0}, {"head_dim", 16}},
                {"bad_metadata", "partial_rotary_factor"})
            .empty());
  CHECK(refused({{"tokenizer.vocabulary", {"a", 1}}, {"tokenizer.model_type", "bpe"}},
                {"bad_metadata", "tokenizer.vocabulary"})
            .empty());
  // Heads of each layer, as some models have them.
  json flat = small_model("llama");
  flat["num_kv_heads"] = {2, 4};
  CHECK(type_of(metadata_in_gguf(flat), "llama.attention.head_count_kv") == "[u32]");
}

TEST_CASE("metadata of a GGUF file become flat keys, and its record goes along", "[metadata_names]") {
  const json file = {{"general.architecture", "qwen2"},
                     {"general.file_type", 1},
                     {"qwen2.block_count", 2},
                     {"qwen2.embedding_length", 64},
                     {"qwen2.attention.head_count", 4},
                     {"qwen2.rope.dimension_count", 8},
                     {"qwen2.rope.freq_base", 1e6},
                     {"qwen2.rope.scaling.type", "yarn"},
                     {"qwen2.rope.scaling.factor", 4.0},
                     {"qwen2.rope.scaling.original_context_length", 32768},
                     {"tokenizer.ggml.model", "gpt2"},
                     {"tokenizer.ggml.tokens", {"a", "\xEF\xBF\xBD"}},
                     {"tokenizer.ggml.eos_token_id", 1},
                     {"tokenizer.ggml.eot_token_id", 0},
                     {"tokenizer.ggml.eom_token_id", 1},
                     {"someone.else", 7},
                     {"nibble.gguf",
                      {{"types", {{"qwen2.block_count", "u64"}, {"someone.else", "u8"}}},
                       {"bytes", {{"tokenizer.ggml.tokens", "1:ff"}}}}}};
  const json flat = metadata_in_hugging_face(file);
  CHECK(unlike(flat,
               {{"architecture", "qwen2"},
                {"num_layers", 2},
                {"hidden_size", 64},
                {"num_heads", 4},
                {"head_dim", 16},
                {"partial_rotary_factor", 0.5},
                {"rope_theta", 1e6},
                {"rope_type", 2},
                {"rope_scaling",
                 {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 32768}}},
                {"tokenizer.model_type", "bpe"},
                {"tokenizer.eos_token_id", {1, 0}},
                {"general.file_type", 1},
                {"someone.else", 7}}) == json::object());
  CHECK(flat["nibble.gguf"] ==
        json({{"types", {{"someone.else", "u8"}}}, {"bytes", {{"tokenizer.vocabulary", "1:ff"}}}}));
  for (const auto& [key, value] : flat.items()) {
    CAPTURE(key);
    CHECK_FALSE(key.starts_with("qwen2."));
    CHECK_FALSE(key.starts_with("tokenizer.ggml."));
  }
  CHECK(missing_in_error(
            [] {
              return metadata_in_hugging_face(json{{"general.architecture", "rwkv"}});
            },
            {"bad_metadata", "general.architecture", "rwkv"})
            .empty());
}

TEST_CASE("every row of the table has a type that readers ask for, and no name twice",
          "[metadata_names]") {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (const nibble::metadata_names::row& row : nibble::metadata_names::rows) {
    CAPTURE(row.flat, row.gguf);
    CHECK(nibble::gguf::known_kind(nibble::metadata_names::gguf_key(row, "llama")).has_value());
    CHECK(seen.emplace(row.flat, row.gguf).second);
    std::string_view names = row.architectures;
    while (!names.empty()) {
      const std::string_view name = names.substr(0, names.find(' '));
      CHECK(nibble::gguf_architecture(name) == name);
      names.remove_prefix(std::min(names.size(), name.size() + 1));
    }
  }
}
