#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nibble {

/// Members of config.json that say how a checkpoint's weights are quantized. They are kept in the metadata
/// of a folder under their own names.
inline constexpr std::string_view quantization_configs[] = {"quantization_config",
                                                            "compression_config"};

/// The name of the scheme in which several stored tensors make up one weight (codes, scales, zero points),
/// as the metadata of a folder say it: "gptq", "fp8", "compressed-tensors". Nothing where they say none.
/// What such tensors hold are no weights, and nobody may take them for such.
template <class Json>
[[nodiscard]] std::optional<std::string> quantization_scheme(const Json& metadata) {
  for (const std::string_view member : quantization_configs) {
    const auto config = metadata.find(std::string(member));
    if (config == metadata.end() || !config->is_object()) continue;
    for (const char* const name : {"quant_method", "quant_algo", "format"}) {
      const auto found = config->find(name);
      if (found != config->end() && found->is_string()) return found->template get<std::string>();
    }
  }
  return std::nullopt;
}

}  // namespace nibble
