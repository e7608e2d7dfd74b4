#pragma once

#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/metadata_names.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// A tensor of GGUF that says how rotary angles are stretched: a divisor of each pair's frequency.
/// Checkpoints have it as rope_scaling in config.json.
struct rotary_divisors {
  std::string_view name;      ///< of the tensor
  std::vector<float> values;  ///< one a pair
};

/// Names of all such tensors.
inline constexpr std::array<std::string_view, 3> rotary_divisor_names = {
    "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};

/// The tensors that GGUF has for the flat metadata's rope_scaling: llama3's rule, by which slow angles are
/// divided by the factor, quick ones kept and those between mixed; longrope's two lists. None for other
/// scalings, which are keys. Throws bad_metadata.
///
/// Source: generate_extra_tensors in llama.cpp's conversion/llama.py and phi.py.
template <class Json>
[[nodiscard]] std::vector<rotary_divisors> rotary_divisors_of(const Json& metadata) {
  using namespace metadata_names;
  std::vector<rotary_divisors> tensors;
  const std::string name = name_of_rotary_scaling(metadata);
  const bool is_long = name == "longrope" || name == "su";
  if (name != "llama3" && !is_long) return tensors;
  const Json& scaling = metadata["rope_scaling"];
  const auto elements = rotary_elements(metadata);
  if (!elements || *elements == 0 || *elements % 2 != 0 || *elements > 65'536) {
    refuse("head_dim", elements ? std::to_string(*elements) : "nothing", "an even number of elements");
  }
  const auto pairs = static_cast<std::size_t>(*elements / 2);
  if (is_long) {
    for (const auto& [key, tensor] : {std::pair("long_factor", rotary_divisor_names[1]),
                                      {"short_factor", rotary_divisor_names[2]}}) {
      const auto list = scaling.find(key);
      const bool is_list = list != scaling.end() && list->is_array() && list->size() == pairs;
      rotary_divisors made{tensor, {}};
      for (std::size_t i = 0; is_list && i < pairs; ++i) {
        if ((*list)[i].is_number()) made.values.push_back((*list)[i].template get<float>());
      }
      if (made.values.size() != pairs) {
        refuse(join_text({"rope_scaling.", key}), "another value",
               join_text({"an array of ", pairs, " numbers"}));
      }
      tensors.push_back(std::move(made));
    }
    return tensors;
  }
  const auto number = [&](const Json& in, const char* key, double otherwise) {
    const auto found = in.find(key);
    if (found == in.end() || found->is_null()) return otherwise;
    if (!found->is_number() || !(found->template get<double>() > 0.0)) {
      refuse(join_text({"rope_scaling.", key}), value_text(*found), "a number above 0");
    }
    return found->template get<double>();
  };
  const double base = number(metadata, "rope_theta", 10'000.0);
  const double factor = number(scaling, "factor", 8.0);
  const double low = number(scaling, "low_freq_factor", 1.0);
  const double high = number(scaling, "high_freq_factor", 4.0);
  const double original = number(scaling, "original_max_position_embeddings", 8192.0);
  if (!(high > low)) {
    refuse("rope_scaling.high_freq_factor", value_text(Json(high)), "more than low_freq_factor");
  }
  rotary_divisors made{rotary_divisor_names[0], {}};
  for (std::size_t i = 0; i < pairs; ++i) {
    const double frequency =
        std::pow(base, -static_cast<double>(2 * i) / static_cast<double>(*elements));
    const double turns = original * frequency / (2.0 * std::numbers::pi);
    double divisor = 1.0;
    if (turns < low) {
      divisor = factor;
    } else if (turns <= high) {
      const double kept = (turns - low) / (high - low);
      divisor = 1.0 / ((1.0 - kept) / factor + kept);
    }
    made.values.push_back(static_cast<float>(divisor));
  }
  tensors.push_back(std::move(made));
  return tensors;
}

}  // namespace nibble
