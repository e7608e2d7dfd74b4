#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace nibble {

/// A convention of tensor names.
enum class naming : unsigned char {
  hugging_face,  ///< model.layers.0.self_attn.q_proj.weight, as the architecture's class saves it
  gguf           ///< blk.0.attn_q.weight
};

namespace naming_table {

/// Groups of names that architectures share, and of rules by which their weights differ; an architecture
/// has several.
enum group : unsigned {
  decoder = 1U << 0U,      ///< model.embed_tokens, model.layers, model.norm
  split_qkv = 1U << 1U,    ///< q_proj, k_proj, v_proj
  fused_qkv = 1U << 2U,    ///< qkv_proj
  norm_before = 1U << 3U,  ///< post_attention_layernorm is the norm in front of the feed-forward part
  norm_around = 1U << 4U,  ///< norms in front of and behind each part
  gated = 1U << 5U,        ///< gate_proj, up_proj, down_proj
  fused_gate = 1U << 6U,   ///< gate_up_proj, down_proj
  ungated = 1U << 7U,      ///< c_fc, c_proj under model.layers
  mixtral_experts = 1U << 8U,  ///< block_sparse_moe
  mlp_experts = 1U << 9U,      ///< mlp.experts, mlp.shared_expert
  gpt2 = 1U << 10U,            ///< transformer.h with attn and mlp
  falcon = 1U << 11U,          ///< transformer.h with self_attention
  adjacent_pairs = 1U << 12U,  ///< no names: in GGUF neighbours turn together, not halves of a head
  gains_less_one = 1U << 13U,  ///< no names: Hugging Face's norms hold their gains less 1
  llama_like = decoder | split_qkv | norm_before | gated
};

/// An architecture under Hugging Face's name of it (model_type) and GGUF's (general.architecture).
struct architecture {
  std::string_view hugging_face;  ///< model_type
  std::string_view gguf;          ///< general.architecture
  unsigned groups;                ///< of names that it has
};

/// One row an architecture.
inline constexpr auto architectures = std::to_array<architecture>({
    {"llama", "llama", llama_like | mixtral_experts | adjacent_pairs},
    {"mistral", "llama", llama_like | adjacent_pairs},
    {"mixtral", "llama", decoder | split_qkv | norm_before | mixtral_experts | adjacent_pairs},
    {"qwen2", "qwen2", llama_like},
    {"qwen3", "qwen3", llama_like},
    {"qwen2_moe", "qwen2moe", llama_like | mlp_experts},
    {"qwen3_moe", "qwen3moe", llama_like | mlp_experts},
    {"granite", "granite", llama_like | adjacent_pairs},
    {"smollm3", "smollm3", llama_like | adjacent_pairs},
    {"olmo2", "olmo2", decoder | split_qkv | norm_around | gated},
    {"gemma", "gemma", llama_like | gains_less_one},
    {"gemma2", "gemma2", decoder | split_qkv | norm_around | gated | gains_less_one},
    {"gemma3_text", "gemma3", decoder | split_qkv | norm_around | gated | gains_less_one},
    {"gemma3", "gemma3", decoder | split_qkv | norm_around | gated | gains_less_one},
    {"phi3", "phi3", decoder | fused_qkv | norm_before | fused_gate},
    {"starcoder2", "starcoder2", decoder | split_qkv | norm_before | ungated},
    {"gpt2", "gpt2", gpt2},
    {"falcon", "falcon", falcon},
});

/// A tensor's two names without ".weight" or ".bias"; {} stands for the number of the layer.
struct row {
  std::string_view gguf;          ///< without the number of the layer
  std::string_view hugging_face;  ///< the same
  unsigned groups;                ///< the names are those of architectures that have one of these
};

/// One row a name. Experts are stacked to one tensor with a further first dimension, under the name that
/// a single expert has without its number. Where an architecture has two rows for one name, the first
/// one is what it is renamed to.
inline constexpr auto rows = std::to_array<row>({
    {"token_embd", "model.embed_tokens", decoder},
    {"token_embd", "transformer.wte", gpt2},
    {"token_embd", "transformer.word_embeddings", falcon},
    {"position_embd", "transformer.wpe", gpt2},
    {"output_norm", "model.norm", decoder},
    {"output_norm", "transformer.ln_f", gpt2 | falcon},
    {"output", "lm_head", decoder | gpt2 | falcon},

    {"blk.{}.attn_norm", "model.layers.{}.input_layernorm", decoder},
    {"blk.{}.attn_norm", "transformer.h.{}.ln_1", gpt2},
    {"blk.{}.attn_norm", "transformer.h.{}.input_layernorm", falcon},
    {"blk.{}.attn_norm", "transformer.h.{}.ln_mlp", falcon},
    {"blk.{}.attn_norm_2", "transformer.h.{}.ln_attn", falcon},
    {"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", split_qkv},
    {"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", split_qkv},
    {"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj", split_qkv},
    {"blk.{}.attn_qkv", "model.layers.{}.self_attn.qkv_proj", fused_qkv},
    {"blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", gpt2},
    {"blk.{}.attn_qkv", "transformer.h.{}.self_attention.query_key_value", falcon},
    {"blk.{}.attn_q_norm", "model.layers.{}.self_attn.q_norm", split_qkv},
    {"blk.{}.attn_k_norm", "model.layers.{}.self_attn.k_norm", split_qkv},
    {"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj", decoder},
    {"blk.{}.attn_output", "transformer.h.{}.attn.c_proj", gpt2},
    {"blk.{}.attn_output", "transformer.h.{}.self_attention.dense", falcon},

    {"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm", norm_before},
    {"blk.{}.ffn_norm", "transformer.h.{}.ln_2", gpt2},
    {"blk.{}.post_attention_norm", "model.layers.{}.post_attention_layernorm", norm_around},
    {"blk.{}.ffn_norm", "model.layers.{}.pre_feedforward_layernorm", norm_around},
    {"blk.{}.post_ffw_norm", "model.layers.{}.post_feedforward_layernorm", norm_around},
    {"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj", gated},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj", gated},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.gate_up_proj", fused_gate},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.c_fc", ungated},
    {"blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", gpt2},
    {"blk.{}.ffn_up", "transformer.h.{}.mlp.dense_h_to_4h", falcon},
    {"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj", gated | fused_gate},
    {"blk.{}.ffn_down", "model.layers.{}.mlp.c_proj", ungated},
    {"blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", gpt2},
    {"blk.{}.ffn_down", "transformer.h.{}.mlp.dense_4h_to_h", falcon},

    {"blk.{}.ffn_gate_inp", "model.layers.{}.block_sparse_moe.gate", mixtral_experts},
    {"blk.{}.ffn_gate_exps", "model.layers.{}.block_sparse_moe.experts.w1", mixtral_experts},
    {"blk.{}.ffn_down_exps", "model.layers.{}.block_sparse_moe.experts.w2", mixtral_experts},
    {"blk.{}.ffn_up_exps", "model.layers.{}.block_sparse_moe.experts.w3", mixtral_experts},
    {"blk.{}.ffn_gate_inp", "model.layers.{}.mlp.gate", mlp_experts},
    {"blk.{}.ffn_gate_exps", "model.layers.{}.mlp.experts.gate_proj", mlp_experts},
    {"blk.{}.ffn_down_exps", "model.layers.{}.mlp.experts.down_proj", mlp_experts},
    {"blk.{}.ffn_up_exps", "model.layers.{}.mlp.experts.up_proj", mlp_experts},
    {"blk.{}.ffn_gate_inp_shexp", "model.layers.{}.mlp.shared_expert_gate", mlp_experts},
    {"blk.{}.ffn_gate_shexp", "model.layers.{}.mlp.shared_expert.gate_proj", mlp_experts},
    {"blk.{}.ffn_down_shexp", "model.layers.{}.mlp.shared_expert.down_proj", mlp_experts},
    {"blk.{}.ffn_up_shexp", "model.layers.{}.mlp.shared_expert.up_proj", mlp_experts},
});

/// Prefixes that models of text inside larger ones put in front, and what stands there otherwise.
struct prefix {
  std::string_view found;  ///< in front of names in a file
  std::string_view meant;  ///< what stands in the table instead
};
inline constexpr auto prefixes = std::to_array<prefix>({
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.lm_head.", "lm_head."},
});

/// The end of the name of a tensor that Hugging Face's classes save and compute themselves.
struct buffer {
  std::string_view end;  ///< of the name
  unsigned groups;       ///< of architectures whose classes save it
};
/// One row a name's end.
inline constexpr auto buffers = std::to_array<buffer>({
    {".rotary_emb.inv_freq", decoder | falcon},
    {".attn.bias", gpt2},
    {".attn.masked_bias", gpt2},
});

/// The row of an architecture, under either name of it.
[[nodiscard]] constexpr const architecture* find_architecture(std::string_view name) noexcept {
  for (const architecture& each : architectures) {
    if (each.hugging_face == name) return &each;
  }
  for (const architecture& each : architectures) {
    if (each.gguf == name) return &each;
  }
  return nullptr;
}

/// The number of the layer in `name` where it is `pattern` with one; empty where the pattern has none
/// and is the name; nothing where they differ.
[[nodiscard]] constexpr std::optional<std::string_view> match(std::string_view pattern,
                                                              std::string_view name) noexcept {
  const std::size_t at = pattern.find("{}");
  if (at == std::string_view::npos) {
    return pattern == name ? std::optional(std::string_view()) : std::nullopt;
  }
  const std::string_view after = pattern.substr(at + 2);
  if (name.size() <= at + after.size() || !name.starts_with(pattern.substr(0, at)) ||
      !name.ends_with(after)) {
    return std::nullopt;
  }
  const std::string_view layer = name.substr(at, name.size() - at - after.size());
  if (layer.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return layer;
}

/// `pattern` with the number of the layer.
[[nodiscard]] inline std::string fill(std::string_view pattern, std::string_view layer) {
  std::string text(pattern);
  if (const std::size_t at = text.find("{}"); at != std::string::npos) text.replace(at, 2, layer);
  return text;
}

}  // namespace naming_table

/// GGUF's name (general.architecture) of an architecture that Hugging Face (model_type) or GGUF names;
/// nothing for one whose tensor names are not known here. mistral and mixtral are llama in GGUF.
[[nodiscard]] constexpr std::optional<std::string_view> gguf_architecture(
    std::string_view architecture) noexcept {
  const naming_table::architecture* const known = naming_table::find_architecture(architecture);
  return known == nullptr ? std::nullopt : std::optional(known->gguf);
}

/// Whether a tensor holds what Hugging Face's class of the architecture computes itself (angles of rotary
/// positions, GPT-2's mask): no weight, and with no name in GGUF.
[[nodiscard]] constexpr bool is_buffer(std::string_view architecture, std::string_view name) noexcept {
  const naming_table::architecture* const known = naming_table::find_architecture(architecture);
  for (const naming_table::buffer& each : naming_table::buffers) {
    if (known != nullptr && (known->groups & each.groups) != 0 && name.ends_with(each.end)) return true;
  }
  return false;
}

/// A tensor's name in another convention. `architecture` is Hugging Face's (model_type) or GGUF's
/// (general.architecture) name of it. A name that is of that convention already is returned, written in
/// full: Hugging Face's names are known with and without the prefix of the model's class ("model.",
/// "transformer."), and with those of text models in larger ones ("language_model.model.",
/// "model.language_model."), and given with the class's own.
///
/// Nothing where the architecture is not known here or has no such name in that convention: buffers that
/// Hugging Face's classes save (rotary_emb.inv_freq, GPT-2's attn.bias of no projection), GGUF's
/// rope_freqs, tensors of quantization schemes, a single expert.
///
/// Source of the names: gguf-py's tensor_mapping.py and constants.py in llama.cpp; the classes'
/// modeling files in Hugging Face's transformers.
[[nodiscard]] inline std::optional<std::string> renamed_tensor(std::string_view architecture,
                                                               std::string_view name, naming to) {
  const naming_table::architecture* const known = naming_table::find_architecture(architecture);
  if (known == nullptr) return std::nullopt;

  std::string full(name);
  for (const naming_table::prefix& each : naming_table::prefixes) {
    if (full.starts_with(each.found)) full.replace(0, each.found.size(), each.meant);
  }
  std::string_view suffix;
  for (const std::string_view each : {".weight", ".bias"}) {
    if (name.ends_with(each)) suffix = each;
  }
  if (suffix.empty()) return std::nullopt;
  const std::string_view stem = std::string_view(full).substr(0, full.size() - suffix.size());

  constexpr std::string_view no_prefix;
  for (const naming_table::row& row : naming_table::rows) {
    if ((row.groups & known->groups) == 0) continue;
    auto layer = naming_table::match(row.gguf, stem);
    for (const std::string_view before :
         {no_prefix, std::string_view("model."), std::string_view("transformer.")}) {
      if (layer || !row.hugging_face.starts_with(before)) continue;
      layer = naming_table::match(row.hugging_face.substr(before.size()), stem);
    }
    if (!layer) continue;
    return naming_table::fill(to == naming::gguf ? row.gguf : row.hugging_face, *layer).append(suffix);
  }
  return std::nullopt;
}

}  // namespace nibble
