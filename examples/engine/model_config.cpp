#include "model_config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble_engine {
namespace {

using nibble::error_code;
using nlohmann::json;

/// No model has wider heads, and nothing that a hostile file says is reserved before its tensors agree.
constexpr std::size_t most_head_elements = 1U << 16U;

/// A fact of the model under its two names.
struct key {
  std::string_view flat;  ///< in .apr files and checkpoint folders
  std::string_view gguf;  ///< behind the architecture and a dot
};
namespace keys {
constexpr key hidden{"hidden_size", "embedding_length"};
constexpr key layers{"num_layers", "block_count"};
constexpr key heads{"num_heads", "attention.head_count"};
constexpr key key_value_heads{"num_kv_heads", "attention.head_count_kv"};
constexpr key head_dim{"head_dim", "attention.key_length"};
constexpr key feed_forward{"intermediate_size", "feed_forward_length"};
constexpr key vocabulary{"vocab_size", "vocab_size"};
constexpr key context{"max_position_embeddings", "context_length"};
constexpr key rms_norm_epsilon{"rms_norm_eps", "attention.layer_norm_rms_epsilon"};
constexpr key layer_norm_epsilon{"layer_norm_epsilon", "attention.layer_norm_epsilon"};
constexpr key rotary_base{"rope_theta", "rope.freq_base"};
constexpr key rotary_elements{"rotary_dim", "rope.dimension_count"};
}  // namespace keys

/// The metadata, asked by either name.
class questions {
 public:
  questions(const json& metadata, std::string_view file) : metadata_(metadata), file_(file) {
    const json* const named = find("general.architecture");
    is_gguf_ = named != nullptr;
    const json* const name = is_gguf_ ? named : find("architecture");
    if (name == nullptr || !name->is_string()) refuse("architecture", "nothing", "a name");
    architecture_ = name->get<std::string>();
  }

  [[nodiscard]] const std::string& architecture() const noexcept { return architecture_; }
  [[nodiscard]] bool is_gguf() const noexcept { return is_gguf_; }
  [[nodiscard]] std::string name_of(const key& asked) const {
    return is_gguf_ ? architecture_ + '.' + std::string(asked.gguf) : std::string(asked.flat);
  }
  [[nodiscard]] const json* find(const std::string& name) const {
    const auto found = metadata_.find(name);
    return found == metadata_.end() || found->is_null() ? nullptr : &*found;
  }

  [[nodiscard]] std::optional<std::size_t> find_count(const key& asked,
                                                      std::uint64_t most = 1U << 30U) const {
    const std::string name = name_of(asked);
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer() || value->get<std::int64_t>() < 1 ||
        value->get<std::uint64_t>() > most) {
      refuse(name, text_of(*value), fmt::format("a whole number from 1 to {}", most));
    }
    return value->get<std::size_t>();
  }
  [[nodiscard]] std::size_t count(const key& asked) const {
    const auto value = find_count(asked);
    if (!value) refuse(name_of(asked), "nothing", "a whole number");
    return *value;
  }
  [[nodiscard]] std::optional<double> find_number(const key& asked) const {
    const std::string name = name_of(asked);
    const json* const value = find(name);
    if (value == nullptr) return std::nullopt;
    return number_in(*value, name);
  }
  [[nodiscard]] double number(const key& asked) const {
    const auto value = find_number(asked);
    if (!value) refuse(name_of(asked), "nothing", "a finite number above 0");
    return *value;
  }

  /// A number above 0 that stands under `name`, at any depth.
  [[nodiscard]] double number_in(const json& value, const std::string& name) const {
    if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
      refuse(name, text_of(value), "a finite number above 0");
    }
    return value.get<double>();
  }

  /// A value as errors show it.
  [[nodiscard]] static std::string text_of(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace);
  }

  [[noreturn]] void refuse(const std::string& field, std::string found, std::string expected,
                           error_code code = error_code::bad_metadata) const {
    throw nibble::error(code, {.file = std::string(file_),
                               .field = "metadata." + field,
                               .found = std::move(found),
                               .expected = std::move(expected)});
  }

 private:
  const json& metadata_;
  std::string_view file_;
  std::string architecture_;
  bool is_gguf_ = false;
};

/// How angles are stretched for contexts beyond those that a model was first trained on.
struct rotary_scaling {
  std::string kind = "none";
  double factor = 1.0;
  double low_frequency_factor = 1.0;
  double high_frequency_factor = 4.0;
  double original_context = 8192.0;
};

rotary_scaling read_scaling(const questions& ask) {
  rotary_scaling scaling;
  if (ask.is_gguf()) {
    if (const json* const kind = ask.find(ask.architecture() + ".rope.scaling.type")) {
      scaling.kind = kind->is_string() ? kind->get<std::string>() : ask.text_of(*kind);
    }
    scaling.factor = ask.find_number({"", "rope.scaling.factor"}).value_or(1.0);
    return scaling;
  }
  const json* const record = ask.find("rope_scaling");
  if (record == nullptr) return scaling;
  if (!record->is_object()) ask.refuse("rope_scaling", ask.text_of(*record), "an object");
  const auto number = [&](const std::string& name, double otherwise) {
    const auto value = record->find(name);
    return value == record->end() || value->is_null() ? otherwise
                                                      : ask.number_in(*value, "rope_scaling." + name);
  };
  for (const char* const name : {"type", "rope_type"}) {
    const auto kind = record->find(name);
    if (kind == record->end() || kind->is_null()) continue;
    scaling.kind = kind->is_string() ? kind->get<std::string>() : ask.text_of(*kind);
  }
  scaling.factor = number("factor", 1.0);
  scaling.low_frequency_factor = number("low_freq_factor", 1.0);
  scaling.high_frequency_factor = number("high_freq_factor", 4.0);
  scaling.original_context = number("original_max_position_embeddings", 8192.0);
  if (scaling.kind == "llama3" && scaling.high_frequency_factor <= scaling.low_frequency_factor) {
    ask.refuse("rope_scaling.high_freq_factor", fmt::format("{}", scaling.high_frequency_factor),
               fmt::format("more than low_freq_factor, {}", scaling.low_frequency_factor));
  }
  return scaling;
}

/// base^(-2i / elements) for pair i, scaled as the metadata says; "llama3" is the rule of Llama 3.1's
/// reference code: slow angles are divided by the factor, quick ones kept, those between mixed.
std::vector<double> rotary_frequencies(const questions& ask, std::size_t head_elements) {
  const double base = ask.find_number(keys::rotary_base).value_or(10'000.0);
  if (const auto turned = ask.find_count(keys::rotary_elements); turned && *turned != head_elements) {
    ask.refuse(ask.name_of(keys::rotary_elements), std::to_string(*turned),
               fmt::format("{}: all of a head", head_elements), error_code::unsupported_feature);
  }
  const rotary_scaling scaling = read_scaling(ask);
  const bool is_plain = scaling.kind == "none" || scaling.kind == "default";
  if (!is_plain && scaling.kind != "linear" && scaling.kind != "llama3") {
    ask.refuse("rope_scaling", scaling.kind, "none, linear or llama3", error_code::unsupported_feature);
  }
  std::vector<double> frequencies(head_elements / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    double frequency =
        std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(head_elements));
    if (scaling.kind == "linear") frequency /= scaling.factor;
    if (scaling.kind == "llama3") {
      const double turns = scaling.original_context * frequency / (2.0 * std::numbers::pi);
      const double share = (turns - scaling.low_frequency_factor) /
                           (scaling.high_frequency_factor - scaling.low_frequency_factor);
      const double kept = share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share;
      frequency = (1.0 - kept) * frequency / scaling.factor + kept * frequency;
    }
    frequencies[i] = frequency;
  }
  return frequencies;
}

rotary_pairs pairs_of(const questions& ask, architecture kind) {
  if (const json* const type = ask.find("rope_type"); type != nullptr && !ask.is_gguf()) {
    if (*type == 0) return rotary_pairs::adjacent;
    if (*type == 2) return rotary_pairs::halves;
    ask.refuse("rope_type", ask.text_of(*type), "0 or 2");
  }
  // GGUF's converters permute the rows of Llama's q and k, so that pairs become neighbours.
  return ask.is_gguf() && kind == architecture::llama ? rotary_pairs::adjacent : rotary_pairs::halves;
}

/// Refuses what Hugging Face's configurations may ask for and this engine does not do.
void require_plain_blocks(const questions& ask, bool is_gpt2) {
  const auto require = [&](const char* name, bool is_fine, const char* expected) {
    if (const json* const value = ask.find(name); value != nullptr && !is_fine) {
      ask.refuse(name, ask.text_of(*value), expected, error_code::unsupported_feature);
    }
  };
  const auto is_one_of = [&](const char* name, std::initializer_list<json> values) {
    const json* const value = ask.find(name);
    return value != nullptr && std::find(values.begin(), values.end(), *value) != values.end();
  };
  require("use_sliding_window", is_one_of("use_sliding_window", {false}),
          "false: attention to all positions");
  if (is_gpt2) {
    require("activation_function",
            is_one_of("activation_function", {"gelu_new", "gelu_fast", "gelu_pytorch_tanh"}),
            "gelu_new or another name of GELU by tanh");
    require("scale_attn_weights", is_one_of("scale_attn_weights", {true}), "true");
    require("scale_attn_by_inverse_layer_idx", is_one_of("scale_attn_by_inverse_layer_idx", {false}),
            "false");
  } else {
    require("hidden_act", is_one_of("hidden_act", {"silu", "swish"}), "silu");
  }
}

constexpr std::array<std::pair<std::string_view, architecture>, 3> architectures{
    {{"llama", architecture::llama}, {"qwen2", architecture::qwen2}, {"gpt2", architecture::gpt2}}};

}  // namespace

nlohmann::json parsed_values(const nlohmann::json& metadata) {
  json parsed = json::object();
  for (const auto& [name, value] : metadata.items()) {
    json inner =
        value.is_string() ? json::parse(value.get_ref<const std::string&>(), nullptr, false) : value;
    parsed[name] = inner.is_discarded() ? value : std::move(inner);
  }
  return parsed;
}

model_config read_config(const nlohmann::json& metadata, std::string_view file) {
  const questions ask(metadata, file);
  model_config config;
  config.architecture_name = ask.architecture();
  bool is_known = false;
  for (const auto& [name, kind] : architectures) {
    if (name != config.architecture_name) continue;
    config.architecture = kind;
    is_known = true;
  }
  if (!is_known) {
    ask.refuse("architecture", config.architecture_name, "llama, qwen2 or gpt2",
               error_code::unsupported_feature);
  }
  const bool is_gpt2 = config.architecture == architecture::gpt2;

  config.hidden = ask.count(keys::hidden);
  config.layers = ask.count(keys::layers);
  config.heads = ask.count(keys::heads);
  config.key_value_heads = ask.find_count(keys::key_value_heads).value_or(config.heads);
  config.head_dim =
      ask.find_count(keys::head_dim, most_head_elements).value_or(config.hidden / config.heads);
  config.feed_forward = is_gpt2 ? ask.find_count(keys::feed_forward).value_or(4 * config.hidden)
                                : ask.count(keys::feed_forward);
  config.vocabulary = ask.find_count(keys::vocabulary).value_or(0);
  config.context = ask.count(keys::context);
  config.norm_epsilon = ask.number(is_gpt2 ? keys::layer_norm_epsilon : keys::rms_norm_epsilon);

  if (config.heads % config.key_value_heads != 0) {
    ask.refuse(
        ask.name_of(keys::heads), std::to_string(config.heads),
        fmt::format("a multiple of {}, the number of key and value heads", config.key_value_heads));
  }
  if (const json* const tied = ask.find("tie_word_embeddings")) config.has_own_head = *tied == false;

  if (config.head_dim == 0 || config.head_dim > most_head_elements) {
    ask.refuse(ask.name_of(keys::head_dim), std::to_string(config.head_dim),
               fmt::format("from 1 to {}", most_head_elements));
  }
  if (is_gpt2) {
    // One matrix has q, k and v, each as wide as the model.
    if (config.key_value_heads != config.heads) {
      ask.refuse(ask.name_of(keys::key_value_heads), std::to_string(config.key_value_heads),
                 fmt::format("{}, as there are heads", config.heads));
    }
    if (config.query_elements() != config.hidden) {
      ask.refuse(ask.name_of(keys::heads), fmt::format("{} of {}", config.heads, config.head_dim),
                 fmt::format("{} in all, as the model is wide", config.hidden));
    }
  } else {
    if (config.head_dim % 2 != 0) {
      ask.refuse(ask.name_of(keys::head_dim), std::to_string(config.head_dim),
                 "an even number: pairs turn");
    }
    config.pairs = pairs_of(ask, config.architecture);
    config.rotary_frequencies = rotary_frequencies(ask, config.head_dim);
  }
  require_plain_blocks(ask, is_gpt2);
  return config;
}

}  // namespace nibble_engine
