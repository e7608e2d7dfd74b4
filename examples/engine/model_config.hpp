#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace nibble_engine {

/// The architectures that this engine runs.
enum class architecture {
  llama,  ///< RMSNorm, rotary positions, grouped-query attention, SwiGLU
  qwen2,  ///< the same, with biases on q, k and v
  gpt2,   ///< LayerNorm, learned positions, one matrix for q, k and v, GELU, biases everywhere
};

/// Which elements of a head's vector turn together by a position's angle.
enum class rotary_pairs {
  adjacent,  ///< 2i and 2i + 1: GGUF's llama, rope_type 0
  halves,    ///< i and i + head_dim / 2: Hugging Face's models, rope_type 2
};

/// What a model's metadata says of its shape. Counts are elements of one token's vectors.
struct model_config {
  nibble_engine::architecture architecture = architecture::llama;
  std::string architecture_name{};  ///< as the metadata spells it: "llama"
  std::size_t layers = 0;
  std::size_t hidden = 0;
  std::size_t heads = 0;            ///< of queries
  std::size_t key_value_heads = 0;  ///< of keys and values; heads is a multiple of it
  std::size_t head_dim = 0;
  std::size_t feed_forward = 0;  ///< between the two products of a block's MLP
  std::size_t vocabulary = 0;
  std::size_t context = 0;    ///< positions that the model was made for
  bool has_own_head = false;  ///< the metadata denies that the embedding is the output's matrix too
  double norm_epsilon = 0.0;
  rotary_pairs pairs = rotary_pairs::halves;
  std::vector<double> rotary_frequencies{};  ///< radians a position, one for each pair

  [[nodiscard]] std::size_t query_elements() const noexcept { return heads * head_dim; }
  [[nodiscard]] std::size_t key_value_elements() const noexcept { return key_value_heads * head_dim; }
};

/// Reads the keys of a GGUF file ("llama.embedding_length") or .apr's flat ones ("hidden_size"), which
/// checkpoint folders have too. `file` is named in errors.
///
/// Throws nibble::error: bad_metadata (a key is missing or out of range, or contradicts another) and
/// unsupported_feature (an architecture, a scaling of rotary positions, an activation or an attention
/// window that this engine lacks).
[[nodiscard]] model_config read_config(const nlohmann::json& metadata, std::string_view file);

/// A safetensors file's metadata is text alone; values that are JSON in there become what they say.
[[nodiscard]] nlohmann::json parsed_values(const nlohmann::json& metadata);

}  // namespace nibble_engine
