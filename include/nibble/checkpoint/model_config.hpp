#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

namespace config_table {

/// What a value has to be.
enum class kind : unsigned char {
  count,  ///< a whole number, not negative, or one a layer in an array
  real,   ///< a number
  flag    ///< true or false
};

/// A metadata key and the names that config.json gives it; the first name that is there counts. A name
/// with a dot is that of a member of an object.
struct row {
  std::string_view key;
  kind holds;
  std::array<std::string_view, 5> names;
};

/// One row a key.
inline constexpr auto rows = std::to_array<row>({
    {"hidden_size", kind::count, {"hidden_size", "n_embd", "d_model"}},
    {"num_layers", kind::count, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}},
    {"num_heads", kind::count, {"num_attention_heads", "n_head", "n_heads", "num_heads"}},
    {"num_kv_heads", kind::count, {"num_key_value_heads", "num_kv_heads", "n_head_kv"}},
    {"vocab_size", kind::count, {"vocab_size", "padded_vocab_size"}},
    {"intermediate_size",
     kind::count,
     {"intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "d_ff"}},
    {"max_position_embeddings",
     kind::count,
     {"max_position_embeddings", "n_positions", "n_ctx", "seq_length", "max_seq_len"}},
    {"head_dim", kind::count, {"head_dim"}},
    {"rope_theta",
     kind::real,
     {"rope_theta", "rope_parameters.rope_theta", "rope_parameters.full_attention.rope_theta",
      "rotary_emb_base"}},
    {"rope_local_base_freq",
     kind::real,
     {"rope_local_base_freq", "rope_parameters.sliding_attention.rope_theta"}},
    {"rms_norm_eps", kind::real, {"rms_norm_eps"}},
    {"layer_norm_epsilon", kind::real, {"layer_norm_epsilon", "layer_norm_eps", "norm_epsilon"}},
    {"tie_word_embeddings", kind::flag, {"tie_word_embeddings"}},
});

/// A value that the configuration class of an architecture has where config.json has none.
struct default_value {
  std::string_view architecture;
  std::string_view key;
  double value;  ///< of a flag: 1 for true
};

/// One row a value. Source: the configuration_*.py of Hugging Face's transformers.
inline constexpr auto defaults = std::to_array<default_value>({
    {"llama", "rms_norm_eps", 1e-6},
    {"llama", "rope_theta", 10'000},
    {"llama", "tie_word_embeddings", 0},
    {"mistral", "rms_norm_eps", 1e-6},
    {"mistral", "rope_theta", 10'000},
    {"mistral", "tie_word_embeddings", 0},
    {"mixtral", "rms_norm_eps", 1e-5},
    {"mixtral", "rope_theta", 1e6},
    {"mixtral", "tie_word_embeddings", 0},
    {"qwen2", "rms_norm_eps", 1e-6},
    {"qwen2", "rope_theta", 10'000},
    {"qwen2", "tie_word_embeddings", 0},
    {"qwen3", "rms_norm_eps", 1e-6},
    {"qwen3", "rope_theta", 10'000},
    {"qwen3", "tie_word_embeddings", 0},
    {"qwen3", "head_dim", 128},
    {"qwen2_moe", "rms_norm_eps", 1e-6},
    {"qwen2_moe", "rope_theta", 10'000},
    {"qwen2_moe", "tie_word_embeddings", 0},
    {"qwen3_moe", "rms_norm_eps", 1e-6},
    {"qwen3_moe", "rope_theta", 10'000},
    {"qwen3_moe", "tie_word_embeddings", 0},
    {"granite", "rms_norm_eps", 1e-6},
    {"granite", "rope_theta", 10'000},
    {"granite", "tie_word_embeddings", 0},
    {"smollm3", "rms_norm_eps", 1e-6},
    {"smollm3", "rope_theta", 2e6},
    {"smollm3", "tie_word_embeddings", 1},
    {"olmo2", "rms_norm_eps", 1e-5},
    {"olmo2", "rope_theta", 10'000},
    {"olmo2", "tie_word_embeddings", 0},
    {"gemma", "rms_norm_eps", 1e-6},
    {"gemma", "rope_theta", 10'000},
    {"gemma", "tie_word_embeddings", 1},
    {"gemma", "head_dim", 256},
    {"gemma2", "rms_norm_eps", 1e-6},
    {"gemma2", "rope_theta", 10'000},
    {"gemma2", "tie_word_embeddings", 1},
    {"gemma2", "head_dim", 256},
    {"gemma3_text", "rms_norm_eps", 1e-6},
    {"gemma3_text", "rope_theta", 1e6},
    {"gemma3_text", "rope_local_base_freq", 10'000},
    {"gemma3_text", "tie_word_embeddings", 1},
    {"gemma3_text", "head_dim", 256},
    {"gemma3_text", "num_heads", 8},
    {"gemma3_text", "num_kv_heads", 4},
    {"gemma3_text", "vocab_size", 262'208},
    {"gemma3_text", "max_position_embeddings", 131'072},
    {"phi3", "rms_norm_eps", 1e-5},
    {"phi3", "rope_theta", 10'000},
    {"phi3", "tie_word_embeddings", 0},
    {"starcoder2", "layer_norm_epsilon", 1e-5},
    {"starcoder2", "rope_theta", 10'000},
    {"starcoder2", "tie_word_embeddings", 1},
    {"gpt2", "layer_norm_epsilon", 1e-5},
    {"gpt2", "tie_word_embeddings", 1},
    {"falcon", "layer_norm_epsilon", 1e-5},
    {"falcon", "rope_theta", 10'000},
    {"falcon", "tie_word_embeddings", 1},
});

/// Members that hold the configuration of the language model inside a larger one.
inline constexpr std::array<std::string_view, 3> inner_configs = {"text_config", "llm_config",
                                                                  "language_config"};
/// Objects that are kept under their own names.
inline constexpr std::array<std::string_view, 4> kept_objects = {
    "rope_scaling", "rope_parameters", quantization_configs[0], quantization_configs[1]};
/// Ids of special tokens, which become keys of the tokenizer.
inline constexpr std::array<std::string_view, 4> token_ids = {"bos_token_id", "eos_token_id",
                                                              "pad_token_id", "unk_token_id"};

/// The value of that name, which may lead into objects; null where there is none, or a JSON null.
template <class Json>
[[nodiscard]] const Json* find(const Json& from, std::string_view name) {
  const std::size_t dot = name.find('.');
  const auto member = from.find(std::string(name.substr(0, dot)));
  if (member == from.end() || member->is_null()) return nullptr;
  if (dot == std::string_view::npos) return &*member;
  return member->is_object() ? find(*member, name.substr(dot + 1)) : nullptr;
}

/// Throws bad_metadata where a value of config.json is not what its key has to hold.
template <class Json>
void require_kind(const Json& value, kind holds, std::string_view name) {
  const auto is_count = [](const Json& each) { return each.is_number_unsigned(); };
  bool fits = false;
  std::string_view expected;
  switch (holds) {
    case kind::count:
      fits = is_count(value);
      if (value.is_array()) {
        fits = true;
        for (const Json& each : value) fits = fits && is_count(each);
      }
      expected = "a whole number, not negative, or an array of such";
      break;
    case kind::real:
      fits = value.is_number();
      expected = "a number";
      break;
    case kind::flag:
      fits = value.is_boolean();
      expected = "true or false";
      break;
  }
  if (fits) return;
  throw error(error_code::bad_metadata,
              {.field = std::string(name),
               .found = value.is_number() ? value.dump() : join_text({"a JSON ", value.type_name()}),
               .expected = std::string(expected)});
}

/// Whether a value is plain: text, a number, true or false, or an array of such.
template <class Json>
[[nodiscard]] bool is_plain(const Json& value) {
  if (!value.is_array()) return value.is_primitive() && !value.is_null();
  for (const Json& each : value) {
    if (!each.is_primitive()) return false;
  }
  return true;
}

/// Sets what the architecture implies where config.json does not say it.
template <class Json>
void set_defaults(Json& metadata, std::string_view architecture, const Json& config) {
  for (const default_value& each : defaults) {
    const std::string key(each.key);
    if (each.architecture != architecture || metadata.contains(key)) continue;
    for (const row& described : rows) {
      if (described.key != each.key) continue;
      if (described.holds == kind::flag) metadata[key] = each.value != 0;
      if (described.holds == kind::real) metadata[key] = each.value;
      if (described.holds == kind::count) metadata[key] = static_cast<std::uint64_t>(each.value);
    }
  }
  const auto count = [&](const char* key) -> std::uint64_t {
    const auto found = metadata.find(key);
    const bool is_there = found != metadata.end() && found->is_number_unsigned();
    return is_there ? found->template get<std::uint64_t>() : 0;
  };
  const auto is_set = [&](const char* key) {
    const Json* const flag = find(config, key);
    return flag != nullptr && flag->is_boolean() && flag->template get<bool>();
  };
  // Falcon's first generation counts its one head for keys and values by a flag.
  if (is_set("multi_query") && !is_set("new_decoder_architecture")) metadata["num_kv_heads"] = 1U;
  const std::uint64_t hidden = count("hidden_size");
  const std::uint64_t heads = count("num_heads");
  if (!metadata.contains("num_kv_heads") && heads != 0) metadata["num_kv_heads"] = heads;
  if (!metadata.contains("head_dim") && heads != 0 && hidden % heads == 0 && hidden != 0) {
    metadata["head_dim"] = hidden / heads;
  }
  const bool is_gpt = architecture == "gpt2" || architecture == "falcon";
  if (is_gpt && !metadata.contains("intermediate_size") && hidden != 0 && hidden < (1ULL << 60U)) {
    metadata["intermediate_size"] = 4 * hidden;
  }
  if (metadata.contains("rope_theta") && gguf_architecture(architecture)) {
    metadata["rope_type"] = 2U;  // the classes of transformers rotate split halves
  }
}

}  // namespace config_table

/// The flat metadata keys of .apr that a model's config.json says: architecture, hidden_size,
/// num_layers, num_heads, num_kv_heads, vocab_size, intermediate_size, max_position_embeddings, head_dim,
/// rope_theta, rope_type (2: split halves), rms_norm_eps, layer_norm_epsilon, tie_word_embeddings, by
/// config_table::rows. Of a model with several parts it is the language model's configuration
/// ("text_config"); what that does not say the outer one does.
///
/// Where config.json says nothing, a known architecture's defaults are set, and those that follow from
/// other values. rope_scaling and rope_parameters are kept, also the latter as rope_scaling where it
/// alone says how positions are scaled; so are those of quantization_scheme(). Other keys are kept under their own names where they hold text,
/// numbers, flags or arrays of such. Ids of special tokens become tokenizer.bos_token_id and so on.
///
/// Throws bad_metadata, naming the key, where a value is of another kind than its key has to hold. The
/// errors name no file.
template <class Json>
[[nodiscard]] Json metadata_of_config(const Json& config) {
  using namespace config_table;
  const Json* inner = &config;
  for (const std::string_view name : inner_configs) {
    const Json* const found = find(config, name);
    if (found != nullptr && found->is_object()) {
      inner = found;
      break;
    }
  }
  Json metadata = Json::object();
  for (const Json* const from : {&config, inner}) {
    for (const auto& [key, value] : from->items()) {
      if (is_plain(value)) metadata[key] = value;
    }
    for (const std::string_view key : kept_objects) {
      if (const Json* const value = find(*from, key)) metadata[std::string(key)] = *value;
    }
  }
  for (const row& each : rows) {
    for (const std::string_view name : each.names) metadata.erase(std::string(name));
  }
  for (const row& each : rows) {
    const Json* value = nullptr;
    std::string_view found_as;
    for (const Json* const from : {inner, &config}) {
      for (const std::string_view name : each.names) {
        if (value != nullptr || name.empty()) continue;
        value = find(*from, name);
        found_as = name;
      }
    }
    if (value == nullptr) continue;
    require_kind(*value, each.holds, found_as);
    Json& entry = metadata[std::string(each.key)];
    if (each.holds == kind::real) {
      entry = value->template get<double>();
    } else {
      entry = *value;
    }
  }
  for (const std::string_view name : token_ids) {
    const auto id = metadata.find(std::string(name));
    if (id == metadata.end()) continue;
    Json moved = std::move(*id);
    metadata.erase(std::string(name));
    metadata[join_text({"tokenizer.", name})] = std::move(moved);
  }

  std::string architecture;
  for (const Json* const from : {&config, inner}) {
    const Json* const type = find(*from, "model_type");
    if (type != nullptr && type->is_string()) architecture = type->template get<std::string>();
  }
  if (!architecture.empty()) metadata["architecture"] = architecture;
  set_defaults(metadata, architecture, *inner);

  const Json* const rope = find(metadata, "rope_parameters");
  if (rope != nullptr && rope->is_object() && !metadata.contains("rope_scaling")) {
    const Json* const type = find(*rope, "rope_type");
    if (type != nullptr && type->is_string() && *type != "default") {
      Json scaling = *rope;
      scaling.erase("rope_theta");
      metadata["rope_scaling"] = std::move(scaling);
    }
  }
  return metadata;
}

}  // namespace nibble
