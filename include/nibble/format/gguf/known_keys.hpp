#pragma once

#include <array>
#include <optional>
#include <string_view>

#include <nibble/format/gguf/value_kind.hpp>

namespace nibble::gguf {

/// A key that programs which read GGUF ask for with one type, and refuse with another.
struct known_key {
  /// Whole; of an architecture's own keys (llama.block_count) what follows its name.
  std::string_view name;
  bool is_of_architecture;  ///< whether an architecture's name and a dot stand before it
  value_type type;          ///< of the value, or of the elements where it is an array
  bool is_array = false;    ///< whether the value is an array
};

/// The keys of GGUF's description (ggml docs/gguf.md) and of llama.cpp's loader, with the types that
/// llama.cpp reads them as.
inline constexpr std::array known_keys{
    known_key{"general.alignment", false, value_type::u32},
    known_key{"general.architecture", false, value_type::string},
    known_key{"general.author", false, value_type::string},
    known_key{"general.basename", false, value_type::string},
    known_key{"general.description", false, value_type::string},
    known_key{"general.file_type", false, value_type::u32},
    known_key{"general.finetune", false, value_type::string},
    known_key{"general.languages", false, value_type::string, true},
    known_key{"general.license", false, value_type::string},
    known_key{"general.name", false, value_type::string},
    known_key{"general.organization", false, value_type::string},
    known_key{"general.quantization_version", false, value_type::u32},
    known_key{"general.quantized_by", false, value_type::string},
    known_key{"general.size_label", false, value_type::string},
    known_key{"general.tags", false, value_type::string, true},
    known_key{"general.type", false, value_type::string},
    known_key{"general.url", false, value_type::string},
    known_key{"general.version", false, value_type::string},
    known_key{"imatrix.chunk_count", false, value_type::u32},
    known_key{"imatrix.chunk_size", false, value_type::u32},
    known_key{"imatrix.datasets", false, value_type::string, true},
    known_key{"tokenizer.chat_template", false, value_type::string},
    known_key{"tokenizer.ggml.add_bos_token", false, value_type::boolean},
    known_key{"tokenizer.ggml.add_eos_token", false, value_type::boolean},
    known_key{"tokenizer.ggml.add_space_prefix", false, value_type::boolean},
    known_key{"tokenizer.ggml.bos_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.eos_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.eot_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.eom_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.mask_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.merges", false, value_type::string, true},
    known_key{"tokenizer.ggml.model", false, value_type::string},
    known_key{"tokenizer.ggml.padding_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.pre", false, value_type::string},
    known_key{"tokenizer.ggml.scores", false, value_type::f32, true},
    known_key{"tokenizer.ggml.seperator_token_id", false, value_type::u32},
    known_key{"tokenizer.ggml.token_type", false, value_type::i32, true},
    known_key{"tokenizer.ggml.token_type_count", false, value_type::u32},
    known_key{"tokenizer.ggml.tokens", false, value_type::string, true},
    known_key{"tokenizer.ggml.unknown_token_id", false, value_type::u32},
    known_key{"attention.causal", true, value_type::boolean},
    known_key{"attention.clamp_kqv", true, value_type::f32},
    known_key{"attention.group_norm_epsilon", true, value_type::f32},
    known_key{"attention.head_count", true, value_type::u32},
    known_key{"attention.head_count_kv", true, value_type::u32},
    known_key{"attention.key_length", true, value_type::u32},
    known_key{"attention.layer_norm_epsilon", true, value_type::f32},
    known_key{"attention.layer_norm_rms_epsilon", true, value_type::f32},
    known_key{"attention.max_alibi_bias", true, value_type::f32},
    known_key{"attention.scale", true, value_type::f32},
    known_key{"attention.sliding_window", true, value_type::u32},
    known_key{"attention.value_length", true, value_type::u32},
    known_key{"attn_logit_softcapping", true, value_type::f32},
    known_key{"block_count", true, value_type::u32},
    known_key{"context_length", true, value_type::u32},
    known_key{"embedding_length", true, value_type::u32},
    known_key{"embedding_scale", true, value_type::f32},
    known_key{"expert_count", true, value_type::u32},
    known_key{"expert_feed_forward_length", true, value_type::u32},
    known_key{"expert_shared_feed_forward_length", true, value_type::u32},
    known_key{"expert_used_count", true, value_type::u32},
    known_key{"expert_weights_norm", true, value_type::boolean},
    known_key{"expert_weights_scale", true, value_type::f32},
    known_key{"feed_forward_length", true, value_type::u32},
    known_key{"final_logit_softcapping", true, value_type::f32},
    known_key{"leading_dense_block_count", true, value_type::u32},
    known_key{"logit_scale", true, value_type::f32},
    known_key{"pooling_type", true, value_type::u32},
    known_key{"residual_scale", true, value_type::f32},
    known_key{"rope.dimension_count", true, value_type::u32},
    known_key{"rope.freq_base", true, value_type::f32},
    known_key{"rope.freq_base_swa", true, value_type::f32},
    known_key{"rope.scale_linear", true, value_type::f32},
    known_key{"rope.scaling.attn_factor", true, value_type::f32},
    known_key{"rope.scaling.factor", true, value_type::f32},
    known_key{"rope.scaling.finetuned", true, value_type::boolean},
    known_key{"rope.scaling.original_context_length", true, value_type::u32},
    known_key{"rope.scaling.type", true, value_type::string},
    known_key{"use_parallel_residual", true, value_type::boolean},
    known_key{"vocab_size", true, value_type::u32},
};

/// The kind that programs expect of a key; nothing for a key that is not in the table.
[[nodiscard]] inline std::optional<value_kind> known_kind(std::string_view key) {
  const std::size_t point = key.find('.');
  const std::string_view of_architecture =
      point == std::string_view::npos ? std::string_view() : key.substr(point + 1);
  for (const known_key& known : known_keys) {
    if (known.name != (known.is_of_architecture ? of_architecture : key)) continue;
    if (known.is_array) return value_kind{value_type::array, {{known.type, {}}}};
    return value_kind{known.type, {}};
  }
  return std::nullopt;
}

}  // namespace nibble::gguf
