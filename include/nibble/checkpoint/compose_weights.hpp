#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/checkpoint/awq.hpp>
#include <nibble/checkpoint/bitsandbytes.hpp>
#include <nibble/checkpoint/compressed_tensors.hpp>
#include <nibble/checkpoint/float8_weights.hpp>
#include <nibble/checkpoint/gptq.hpp>
#include <nibble/checkpoint/mxfp4_blocks.hpp>
#include <nibble/checkpoint/nvfp4_weights.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/checkpoint/weight_composer.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

namespace composing {

/// The last part of a name between dots: "input_scale" of "l.input_scale".
[[nodiscard]] inline std::string_view last_part(std::string_view name) noexcept {
  const std::size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

/// Whether a tensor scales activations or a cache of keys and values, which is no part of a weight.
[[nodiscard]] inline bool scales_no_weight(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 20> parts = {
      "input_scale", "input_scale_inv",  "input_scale_ub", "input_zero_point", "input_global_scale",
      "act_scale",   "activation_scale", "scale_input",    "output_scale",     "output_zero_point",
      "k_scale",     "v_scale",          "kv_scale",       "q_scale",          "p_scale",
      "prob_scale",  "k_zero_point",     "v_zero_point",   "q_zero_point",     "kv_cache_scale"};
  const std::string_view part = last_part(name);
  return std::find(parts.begin(), parts.end(), part) != parts.end() || part.ends_with("_input_scale") ||
         part.ends_with("_input_global_scale");
}

/// Whether a tensor is a part of a quantized weight by its name.
[[nodiscard]] inline bool is_part_of_weight(std::string_view name) noexcept {
  constexpr std::array<std::string_view, 14> parts = {"qweight",
                                                      "qzeros",
                                                      "weight_packed",
                                                      "weight_scale",
                                                      "weight_scale_inv",
                                                      "weight_scale_2",
                                                      "weight_shape",
                                                      "weight_g_idx",
                                                      "scale_weight",
                                                      "weight_zero_point",
                                                      "weight_global_scale",
                                                      "SCB",
                                                      "absmax",
                                                      "nested_absmax"};
  const std::string_view part = last_part(name);
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

[[nodiscard]] inline std::string lower_case(std::string text) {
  for (char& each : text) {
    if (each >= 'A' && each <= 'Z') each = static_cast<char>(each - 'A' + 'a');
  }
  return text;
}

/// The block of a config's "weight_block_size": [rows, columns]. Throws bad_metadata.
template <class Json>
[[nodiscard]] std::optional<scale_block> block_of(const Json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end() || found->is_null()) return std::nullopt;
  const auto is_size = [](const Json& each) { return each.is_number_unsigned() && each != 0U; };
  if (!found->is_array() || found->size() != 2 || !is_size((*found)[0]) || !is_size((*found)[1])) {
    throw error(error_code::bad_metadata, {.field = join_text({"quantization_config.", name}),
                                           .found = found->dump(),
                                           .expected = "two sizes above 0"});
  }
  return scale_block{(*found)[0].template get<std::uint64_t>(),
                     (*found)[1].template get<std::uint64_t>()};
}

}  // namespace composing

inline namespace NIBBLE_ARCHITECTURE {
namespace composing_schemes {

/// Lets the scheme that `config` names compose weights; returns whether it is known.
template <class Json>
[[nodiscard]] bool compose_as_configured(weight_composer& to, const Json& config) {
  using composing::lower_case;
  const std::string algorithm = lower_case(text_member(config, "quant_algo").value_or(""));
  std::string method = lower_case(text_member(config, "quant_method").value_or(""));
  if (method.empty()) method = algorithm.empty() ? "compressed-tensors" : "modelopt";
  if (method == "fp8" || method == "fbgemm_fp8" || method == "ptpc_fp8") {
    float8_rules rules{.has_scales = true};
    if (const auto block = composing::block_of(config, "weight_block_size")) {
      rules.blocks.push_back(*block);
    }
    compose_float8(to, rules);
    return true;
  }
  if (method.starts_with("modelopt")) {
    const bool has_nibbles = algorithm.find("nvfp4") != std::string::npos;
    const bool is_mixed = algorithm == "mixed_precision";
    const bool has_bytes = algorithm.starts_with("fp8") || algorithm == "mxfp8";
    if (!has_nibbles && !is_mixed && !has_bytes) return false;
    float8_rules rules{.has_scales = true};
    if (algorithm == "fp8_pb_wo") rules.blocks.push_back({128, 128});
    if (algorithm == "mxfp8") rules.blocks.push_back({1, 32});
    if (has_nibbles || is_mixed) {
      constexpr std::uint64_t usual_group = 16;
      compose_nvfp4(to, count_member(config, "group_size").value_or(usual_group));
    }
    compose_float8(to, rules);
    return true;
  }
  if (method == "compressed-tensors" || method == "compressed_tensors" || method == "sparseml") {
    compose_compressed_tensors(to, compressed_tensors_rules::of(config));
    return true;
  }
  if (method == "gptq") {
    compose_gptq(to, gptq_rules::of(config));
    return true;
  }
  if (method == "awq") {
    compose_awq(to, awq_rules::of(config));
    return true;
  }
  if (method.starts_with("bitsandbytes")) {
    compose_bitsandbytes_nibbles<Json>(to);
    compose_bitsandbytes_bytes(to);
    return true;
  }
  if (method == "mxfp4") {
    compose_mxfp4_blocks(to, true);
    return true;
  }
  return false;
}

/// Composes what names and dtypes tell without a configuration.
template <class Json>
void compose_by_names(weight_composer& to) {
  compose_bitsandbytes_nibbles<Json>(to);
  compose_bitsandbytes_bytes(to);
  compose_mxfp4_blocks(to, false);
  const tensor_view* const marker = to.find("scaled_fp8");
  const bool is_marked =
      marker != nullptr && marker->has_encoding() && float8_values(marker->encoding()) != nullptr;
  if (is_marked) to.leave_out(*marker, "it says that weights in fp8 have scales");
  compose_float8(to, {.has_scales = is_marked});
}

}  // namespace composing_schemes

/// Makes one weight of the tensors that hold it together, as the scheme says that `metadata`
/// (quantization_config) or the tensors' names and dtypes tell. What scales inputs and caches is left out
/// and noted.
///
/// Nothing where there is nothing to compose, and where the scheme that the metadata name is not known
/// here: the tensors are then those that are stored.
///
/// Throws bad_scheme where a part is missing, fits no rule of the scheme or belongs to no weight,
/// bad_metadata, unsupported_feature (a variant of a scheme that is not known).
template <class Json>
[[nodiscard]] std::optional<weight_composer::result> compose_weights(
    std::span<const tensor_view> stored, const Json& metadata) {
  weight_composer composer(stored);
  const Json* const config = find_quantization_config(metadata);
  if (config != nullptr) {
    if (!composing_schemes::compose_as_configured(composer, *config)) return std::nullopt;
  } else {
    composing_schemes::compose_by_names<Json>(composer);
  }
  for (const tensor_view& tensor : stored) {
    if (!composer.is_free(tensor)) continue;
    const bool is_quantized = config != nullptr || composer.size() != 0;
    if (is_quantized && composing::scales_no_weight(tensor.name())) {
      composer.leave_out(tensor, "it scales inputs or a cache and is no part of a weight");
    } else if (composing::is_part_of_weight(tensor.name())) {
      throw error(
          error_code::bad_scheme,
          {.tensor = std::string(tensor.name()),
           .field = "quantization_config",
           .found = config == nullptr ? "none, though the tensor is a part of a quantized weight"
                                      : "a part of a weight that is not there",
           .expected = config == nullptr ? "one in config.json that names the scheme"
                                         : "the codes that belong to it"});
    }
  }
  weight_composer::result made = std::move(composer).finish();
  if (made.weights.empty() && made.notes.empty()) {
    if (config == nullptr) return std::nullopt;
  }
  return made;
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
