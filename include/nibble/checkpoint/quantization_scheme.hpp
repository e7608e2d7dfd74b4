#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble {

/// Members of config.json that say how a checkpoint's weights are quantized. They are kept in the metadata
/// of a folder under their own names.
inline constexpr std::string_view quantization_configs[] = {"quantization_config",
                                                            "compression_config"};

/// A text of a JSON object, or nothing where it has none of that name.
template <class Json>
[[nodiscard]] std::optional<std::string> text_member(const Json& object, std::string_view name) {
  const auto found = object.find(std::string(name));
  if (found == object.end() || !found->is_string()) return std::nullopt;
  return found->template get<std::string>();
}
/// A whole number of a JSON object that is not negative, or nothing.
template <class Json>
[[nodiscard]] std::optional<std::uint64_t> count_member(const Json& object, std::string_view name) {
  const auto found = object.find(std::string(name));
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->template get<std::uint64_t>();
}
/// A flag of a JSON object, or nothing.
template <class Json>
[[nodiscard]] std::optional<bool> flag_member(const Json& object, std::string_view name) {
  const auto found = object.find(std::string(name));
  if (found == object.end() || !found->is_boolean()) return std::nullopt;
  return found->template get<bool>();
}

/// The part of a folder's metadata that says by which scheme the weights are quantized: a member of
/// quantization_configs, or what it holds under such a name or "quantization". Null where there is none.
template <class Json>
[[nodiscard]] const Json* find_quantization_config(const Json& metadata) {
  const auto says_scheme = [](const Json& config) {
    return text_member(config, "quant_method") || text_member(config, "quant_algo") ||
           text_member(config, "format");
  };
  for (const std::string_view member : quantization_configs) {
    const auto config = metadata.find(std::string(member));
    if (config == metadata.end() || !config->is_object()) continue;
    if (says_scheme(*config)) return &*config;
    for (const std::string_view inner : {"quantization_config", "quantization", "compression_config"}) {
      const auto nested = config->find(std::string(inner));
      if (nested != config->end() && nested->is_object() && says_scheme(*nested)) return &*nested;
    }
  }
  return nullptr;
}

/// The name of the scheme in which several stored tensors make up one weight (codes, scales, zero points),
/// as the metadata of a folder say it: "gptq", "fp8", "compressed-tensors". Nothing where they say none.
/// What such tensors hold are no weights, and nobody may take them for such.
///
/// nibble::checkpoint composes the weights of the schemes that it knows, and then has no such metadata.
template <class Json>
[[nodiscard]] std::optional<std::string> quantization_scheme(const Json& metadata) {
  const Json* const config = find_quantization_config(metadata);
  if (config == nullptr) return std::nullopt;
  for (const char* const name : {"quant_method", "quant_algo", "format"}) {
    if (auto found = text_member(*config, name)) return found;
  }
  return std::nullopt;
}

}  // namespace nibble
