#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/checkpoint/tokenizer_json.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/gguf/known_keys.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble {

namespace metadata_names {

/// A key of metadata under its two names.
struct row {
  std::string_view flat;  ///< in .apr files and checkpoint folders
  std::string_view gguf;  ///< {} stands for the name of the architecture
  /// Names of architectures in GGUF with spaces between them; empty: all.
  std::string_view architectures = {};
  bool is_needed = false;  ///< readers of GGUF load no model without it
};

/// One row a name. A key of several rows has several names in GGUF; back, the first one counts.
/// Source: gguf-py's constants.py and conversion/ in llama.cpp.
inline constexpr auto rows = std::to_array<row>({
    {"name", "general.name"},
    {"author", "general.author"},
    {"description", "general.description"},
    {"license", "general.license"},

    {"hidden_size", "{}.embedding_length", "", true},
    {"num_layers", "{}.block_count", "", true},
    {"num_heads", "{}.attention.head_count", "", true},
    {"num_kv_heads", "{}.attention.head_count_kv"},
    {"intermediate_size", "{}.feed_forward_length", "", true},
    {"max_position_embeddings", "{}.context_length", "", true},
    {"vocab_size", "{}.vocab_size"},
    {"head_dim", "{}.attention.key_length"},
    {"head_dim", "{}.attention.value_length"},
    {"rms_norm_eps", "{}.attention.layer_norm_rms_epsilon"},
    {"layer_norm_epsilon", "{}.attention.layer_norm_epsilon"},
    {"rope_theta", "{}.rope.freq_base"},
    {"rope_local_base_freq", "{}.rope.freq_base_swa", "gemma3"},
    {"sliding_window", "{}.attention.sliding_window", "gemma2 gemma3 phi3"},
    {"attn_logit_softcapping", "{}.attn_logit_softcapping", "gemma2 gemma3"},
    {"final_logit_softcapping", "{}.final_logit_softcapping", "gemma2 gemma3"},
    {"original_max_position_embeddings", "{}.rope.scaling.original_context_length", "phi3"},

    {"num_local_experts", "{}.expert_count", "llama"},
    {"num_experts", "{}.expert_count", "qwen2moe qwen3moe"},
    {"num_experts_per_tok", "{}.expert_used_count", "llama qwen2moe qwen3moe"},
    {"moe_intermediate_size", "{}.expert_feed_forward_length", "qwen2moe qwen3moe"},
    {"shared_expert_intermediate_size", "{}.expert_shared_feed_forward_length", "qwen2moe"},

    {"attention_multiplier", "{}.attention.scale", "granite"},
    {"embedding_multiplier", "{}.embedding_scale", "granite"},
    {"residual_multiplier", "{}.residual_scale", "granite"},
    {"logits_scaling", "{}.logit_scale", "granite"},

    {"tokenizer.model_type", "tokenizer.ggml.model"},
    {"tokenizer.pre_tokenizer", "tokenizer.ggml.pre"},
    {"tokenizer.vocabulary", "tokenizer.ggml.tokens"},
    {"tokenizer.token_types", "tokenizer.ggml.token_type"},
    {"tokenizer.scores", "tokenizer.ggml.scores"},
    {"tokenizer.merges", "tokenizer.ggml.merges"},
    {"tokenizer.bos_token_id", "tokenizer.ggml.bos_token_id"},
    {"tokenizer.eos_token_id", "tokenizer.ggml.eos_token_id"},
    {"tokenizer.unknown_token_id", "tokenizer.ggml.unknown_token_id"},
    {"tokenizer.pad_token_id", "tokenizer.ggml.padding_token_id"},
    {"tokenizer.add_bos_token", "tokenizer.ggml.add_bos_token"},
    {"tokenizer.add_eos_token", "tokenizer.ggml.add_eos_token"},
    {"tokenizer.add_space_prefix", "tokenizer.ggml.add_space_prefix"},
    {"chat_template", "tokenizer.chat_template"},
});

/// A kind of tokenizer under its two names.
struct tokenizer_name {
  std::string_view flat;  ///< tokenizer.model_type
  std::string_view gguf;  ///< tokenizer.ggml.model
};
/// One row a kind.
inline constexpr auto tokenizers = std::to_array<tokenizer_name>({
    {"bpe", "gpt2"},
    {"sentencepiece", "llama"},
    {"unigram", "t5"},
});

/// A way to stretch rotary positions, by the name that both sides have for it: in GGUF as keys
/// ({}.rope.scaling), or as the divisors of angles in a tensor (rotary_divisors.hpp).
struct rotary_scaling_name {
  std::string_view name;
  bool is_in_keys;
  std::string_view architectures = {};  ///< in GGUF, as in a row
};
/// One row a name.
inline constexpr auto rotary_scalings = std::to_array<rotary_scaling_name>({
    {"linear", true},
    {"yarn", true},
    {"llama3", false, "llama granite"},
    {"longrope", false, "phi3"},
    {"su", false, "phi3"},
});

/// The keys of ids that end a text in GGUF, which has one for the end of text, of a turn and of a message.
inline constexpr std::array<const char*, 3> end_keys = {
    "tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};

/// The score of a token that no text becomes.
inline constexpr double unused_score = -1000.0;

/// Whether an architecture is one of `names`, which have spaces between them, or there are none.
[[nodiscard]] constexpr bool is_for(std::string_view names,
                                    std::string_view gguf_architecture) noexcept {
  std::string_view rest = names;
  while (!rest.empty()) {
    const std::string_view name = rest.substr(0, rest.find(' '));
    if (name == gguf_architecture) return true;
    rest.remove_prefix(std::min(rest.size(), name.size() + 1));
  }
  return names.empty();
}

[[nodiscard]] inline std::string gguf_key(const row& each, std::string_view gguf_architecture) {
  return naming_table::fill(each.gguf, gguf_architecture);
}

[[noreturn]] inline void refuse(std::string_view key, std::string found, std::string expected,
                                error_code code = error_code::bad_metadata) {
  throw error(code, {.field = join_text({"metadata.", key}),
                     .found = std::move(found),
                     .expected = std::move(expected)});
}

/// A value as errors show it.
template <class Json>
[[nodiscard]] std::string value_text(const Json& value) {
  if (value.is_string()) return join_text({"'", value.template get_ref<const std::string&>(), "'"});
  return value.is_primitive() ? value.dump() : join_text({"a JSON ", value.type_name()});
}

/// Whether a value is a whole number, not negative.
template <class Json>
[[nodiscard]] bool is_count(const Json& value) noexcept {
  return value.is_number_unsigned() ||
         (value.is_number_integer() && value.template get<std::int64_t>() >= 0);
}

/// Whether a value can be of the type that readers ask for.
template <class Json>
[[nodiscard]] bool fits(const Json& value, gguf::value_type type) {
  switch (type) {
    case gguf::value_type::string: return value.is_string();
    case gguf::value_type::boolean: return value.is_boolean();
    case gguf::value_type::f32: return value.is_number();
    default: return is_count(value);
  }
}

/// Moves the metadata of a model, key by key, with what is recorded of GGUF's types.
template <class Json>
class mover {
 public:
  explicit mover(Json& metadata) : metadata_(metadata) {}

  /// Puts a value under another key, with the bytes that JSON has no text for. Its type is not carried.
  void move(const std::string& from, const std::string& to) {
    Json value = std::move(metadata_[from]);
    metadata_.erase(from);
    metadata_[to] = std::move(value);
    if (Json* const record = record_of("bytes"); record != nullptr && record->contains(from)) {
      Json bytes = std::move((*record)[from]);
      record->erase(from);
      (*record)[to] = std::move(bytes);
    }
    forget_type(from);
  }
  void erase(const std::string& key) {
    metadata_.erase(key);
    if (Json* const record = record_of("bytes")) record->erase(key);
    forget_type(key);
  }
  /// Records the type that readers of GGUF ask for, of a value that fits it. Throws bad_metadata, naming
  /// the key as the value was called before.
  void set_type(const std::string& key, std::string_view called) {
    const auto known = gguf::known_kind(key);
    if (!known) return;
    const Json& value = metadata_[key];
    gguf::value_kind kind = *known;
    if (kind.type == gguf::value_type::array) {
      require_elements(value, kind.elements.front().type, called);
    } else if (value.is_array()) {
      // One number a layer.
      require_elements(value, kind.type, called);
      kind = {gguf::value_type::array, {kind}};
    } else if (!fits(value, kind.type)) {
      refuse(called, value_text(value), join_text({"a value of GGUF's type ", to_string(kind.type)}));
    }
    auto record = gguf::basic_value_record<Json>::find(metadata_);
    memory_budget endless;
    record.add_kind(key, kind, endless);
    std::move(record).store(metadata_);
  }
  /// Leaves the record out where it has nothing to say.
  void finish() {
    for (const char* const section : {"types", "bytes"}) {
      Json* const record = record_of(section);
      if (record != nullptr && record->empty()) metadata_[key_of_record].erase(section);
    }
    const auto record = metadata_.find(key_of_record);
    if (record != metadata_.end() && record->is_object() && record->empty()) metadata_.erase(record);
  }

 private:
  static constexpr const char* key_of_record = gguf::basic_value_record<Json>::key;

  [[nodiscard]] Json* record_of(const char* section) {
    const auto record = metadata_.find(key_of_record);
    if (record == metadata_.end() || !record->is_object()) return nullptr;
    const auto found = record->find(section);
    return found == record->end() || !found->is_object() ? nullptr : &*found;
  }
  void forget_type(const std::string& key) {
    if (Json* const record = record_of("types")) record->erase(key);
  }
  static void require_elements(const Json& value, gguf::value_type type, std::string_view called) {
    bool all_fit = value.is_array();
    if (all_fit) {
      for (const Json& each : value) {
        all_fit =
            all_fit && (type == gguf::value_type::i32 ? each.is_number_integer() : fits(each, type));
      }
    }
    if (!all_fit) {
      refuse(called, value.is_array() ? "an array with other elements" : value_text(value),
             join_text({"an array of GGUF's type ", to_string(type)}));
    }
  }

  Json& metadata_;
};

/// What each token is, for metadata that do not say it: bytes in the way of SentencePiece, the ids that
/// begin and end texts, the unknown token.
template <class Json>
[[nodiscard]] Json guess_token_types(const Json& metadata) {
  const Json& vocabulary = metadata["tokenizer.vocabulary"];
  const Json* const model =
      metadata.contains("tokenizer.model_type") ? &metadata["tokenizer.model_type"] : nullptr;
  const bool has_bytes = model == nullptr || *model != "bpe";
  Json types = Json::array();
  const auto kind_of = [](token_kind kind) { return static_cast<unsigned>(kind); };
  for (const Json& token : vocabulary) {
    const bool is_text = token.is_string();
    const std::string_view text =
        is_text ? std::string_view(token.template get_ref<const std::string&>()) : std::string_view();
    const bool is_byte = has_bytes && tokenizer_json::is_byte_token(text);
    types.push_back(kind_of(is_byte                        ? token_kind::byte
                            : has_bytes && text == "<unk>" ? token_kind::unknown
                                                           : token_kind::normal));
  }
  const auto mark = [&](const Json& id, token_kind kind) {
    if (is_count(id) && id.template get<std::uint64_t>() < types.size()) {
      types[id.template get<std::size_t>()] = kind_of(kind);
    }
  };
  for (const char* const key : {"tokenizer.bos_token_id", "tokenizer.eos_token_id"}) {
    const auto ids = metadata.find(key);
    if (ids == metadata.end()) continue;
    if (ids->is_array()) {
      for (const Json& id : *ids) mark(id, token_kind::control);
    } else {
      mark(*ids, token_kind::control);
    }
  }
  if (const auto id = metadata.find("tokenizer.unknown_token_id"); id != metadata.end()) {
    const auto ends = metadata.find("tokenizer.eos_token_id");
    if (ends == metadata.end() || *ends != *id) mark(*id, token_kind::unknown);
  }
  return types;
}

/// Makes the lists of tokens as long as the embedding has rows: readers of GGUF take one for the other.
/// Throws bad_metadata where there are more tokens than rows.
template <class Json>
void complete_vocabulary(Json& metadata, std::uint64_t embedding_rows) {
  const auto found = metadata.find("tokenizer.vocabulary");
  if (found == metadata.end() || !found->is_array()) return;
  if (!metadata.contains("tokenizer.token_types")) {
    metadata["tokenizer.token_types"] = guess_token_types(metadata);
  }
  Json& vocabulary = metadata["tokenizer.vocabulary"];
  if (embedding_rows == 0) return;
  if (vocabulary.size() > embedding_rows) {
    refuse("tokenizer.vocabulary", join_text({vocabulary.size(), " tokens"}),
           join_text({"at most ", embedding_rows, ", as many as the embedding has rows"}));
  }
  Json& types = metadata["tokenizer.token_types"];
  const auto scores = metadata.find("tokenizer.scores");
  for (const auto& [list, key] :
       {std::pair<const Json*, const char*>{&types, "tokenizer.token_types"},
        {scores == metadata.end() ? nullptr : &*scores, "tokenizer.scores"}}) {
    if (list != nullptr && (!list->is_array() || list->size() != vocabulary.size())) {
      refuse(key, list->is_array() ? join_text({list->size(), " elements"}) : value_text(*list),
             join_text({"an array of ", vocabulary.size(), ", one a token"}));
    }
  }
  for (std::uint64_t id = vocabulary.size(); id < embedding_rows; ++id) {
    vocabulary.push_back(join_text({"[PAD", id, "]"}));
    types.push_back(static_cast<unsigned>(token_kind::unused));
    if (scores != metadata.end()) metadata["tokenizer.scores"].push_back(unused_score);
  }
}

/// What rope_scaling calls its way; empty where there is none.
template <class Json>
[[nodiscard]] std::string name_of_rotary_scaling(const Json& metadata) {
  const auto scaling = metadata.find("rope_scaling");
  if (scaling == metadata.end() || !scaling->is_object()) return {};
  for (const char* const key : {"rope_type", "type"}) {
    const auto name = scaling->find(key);
    if (name == scaling->end() || !name->is_string()) continue;
    const auto& text = name->template get_ref<const std::string&>();
    return text == "default" || text == "none" ? std::string() : text;
  }
  return {};
}

/// By how much longrope scales queries and keys: sqrt(1 + ln(context / original) / ln(original)). Nothing
/// where the metadata have another scaling, or do not say it. Source: conversion/phi.py in llama.cpp.
template <class Json>
[[nodiscard]] std::optional<double> long_rotary_factor(const Json& metadata) {
  const std::string name = name_of_rotary_scaling(metadata);
  if (name != "longrope" && name != "su") return std::nullopt;
  const auto count = [](const Json& in, const char* key) {
    const auto found = in.find(key);
    return found != in.end() && found->is_number() ? found->template get<double>() : 0.0;
  };
  const double context = count(metadata, "max_position_embeddings");
  double original = count(metadata, "original_max_position_embeddings");
  if (original == 0.0) original = count(metadata["rope_scaling"], "original_max_position_embeddings");
  if (!(original > 1.0) || !(context > 0.0)) return std::nullopt;
  if (context <= original) return 1.0;
  return std::sqrt(1.0 + std::log(context / original) / std::log(original));
}

/// Adds the keys of a rotary scaling. Throws unsupported_feature for one that GGUF has no way to say.
template <class Json>
void add_rotary_scaling(Json& metadata, mover<Json>& moved, std::string_view architecture) {
  const std::string name = name_of_rotary_scaling(metadata);
  if (name.empty()) return;
  const rotary_scaling_name* known = nullptr;
  for (const rotary_scaling_name& each : rotary_scalings) {
    if (each.name == name && is_for(each.architectures, architecture)) known = &each;
  }
  if (known == nullptr) {
    refuse("rope_scaling", join_text({"'", name, "'"}),
           join_text({"a scaling that GGUF has for ", architecture}), error_code::unsupported_feature);
  }
  const auto key = [&](std::string_view end) {
    return join_text({architecture, ".rope.scaling.", end});
  };
  const Json& scaling = metadata["rope_scaling"];
  const auto take = [&](const char* from, std::string_view to) {
    const auto found = scaling.find(from);
    if (found == scaling.end() || found->is_null()) return;
    const Json value = *found;
    metadata[key(to)] = value;
    moved.set_type(key(to), join_text({"rope_scaling.", from}));
  };
  if (known->is_in_keys) {
    metadata[key("type")] = name;
    take("factor", "factor");
    take("attention_factor", "attn_factor");
  }
  if (name == "llama3") return;
  take("original_max_position_embeddings", "original_context_length");
  if (const auto factor = long_rotary_factor(metadata)) {
    metadata[key("attn_factor")] = *factor;
    moved.set_type(key("attn_factor"), "rope_scaling");
  }
}

/// The number of the head's elements that turn by position.
template <class Json>
[[nodiscard]] std::optional<std::uint64_t> rotary_elements(const Json& metadata) {
  const auto head = metadata.find("head_dim");
  if (head == metadata.end() || !is_count(*head)) return std::nullopt;
  const auto elements = head->template get<std::uint64_t>();
  for (const Json* from :
       {&metadata, metadata.contains("rope_parameters") ? &metadata["rope_parameters"] : nullptr}) {
    if (from == nullptr || !from->is_object()) continue;
    const auto share = from->find("partial_rotary_factor");
    if (share == from->end() || !share->is_number()) continue;
    const auto part = share->template get<double>();
    if (!(part > 0.0) || part > 1.0) {
      refuse("partial_rotary_factor", share->dump(), "a number above 0, at most 1");
    }
    return static_cast<std::uint64_t>(static_cast<double>(elements) * part);
  }
  return elements;
}

/// Gives each id that ends a text a key. Ids of a message's end are told by their text.
template <class Json>
void name_end_tokens(Json& metadata, mover<Json>& moved) {
  const auto found = metadata.find("tokenizer.eos_token_id");
  if (found == metadata.end() || !found->is_array()) return;
  const Json ids = *found;
  moved.erase("tokenizer.eos_token_id");
  std::size_t used = 0;
  for (const Json& id : ids) {
    if (used == end_keys.size()) break;
    metadata[end_keys[used]] = id;
    moved.set_type(end_keys[used], "tokenizer.eos_token_id");
    ++used;
  }
}

}  // namespace metadata_names

/// Whether metadata are named as checkpoint folders and .apr files name them, of an architecture that has
/// a name in GGUF here.
template <class Json>
[[nodiscard]] bool has_gguf_architecture(const Json& metadata) {
  const auto name = metadata.find("architecture");
  return name != metadata.end() && name->is_string() && !metadata.contains("general.architecture") &&
         gguf_architecture(name->template get_ref<const std::string&>()).has_value();
}

/// .apr's flat metadata keys, which checkpoint folders have too, as readers of GGUF want them: keys by
/// metadata_names::rows, general.architecture, rope.dimension_count, the end tokens each under a key, tokens
/// completed to `embedding_rows` (0: not known), types of tokens guessed where there are none, whether a text
/// begins with a token (of SentencePiece it does unless the metadata deny it), and the types of all these
/// recorded under "nibble.gguf". A model without a tokenizer says so
/// (tokenizer.ggml.model is "no_vocab"). Keys that have no other name are kept.
///
/// Throws bad_metadata (the architecture is not known here, a key is missing or has a value of another
/// type, several tokens or rows disagree) and unsupported_feature (a pre-tokenizer without a name, a
/// scaling of rotary positions that GGUF cannot say); errors name the key and no file.
template <class Json>
[[nodiscard]] Json metadata_in_gguf(const Json& from, std::uint64_t embedding_rows = 0) {
  using namespace metadata_names;
  if (!has_gguf_architecture(from)) {
    refuse("architecture", from.contains("architecture") ? value_text(from["architecture"]) : "nothing",
           "an architecture whose names in GGUF are known");
  }
  const auto& called = from["architecture"].template get_ref<const std::string&>();
  const std::string architecture(gguf_architecture(called).value_or(""));
  Json metadata = from;
  mover<Json> moved(metadata);
  for (const auto& [key, value] : from.items()) {
    if (value.is_null()) moved.erase(key);
  }

  if (const auto pre = metadata.find("tokenizer.pre_tokenizer");
      pre != metadata.end() && *pre == "unknown") {
    refuse("tokenizer.pre_tokenizer", "one that is not known",
           "a pre-tokenizer that GGUF has a name for", error_code::unsupported_feature);
  }
  complete_vocabulary(metadata, embedding_rows);
  if (const auto model = metadata.find("tokenizer.model_type"); model != metadata.end()) {
    bool is_known = false;
    for (const tokenizer_name& each : tokenizers) {
      if (is_known || *model != each.flat) continue;
      *model = std::string(each.gguf);
      is_known = true;
    }
    if (!is_known) refuse("tokenizer.model_type", value_text(*model), "bpe, sentencepiece or unigram");
    // Readers differ in what they do where a file does not say it.
    if (!metadata.contains("tokenizer.add_bos_token")) {
      metadata["tokenizer.add_bos_token"] =
          *model == "llama" && metadata.contains("tokenizer.bos_token_id");
    }
  }
  name_end_tokens(metadata, moved);
  const auto turning = rotary_elements(metadata);
  add_rotary_scaling(metadata, moved, architecture);

  for (const row& each : rows) {
    if (!is_for(each.architectures, architecture)) continue;
    const std::string flat(each.flat);
    const std::string key = gguf_key(each, architecture);
    const auto value = metadata.find(flat);
    if (value == metadata.end()) {
      // Another row has taken it already.
      if (!from.contains(flat) || from[flat].is_null()) {
        if (each.is_needed) refuse(flat, "nothing", join_text({"a value for ", key}));
      } else if (flat == "head_dim") {
        metadata[key] = from[flat];
        moved.set_type(key, flat);
      }
      continue;
    }
    // Readers of GGUF take texts here, and nothing else.
    if (key.starts_with("general.") && !value->is_string()) continue;
    moved.move(flat, key);
    moved.set_type(key, flat);
  }
  if (!from.contains("rms_norm_eps") && !from.contains("layer_norm_epsilon")) {
    refuse("rms_norm_eps", "nothing", "it, or layer_norm_epsilon");
  }
  if (turning && architecture != "gpt2") {
    const std::string key = architecture + ".rope.dimension_count";
    metadata[key] = *turning;
    moved.set_type(key, "head_dim");
  }
  // Which elements turn together is the architecture's in GGUF.
  moved.erase("rope_type");
  if (!metadata.contains("tokenizer.ggml.model")) metadata["tokenizer.ggml.model"] = "no_vocab";
  moved.erase("architecture");
  metadata["general.architecture"] = architecture;
  moved.finish();
  return metadata;
}

/// Whether metadata are GGUF's, of an architecture that is known here.
template <class Json>
[[nodiscard]] bool has_hugging_face_architecture(const Json& metadata) {
  const auto name = metadata.find("general.architecture");
  return name != metadata.end() && name->is_string() &&
         gguf_architecture(name->template get_ref<const std::string&>()).has_value();
}

/// The way back of metadata_in_gguf(): GGUF's keys as .apr's flat ones. Keys that have no other name are
/// kept. Throws bad_metadata where the architecture is not known here.
template <class Json>
[[nodiscard]] Json metadata_in_hugging_face(const Json& from) {
  using namespace metadata_names;
  if (!has_hugging_face_architecture(from)) {
    refuse("general.architecture",
           from.contains("general.architecture") ? value_text(from["general.architecture"]) : "nothing",
           "an architecture whose names are known");
  }
  const auto& architecture = from["general.architecture"].template get_ref<const std::string&>();
  Json metadata = from;
  mover<Json> moved(metadata);
  // What was text because GGUF has no objects is one again.
  if (const auto scaling = metadata.find("rope_scaling");
      scaling != metadata.end() && scaling->is_string()) {
    Json parsed = Json::parse(scaling->template get_ref<const std::string&>(), nullptr, false);
    if (parsed.is_object()) *scaling = std::move(parsed);
  }
  Json ends = Json::array();
  for (const char* const key : end_keys) {
    const auto id = metadata.find(key);
    if (id == metadata.end()) continue;
    if (std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(*id);
    moved.erase(key);
  }
  if (!ends.empty()) metadata["tokenizer.eos_token_id"] = ends.size() == 1 ? ends[0] : ends;

  for (const row& each : rows) {
    if (!is_for(each.architectures, architecture)) continue;
    const std::string flat(each.flat);
    const std::string key = gguf_key(each, architecture);
    const auto found = metadata.find(key);
    if (found == metadata.end()) continue;
    if (!metadata.contains(flat)) {
      moved.move(key, flat);
    } else if (metadata[flat] == *found) {
      moved.erase(key);
    }
  }
  if (const auto model = metadata.find("tokenizer.model_type"); model != metadata.end()) {
    for (const tokenizer_name& each : tokenizers) {
      if (*model != each.gguf) continue;
      *model = std::string(each.flat);
      break;
    }
    if (*model == "no_vocab" || *model == "none") moved.erase("tokenizer.model_type");
  }

  const std::string turning = architecture + ".rope.dimension_count";
  if (const auto found = metadata.find(turning); found != metadata.end() && is_count(*found)) {
    if (!metadata.contains("head_dim") && metadata.contains("hidden_size") &&
        metadata.contains("num_heads") && is_count(metadata["hidden_size"]) &&
        is_count(metadata["num_heads"]) && metadata["num_heads"] != 0) {
      metadata["head_dim"] = metadata["hidden_size"].template get<std::uint64_t>() /
                             metadata["num_heads"].template get<std::uint64_t>();
    }
    const auto head = metadata.find("head_dim");
    if (head != metadata.end() && is_count(*head) && *head != 0 && *head != *found &&
        !metadata.contains("partial_rotary_factor")) {
      metadata["partial_rotary_factor"] = found->template get<double>() / head->template get<double>();
    }
    moved.erase(turning);
  }
  const std::string scaling = architecture + ".rope.scaling.";
  if (metadata.contains(scaling + "type") && metadata[scaling + "type"].is_string()) {
    if (!metadata.contains("rope_scaling") && metadata[scaling + "type"] != "none") {
      Json& object = metadata["rope_scaling"] = Json::object();
      object["rope_type"] = metadata[scaling + "type"];
      for (const auto& [end, name] :
           {std::pair("factor", "factor"),
            {"attn_factor", "attention_factor"},
            {"original_context_length", "original_max_position_embeddings"}}) {
        if (metadata.contains(scaling + end)) object[name] = metadata[scaling + end];
      }
    }
    for (const char* const end : {"type", "factor", "attn_factor", "original_context_length"}) {
      moved.erase(scaling + end);
    }
  }
  const bool has_experts = metadata.contains("num_local_experts") && metadata["num_local_experts"] != 0;
  std::string called = architecture;
  for (const naming_table::architecture& each : naming_table::architectures) {
    if (each.gguf != architecture) continue;
    called = each.hugging_face;
    break;
  }
  if (architecture == "llama" && has_experts) called = "mixtral";
  if (architecture != "gpt2") metadata["rope_type"] = 2U;
  moved.erase("general.architecture");
  metadata["architecture"] = called;
  moved.finish();
  return metadata;
}

}  // namespace nibble
