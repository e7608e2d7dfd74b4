#include <nibble/checkpoint/model_config.hpp>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <support/catch.hpp>
#include <support/outcome.hpp>

using nibble_test::missing_parts;
using nibble_test::outcome;
using nibble_test::outcome_of;
using nlohmann::json;

namespace {

json flat(const char* config) { return nibble::metadata_of_config(json::parse(config)); }

/// The members of `expected` that `metadata` does not have as they are.
json differing(const json& metadata, const json& expected) {
  json wrong = json::object();
  for (const auto& [key, value] : expected.items()) {
    if (!metadata.contains(key) || metadata[key] != value) wrong[key] = metadata.value(key, json());
  }
  return wrong;
}

}  // namespace

TEST_CASE("a config of Llama 3.2 becomes flat keys", "[model_config]") {
  // Of the released model, shortened.
  const json metadata = flat(R"({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": false,
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64,
    "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02, "intermediate_size": 8192,
    "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 16,
    "num_key_value_heads": 8, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
      "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 128256})");
  CHECK(differing(metadata, {{"architecture", "llama"},
                             {"model_type", "llama"},
                             {"architectures", {"LlamaForCausalLM"}},
                             {"hidden_size", 2048},
                             {"num_layers", 16},
                             {"num_heads", 32},
                             {"num_kv_heads", 8},
                             {"head_dim", 64},
                             {"vocab_size", 128256},
                             {"intermediate_size", 8192},
                             {"max_position_embeddings", 131072},
                             {"rope_theta", 500000.0},
                             {"rope_type", 2},
                             {"rms_norm_eps", 1e-5},
                             {"tie_word_embeddings", true},
                             {"hidden_act", "silu"},
                             {"attention_bias", false},
                             {"tokenizer.bos_token_id", 128000},
                             {"tokenizer.eos_token_id", {128001, 128008, 128009}}}) == json::object());
  CHECK(metadata["rope_theta"].is_number_float());  // GGUF's key of it is a float
  CHECK(metadata["rope_scaling"]["rope_type"] == "llama3");
  for (const char* const gone : {"num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                                 "bos_token_id", "eos_token_id"}) {
    CHECK_FALSE(metadata.contains(gone));
  }
}

TEST_CASE("a config of GPT-2 becomes the same keys", "[model_config]") {
  const json metadata = flat(R"({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12,
    "n_positions": 1024, "n_ctx": 1024, "n_inner": null, "vocab_size": 50257,
    "layer_norm_epsilon": 1e-05, "activation_function": "gelu_new", "eos_token_id": 50256})");
  CHECK(differing(metadata, {{"architecture", "gpt2"},
                             {"hidden_size", 768},
                             {"num_layers", 12},
                             {"num_heads", 12},
                             {"num_kv_heads", 12},
                             {"head_dim", 64},
                             {"intermediate_size", 3072},
                             {"max_position_embeddings", 1024},
                             {"layer_norm_epsilon", 1e-5},
                             {"tie_word_embeddings", true},
                             {"activation_function", "gelu_new"},
                             {"tokenizer.eos_token_id", 50256}}) == json::object());
  for (const char* const gone :
       {"n_embd", "n_ctx", "n_inner", "rope_theta", "rope_type", "rms_norm_eps"}) {
    CAPTURE(gone);
    CHECK_FALSE(metadata.contains(gone));
  }
}

TEST_CASE("what a config does not say its architecture implies", "[model_config]") {
  const json qwen = flat(R"({"model_type":"qwen2","hidden_size":96,"num_attention_heads":4})");
  CHECK(differing(qwen, {{"num_kv_heads", 4},
                         {"head_dim", 24},
                         {"rms_norm_eps", 1e-6},
                         {"rope_theta", 10000.0},
                         {"rope_type", 2},
                         {"tie_word_embeddings", false}}) == json::object());
  CHECK(differing(flat(R"({"model_type":"gemma2","hidden_size":2304,"num_attention_heads":8})"),
                  {{"head_dim", 256}, {"tie_word_embeddings", true}}) == json::object());
  CHECK(differing(flat(R"({"model_type":"falcon","hidden_size":4544,"num_attention_heads":71,
                           "multi_query":true})"),
                  {{"num_kv_heads", 1}, {"head_dim", 64}, {"intermediate_size", 18176}}) ==
        json::object());
  CHECK(flat(R"({"model_type":"falcon","hidden_size":8192,"num_attention_heads":128,"num_kv_heads":8,
                 "multi_query":true,"new_decoder_architecture":true})")["num_kv_heads"] == 8);
  // An architecture that is not known implies nothing but what follows from the numbers.
  const json unknown = flat(R"({"model_type":"mamba9","hidden_size":64,"num_attention_heads":5})");
  CHECK(unknown == json{{"model_type", "mamba9"},
                        {"architecture", "mamba9"},
                        {"hidden_size", 64},
                        {"num_heads", 5},
                        {"num_kv_heads", 5}});
  CHECK(flat("{}") == json::object());
}

TEST_CASE("the language model inside a larger one counts", "[model_config]") {
  const json metadata = flat(R"({"model_type":"gemma3","hidden_size":1,"eos_token_id":[1,106],
    "vision_config":{"hidden_size":1152,"model_type":"siglip"},
    "text_config":{"model_type":"gemma3_text","hidden_size":2560,"num_hidden_layers":34,
                   "rope_scaling":{"factor":8.0,"rope_type":"linear"},"sliding_window":1024}})");
  CHECK(differing(metadata, {{"architecture", "gemma3_text"},
                             {"model_type", "gemma3_text"},
                             {"hidden_size", 2560},
                             {"num_layers", 34},
                             {"num_heads", 8},
                             {"num_kv_heads", 4},
                             {"head_dim", 256},
                             {"rope_theta", 1e6},
                             {"rope_local_base_freq", 10000.0},
                             {"sliding_window", 1024},
                             {"tokenizer.eos_token_id", {1, 106}}}) == json::object());
  CHECK(metadata["rope_scaling"]["factor"] == 8.0);
  CHECK_FALSE(metadata.contains("vision_config"));
  CHECK_FALSE(metadata.contains("text_config"));
}

TEST_CASE("rope_parameters are kept and say what older keys said", "[model_config]") {
  const json scaled = flat(R"({"model_type":"llama","rope_parameters":
    {"rope_theta":5e5,"rope_type":"llama3","factor":8.0}})");
  CHECK(scaled["rope_theta"] == 5e5);
  CHECK(scaled["rope_scaling"] == json{{"rope_type", "llama3"}, {"factor", 8.0}});
  CHECK(scaled["rope_parameters"]["rope_theta"] == 5e5);
  const json plain = flat(R"({"model_type":"qwen3","rope_parameters":
    {"rope_theta":1000000,"rope_type":"default"}})");
  CHECK(plain["rope_theta"] == 1e6);
  CHECK_FALSE(plain.contains("rope_scaling"));
  const json layered = flat(R"({"model_type":"gemma3_text","rope_parameters":{
    "full_attention":{"rope_theta":2e6},"sliding_attention":{"rope_theta":1e4}}})");
  CHECK(layered["rope_theta"] == 2e6);
  CHECK(layered["rope_local_base_freq"] == 1e4);
}

TEST_CASE("a value of another kind is refused by its key", "[model_config]") {
  struct row {
    const char* config;
    std::vector<std::string> named;
  };
  const std::vector<row> rows = {
      {R"({"hidden_size":"large"})", {"hidden_size", "string"}},
      {R"({"hidden_size":-1})", {"hidden_size", "-1"}},
      {R"({"n_layer":1.5})", {"n_layer", "1.5"}},
      {R"({"num_attention_heads":{}})", {"num_attention_heads", "object"}},
      {R"({"num_key_value_heads":[1,"x"]})", {"num_key_value_heads", "array"}},
      {R"({"rms_norm_eps":"1e-5"})", {"rms_norm_eps", "string", "a number"}},
      {R"({"rope_parameters":{"rope_theta":true}})", {"rope_parameters.rope_theta", "boolean"}},
      {R"({"tie_word_embeddings":1})", {"tie_word_embeddings", "true or false"}},
      {R"({"text_config":{"hidden_size":[[]]}})", {"hidden_size"}},
  };
  for (const row& each : rows) {
    CAPTURE(each.config);
    const outcome result = outcome_of([&] { static_cast<void>(flat(each.config)); });
    CHECK(result.code == "bad_metadata");
    CHECK(missing_parts(result.message, each.named).empty());
  }
}

TEST_CASE("numbers by layer, nulls and objects do not keep a config from being read",
          "[model_config]") {
  const json metadata = flat(R"({"num_key_value_heads":[1,2,4],"hidden_size":null,"rope_parameters":7,
    "text_config":[],"quantization_config":{"bits":4},"id2label":{"0":"a"},"layer_types":["a","b"],
    "nested":[[1]],"task":null})");
  CHECK(metadata == json{{"quantization_config", {{"bits", 4}}},
                         {"num_kv_heads", {1, 2, 4}},
                         {"rope_parameters", 7},
                         {"layer_types", {"a", "b"}},
                         {"text_config", json::array()}});
}
