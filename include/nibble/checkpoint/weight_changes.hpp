#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include <nibble/checkpoint/tensor_names.hpp>

namespace nibble {

/// What becomes of a weight's values when it takes GGUF's name for Hugging Face's.
enum class weight_change : unsigned char {
  none,              ///< nothing
  query_head_rows,   ///< rows of q: elements that turn together become neighbours
  key_head_rows,     ///< rows of k: the same
  fused_group_rows,  ///< rows of q, k and v in one: groups become parts
  transposed,        ///< [inputs, outputs] becomes [outputs, inputs]
  one_added          ///< 1 is added to every value
};

namespace weight_change_table {

/// A weight by GGUF's name without ".weight" or ".bias", and what becomes of it.
struct row {
  std::string_view gguf;  ///< {} stands for the number of the layer
  weight_change change;
  unsigned groups;  ///< of architectures (naming_table::group)
};

/// One row a weight. Source: modify_tensors in llama.cpp's conversion/llama.py, falcon.py, gpt2.py and
/// gemma.py.
inline constexpr auto rows = std::to_array<row>({
    {"blk.{}.attn_q", weight_change::query_head_rows, naming_table::adjacent_pairs},
    {"blk.{}.attn_k", weight_change::key_head_rows, naming_table::adjacent_pairs},
    {"blk.{}.attn_qkv", weight_change::fused_group_rows, naming_table::falcon},
    {"blk.{}.attn_qkv", weight_change::transposed, naming_table::gpt2},
    {"blk.{}.attn_output", weight_change::transposed, naming_table::gpt2},
    {"blk.{}.ffn_up", weight_change::transposed, naming_table::gpt2},
    {"blk.{}.ffn_down", weight_change::transposed, naming_table::gpt2},
    {"blk.{}.attn_norm", weight_change::one_added, naming_table::gains_less_one},
    {"blk.{}.attn_q_norm", weight_change::one_added, naming_table::gains_less_one},
    {"blk.{}.attn_k_norm", weight_change::one_added, naming_table::gains_less_one},
    {"blk.{}.post_attention_norm", weight_change::one_added, naming_table::gains_less_one},
    {"blk.{}.ffn_norm", weight_change::one_added, naming_table::gains_less_one},
    {"blk.{}.post_ffw_norm", weight_change::one_added, naming_table::gains_less_one},
    {"output_norm", weight_change::one_added, naming_table::gains_less_one},
});

/// Weights that readers of GGUF take as f32 alone, beside all vectors. Source: prepare_tensors in
/// llama.cpp's conversion/base.py.
inline constexpr auto float_rows = std::to_array<std::string_view>({
    "position_embd",
    "blk.{}.ffn_gate_inp",
    "blk.{}.ffn_gate_inp_shexp",
});

/// A tensor's name without ".weight" or ".bias"; empty where it ends with neither.
[[nodiscard]] constexpr std::string_view stem_of(std::string_view name) noexcept {
  for (const std::string_view suffix : {std::string_view(".weight"), std::string_view(".bias")}) {
    if (name.ends_with(suffix)) return name.substr(0, name.size() - suffix.size());
  }
  return {};
}

}  // namespace weight_change_table

/// What becomes of the weight that GGUF calls `gguf_name`, in an architecture under either name of it.
[[nodiscard]] constexpr weight_change change_of_weight(std::string_view architecture,
                                                       std::string_view gguf_name) noexcept {
  const naming_table::architecture* const known = naming_table::find_architecture(architecture);
  if (known == nullptr) return weight_change::none;
  const std::string_view stem = weight_change_table::stem_of(gguf_name);
  for (const weight_change_table::row& each : weight_change_table::rows) {
    if ((each.groups & known->groups) != 0 && naming_table::match(each.gguf, stem)) return each.change;
  }
  return weight_change::none;
}

/// Whether readers of GGUF take a matrix of that name as f32 alone.
[[nodiscard]] constexpr bool is_read_as_f32(std::string_view gguf_name) noexcept {
  const std::string_view stem = weight_change_table::stem_of(gguf_name);
  for (const std::string_view each : weight_change_table::float_rows) {
    if (naming_table::match(each, stem)) return true;
  }
  return false;
}

}  // namespace nibble
