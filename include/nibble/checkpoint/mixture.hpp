#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/encoding.hpp>

namespace nibble {

/// A choice of an encoding for every tensor of a model, under llama-quantize's name of it in lower case:
/// most of the model in one encoding, what errors hurt more in another.
struct mixture {
  std::string_view name;
  encoding most;            ///< of the tensors that no rule names
  std::uint32_t file_type;  ///< llama.cpp's number of it, in general.file_type
};

/// One row a mixture. Source: llama_ftype_get_default_type() in llama.cpp's llama-quant.cpp and
/// llama_ftype in llama.h.
inline constexpr std::array mixtures{
    mixture{"q2_k", encoding::q2_k, 10},   mixture{"q3_k_s", encoding::q3_k, 11},
    mixture{"q3_k_m", encoding::q3_k, 12}, mixture{"q3_k_l", encoding::q3_k, 13},
    mixture{"q4_0", encoding::q4_0, 2},    mixture{"q4_1", encoding::q4_1, 3},
    mixture{"q4_k_s", encoding::q4_k, 14}, mixture{"q4_k_m", encoding::q4_k, 15},
    mixture{"q5_0", encoding::q5_0, 8},    mixture{"q5_1", encoding::q5_1, 9},
    mixture{"q5_k_s", encoding::q5_k, 16}, mixture{"q5_k_m", encoding::q5_k, 17},
    mixture{"q6_k", encoding::q6_k, 18},   mixture{"q8_0", encoding::q8_0, 7},
};

/// The mixture of a name, or null.
[[nodiscard]] constexpr const mixture* find_mixture(std::string_view name) noexcept {
  for (const mixture& each : mixtures) {
    if (each.name == name) return &each;
  }
  return nullptr;
}

/// What a mixture looks at in a model.
struct mixture_model {
  std::string_view architecture{};  ///< GGUF's name of it, general.architecture
  std::uint64_t layers = 0;
  std::uint64_t heads = 0;            ///< of the attention's queries
  std::uint64_t key_value_heads = 0;  ///< of its keys and values
  std::uint64_t experts = 0;          ///< 0 or 1: none
};

/// A tensor that a mixture chooses an encoding for.
struct mixture_tensor {
  std::string_view name;       ///< GGUF's, such as blk.0.attn_q.weight
  std::size_t rank;            ///< number of dimensions
  std::uint64_t row_elements;  ///< size of the innermost one
};

namespace mixture_rules {

/// Kinds of tensors that the rules tell apart.
enum class kind : unsigned char {
  output,
  token_embedding,
  attention_value,  ///< alone or fused with query and key
  attention_key,
  attention_query,
  attention_output,
  feed_forward_up,
  feed_forward_gate,
  feed_forward_down,
  other
};

/// A part of a tensor's name and the kind that it tells; the first row that fits counts.
struct name_part {
  std::string_view text;
  kind of;
};
inline constexpr auto name_parts = std::to_array<name_part>({
    {"attn_qkv.weight", kind::attention_value},
    {"attn_kv_b.weight", kind::attention_value},
    {"attn_v.weight", kind::attention_value},
    {"attn_k.weight", kind::attention_key},
    {"attn_q.weight", kind::attention_query},
    {"attn_output.weight", kind::attention_output},
    {"ffn_up", kind::feed_forward_up},
    {"ffn_gate", kind::feed_forward_gate},
    {"ffn_down", kind::feed_forward_down},
});

[[nodiscard]] constexpr bool contains(std::string_view text, std::string_view part) noexcept {
  return text.find(part) != std::string_view::npos;
}

[[nodiscard]] constexpr kind kind_of(std::string_view name) noexcept {
  if (name == "output.weight") return kind::output;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") {
    return kind::token_embedding;
  }
  for (const name_part& each : name_parts) {
    if (contains(name, each.text)) return each.of;
  }
  return kind::other;
}

/// Parts of names of matrices that are small or hurt by packing: they are left alone.
inline constexpr auto left_alone = std::to_array<std::string_view>({
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    "position_embd",
    "token_types.weight",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
});

[[nodiscard]] inline bool is_packed(const mixture_tensor& tensor) noexcept {
  if (tensor.rank < 2 || !tensor.name.ends_with("weight")) return false;
  return std::none_of(left_alone.begin(), left_alone.end(),
                      [&](std::string_view part) { return contains(tensor.name, part); });
}

/// The number of the layer in "blk.N.", or nothing.
[[nodiscard]] inline std::optional<std::uint64_t> layer_of(std::string_view name) noexcept {
  constexpr std::string_view before = "blk.";
  if (!name.starts_with(before)) return std::nullopt;
  std::uint64_t layer = 0;
  const char* const end = name.data() + name.size();
  const auto [stop, problem] = std::from_chars(name.data() + before.size(), end, layer);
  if (problem != std::errc() || stop == end || *stop != '.') return std::nullopt;
  return layer;
}

/// Whether place `at` of `count` is in the first or last eighth or every third between.
[[nodiscard]] constexpr bool is_worth_more_bits(std::uint64_t at, std::uint64_t count) noexcept {
  return at < count / 8 || at >= 7 * count / 8 || (at - count / 8) % 3 == 2;
}

/// Goes through a model's tensors in llama-quantize's order and chooses.
class chooser {
 public:
  chooser(const mixture& mix, const mixture_model& model, std::span<const mixture_tensor> tensors)
      : mix_(mix), model_(model) {
    for (const mixture_tensor& tensor : tensors) {
      const kind of = kind_of(tensor.name);
      if (of == kind::attention_value) ++attention_values_;
      if (of == kind::output) has_output_ = true;
    }
  }

  [[nodiscard]] encoding choose(const mixture_tensor& tensor) {
    const kind of = kind_of(tensor.name);
    const bool is_output = of == kind::output || (of == kind::token_embedding && !has_output_);
    switch (is_output ? kind::output : of) {
      case kind::output: return of_output(tensor);
      case kind::attention_value: return of_attention_value();
      case kind::attention_key: return model_.experts == 8 ? encoding::q8_0 : mix_.most;
      case kind::attention_output: return of_attention_output();
      case kind::feed_forward_down: return of_feed_forward_down(tensor);
      default: return mix_.most;
    }
  }

 private:
  [[nodiscard]] bool is(std::string_view name) const noexcept { return mix_.name == name; }
  [[nodiscard]] bool is_falcon() const noexcept { return model_.architecture == "falcon"; }
  /// Several query heads share a key and a value: so these have fewer weights.
  [[nodiscard]] bool shares_values() const noexcept {
    return model_.key_value_heads != 0 && model_.heads / model_.key_value_heads >= 4;
  }
  /// llama.cpp's LLM_TYPE_70B.
  [[nodiscard]] bool is_70b() const noexcept {
    return model_.layers == 80 &&
           (model_.architecture == "qwen2" ||
            (model_.architecture == "llama" && model_.heads != model_.key_value_heads));
  }

  [[nodiscard]] encoding of_output(const mixture_tensor& tensor) const noexcept {
    if (is_falcon() || tensor.row_elements % describe(mix_.most).block_elements != 0) {
      return encoding::q8_0;
    }
    return mix_.most == encoding::q8_0 ? encoding::q8_0 : encoding::q6_k;
  }

  [[nodiscard]] encoding of_attention_value() noexcept {
    const std::uint64_t at = attention_value_++;
    encoding chosen = mix_.most;
    if (is("q2_k")) {
      chosen = shares_values() ? encoding::q4_k : encoding::q3_k;
    } else if (is("q3_k_m")) {
      chosen = at < 2 ? encoding::q5_k : encoding::q4_k;
    } else if (is("q3_k_l") || (is("q4_k_s") && at < 4)) {
      chosen = encoding::q5_k;
    } else if ((is("q4_k_m") || is("q5_k_m")) && is_worth_more_bits(at, attention_values_)) {
      chosen = encoding::q6_k;
    }
    if (is_70b() && (chosen == encoding::q3_k || chosen == encoding::q4_k)) chosen = encoding::q5_k;
    return model_.experts == 8 ? encoding::q8_0 : chosen;
  }

  [[nodiscard]] encoding of_attention_output() const noexcept {
    if (is_falcon()) return is("q3_k_l") ? encoding::q4_k : mix_.most;
    if (model_.experts == 8) {
      const bool is_raised = is("q2_k") || is("q3_k_s") || is("q3_k_m") || is("q4_k_s") || is("q4_k_m");
      return is_raised ? encoding::q5_k : mix_.most;
    }
    if (is("q2_k")) return encoding::q3_k;
    if (is("q3_k_m")) return encoding::q4_k;
    if (is("q3_k_l")) return encoding::q5_k;
    return mix_.most;
  }

  [[nodiscard]] encoding of_feed_forward_down(const mixture_tensor& tensor) noexcept {
    // Where there are experts, the tensors of a layer need not follow one another.
    const std::uint64_t counted = feed_forward_down_++;
    const std::uint64_t at = model_.experts > 1 ? layer_of(tensor.name).value_or(counted) : counted;
    const std::uint64_t layers = model_.layers;
    if (is("q2_k")) return encoding::q3_k;
    if (is("q3_k_m")) {
      if (at < layers / 16) return encoding::q5_k;
      return is_falcon() && !is_worth_more_bits(at, layers) ? encoding::q3_k : encoding::q4_k;
    }
    if (is("q3_k_l")) return is_falcon() ? encoding::q4_k : encoding::q5_k;
    if (is("q4_k_m") && is_falcon()) {
      if (at < layers / 16) return encoding::q6_k;
      return is_worth_more_bits(at, layers) ? encoding::q5_k : encoding::q4_k;
    }
    if ((is("q4_k_m") || is("q5_k_m")) && is_worth_more_bits(at, layers)) return encoding::q6_k;
    if (is("q4_k_s") && !is_falcon() && at < layers / 8) return encoding::q5_k;
    return mix_.most;
  }

  const mixture& mix_;
  const mixture_model& model_;
  bool has_output_ = false;
  std::uint64_t attention_values_ = 0;
  std::uint64_t attention_value_ = 0;    ///< how many were chosen for
  std::uint64_t feed_forward_down_ = 0;  ///< the same
};

}  // namespace mixture_rules

/// The encoding that `mix` gives each of a model's tensors, in their order; nothing for those that it
/// leaves as they are stored. Rows that are no whole blocks of it are the caller's to care for
/// (gguf::fallback_encoding()).
///
/// The same as llama-quantize's without an importance matrix: llama_tensor_get_type() in llama.cpp's
/// llama-quant.cpp. Some of its rules count tensors, layer by layer and by name within one, which the
/// order of `tensors` does not change.
[[nodiscard]] inline std::vector<std::optional<encoding>> mixture_encodings(
    const mixture& mix, const mixture_model& model, std::span<const mixture_tensor> tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const auto place = [&](std::size_t i) {
      return std::pair(mixture_rules::layer_of(tensors[i].name), tensors[i].name);
    };
    return place(a) < place(b);
  });
  mixture_rules::chooser chooser(mix, model, tensors);
  std::vector<std::optional<encoding>> chosen(tensors.size());
  for (const std::size_t i : order) {
    if (mixture_rules::is_packed(tensors[i])) chosen[i] = chooser.choose(tensors[i]);
  }
  return chosen;
}

}  // namespace nibble
