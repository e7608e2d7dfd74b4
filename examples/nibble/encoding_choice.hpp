#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/checkpoint/mixture.hpp>
#include <nibble/checkpoint/renamed_weights.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/fallback_encoding.hpp>
#include <nibble/format/gguf/file_type.hpp>
#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/reader.hpp>

#include "command.hpp"
#include "exit_code.hpp"
#include "glob.hpp"
#include "option_values.hpp"
#include "text_layout.hpp"
#include "value_range.hpp"

namespace nibble_command {

/// What `pack` packs as unless --tensor says otherwise: what --encoding says, or else the encoding of 8
/// bits that the container has. Throws usage_error where it has none.
[[nodiscard]] inline nibble::encoding encoding_for_all(const pack_options& options,
                                                       nibble::container to) {
  if (options.encoding) return *options.encoding;
  switch (to) {
    case nibble::container::gguf: return nibble::encoding::q8_0;
    case nibble::container::apr: return nibble::encoding::q8;
    default: throw usage_error("-o: of .safetensors files --encoding says the dtype, f32, f16 or bf16");
  }
}

/// Throws usage_error where the container of the file `output` cannot hold an encoding, naming the option
/// that asked for it.
inline void require_place_for(nibble::encoding which, nibble::container to, const std::string& output,
                              std::string_view option) {
  const auto fits = [&](nibble::encoding each) {
    switch (to) {
      case nibble::container::gguf: return nibble::gguf::ggml_twin_of(each).has_value();
      case nibble::container::safetensors: return !nibble::describe(each).safetensors_dtype.empty();
      default: return nibble::describe(each).apr_dtype_id.has_value();
    }
  };
  if (fits(which)) return;
  std::vector<std::string> choices;
  for (const nibble::encoding_description& row : nibble::encodings) {
    if (nibble::is_packable(row.encoding) && fits(row.encoding)) choices.emplace_back(row.name);
  }
  throw usage_error(fmt::format("{}: .{} files cannot hold {}, which {} asks for: {} is expected",
                                nibble::escape_text(output), nibble::to_string(to),
                                nibble::to_string(which), option, list_choices(choices)));
}

/// The encoding of a tensor that is packed, and how it came to be.
struct chosen_encoding {
  nibble::encoding given;
  nibble::encoding wanted;  ///< another one where its blocks do not fit the rows
  bool is_named;            ///< by --tensor or --only, and not by what goes for all
};

/// What each tensor is packed as: by --tensor, the last one that matches, or else by --mix or --encoding,
/// and then by what its rows allow.
class encoding_choice {
 public:
  /// `weights` are those of `from` under the names that they get. Throws usage_error for an encoding that
  /// `to` cannot hold, and for a mixture where the model's architecture is not known.
  encoding_choice(const nibble::reader& from, std::span<const nibble::renamed_weight> weights,
                  const pack_options& options, nibble::container to, const std::string& output)
      : options_(options), to_(to) {
    if (options.mix != nullptr) {
      const auto option = fmt::format("--mix {}", options.mix->name);
      require_place_for(options.mix->most, to, output, option);
      choose_mixture(from, weights);
    } else {
      all_ = encoding_for_all(options, to);
      require_place_for(all_, to, output, fmt::format("--encoding {}", nibble::to_string(all_)));
    }
    for (const tensor_encoding& each : options.tensors) {
      require_place_for(each.encoding, to, output,
                        fmt::format("--tensor '{}={}'", nibble::escape_text(each.glob),
                                    nibble::to_string(each.encoding)));
    }
  }

  /// Nothing for a tensor that stays as it is stored. The weight is of floats, and stored; only --tensor
  /// packs one of less than two dimensions. Its rows are of `row_elements` in the new file. Throws
  /// usage_error where --no-fallback refuses.
  [[nodiscard]] std::optional<chosen_encoding> of(const nibble::renamed_weight& weight,
                                                  std::uint64_t row_elements) const {
    const nibble::tensor_view& tensor = weight.parts.front();
    const auto by_name = named(tensor);
    std::optional<nibble::encoding> wanted = by_name;
    bool is_named = by_name.has_value();
    if (!wanted) {
      if (tensor.shape().rank() < 2) return std::nullopt;
      const bool is_only = any_glob_matches(options_.only, tensor.name());
      if (!options_.only.empty() && !is_only) return std::nullopt;
      is_named = is_only;
      wanted = options_.mix != nullptr ? of_mixture(weight) : all_;
      if (!wanted) return std::nullopt;
    }
    const nibble::encoding given = fitting(row_elements, *wanted, is_named);
    if (given != *wanted && options_.refuses_fallback) refuse_fallback(tensor, row_elements, *wanted);
    return chosen_encoding{given, *wanted, is_named};
  }

 private:
  [[nodiscard]] std::optional<nibble::encoding> named(const nibble::tensor_view& tensor) const {
    std::optional<nibble::encoding> last;
    for (const tensor_encoding& each : options_.tensors) {
      if (glob_matches(each.glob, tensor.name())) last = each.encoding;
    }
    return last;
  }

  /// What the rows allow. ggml has no rows of incomplete blocks, and what stands for its types keeps to
  /// that in .apr too, so that the file can become a GGUF one. Rows of the library's own encodings are
  /// padded there, which would make those that are shorter than a block larger than f16.
  [[nodiscard]] nibble::encoding fitting(std::uint64_t row_elements, nibble::encoding wanted,
                                         bool is_named) const {
    const nibble::encoding_description& row = nibble::describe(wanted);
    if (to_ == nibble::container::gguf || row.gguf_type) {
      return nibble::gguf::fallback_encoding(wanted, row_elements);
    }
    const bool is_short =
        row.block_elements > 1 && row_elements < row.block_cols() && row_elements != 0;
    return is_short && !is_named ? nibble::encoding::f16 : wanted;
  }

  [[noreturn]] void refuse_fallback(const nibble::tensor_view& tensor, std::uint64_t row_elements,
                                    nibble::encoding wanted) const {
    throw usage_error(fmt::format(
        "{}: tensor '{}': rows of {} elements are no multiple of {}'s blocks of {}, and --no-fallback "
        "takes no other encoding",
        nibble::escape_text(options_.input), nibble::escape_text(tensor.name()), grouped(row_elements),
        nibble::to_string(wanted), nibble::describe(wanted).block_cols()));
  }

  [[nodiscard]] std::optional<nibble::encoding> of_mixture(const nibble::renamed_weight& weight) const {
    const auto found = mixture_.find(weight.name);
    return found == mixture_.end() ? std::nullopt : found->second;
  }

  void choose_mixture(const nibble::reader& from, std::span<const nibble::renamed_weight> weights) {
    const std::string architecture = text_of(from, {"general.architecture", "architecture"});
    if (!nibble::gguf_architecture(architecture)) {
      throw usage_error(fmt::format(
          "--mix {}: {} has no architecture among its metadata whose tensors are known here (found "
          "'{}'): --encoding and --tensor choose without",
          options_.mix->name, nibble::escape_text(from.name()), nibble::escape_text(architecture)));
    }
    nibble::mixture_model model{.architecture = *nibble::gguf_architecture(architecture)};
    const auto count = [&](std::string_view gguf, std::string_view flat) {
      return number_of(from, {fmt::format("{}.{}", model.architecture, gguf), std::string(flat)});
    };
    model.layers = count("block_count", "num_layers");
    model.heads = count("attention.head_count", "num_heads");
    model.key_value_heads = count("attention.head_count_kv", "num_kv_heads");
    if (model.key_value_heads == 0) model.key_value_heads = model.heads;
    std::vector<std::string> names;
    names.reserve(weights.size());
    std::vector<nibble::mixture_tensor> tensors;
    for (const nibble::renamed_weight& weight : weights) {
      names.push_back(nibble::renamed_tensor(architecture, weight.name, nibble::naming::gguf)
                          .value_or(weight.name));
      tensors.push_back({names.back(), weight.shape.rank(), weight.shape.cols()});
      if (names.back().ends_with("ffn_down_exps.weight") && weight.shape.rank() == 3) {
        model.experts = std::max(model.experts, weight.shape[0]);
      }
    }
    const auto chosen = nibble::mixture_encodings(*options_.mix, model, tensors);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      mixture_.emplace(weights[i].name, chosen[i]);
    }
  }

  [[nodiscard]] static std::string text_of(const nibble::reader& from,
                                           const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      const auto found = from.metadata().find(key);
      if (found != from.metadata().end() && found->is_string()) return found->get<std::string>();
    }
    return "";
  }
  /// A whole number, written as text in safetensors, or of a list with one a layer the first; 0 where
  /// there is none.
  [[nodiscard]] static std::uint64_t number_of(const nibble::reader& from,
                                               const std::vector<std::string>& keys) {
    for (const std::string& key : keys) {
      const auto found = from.metadata().find(key);
      if (found == from.metadata().end()) continue;
      const nlohmann::json& value = found->is_array() && !found->empty() ? found->front() : *found;
      if (value.is_number_integer() && value >= 0) return value.get<std::uint64_t>();
      if (!value.is_string()) continue;
      const std::string text = value.get<std::string>();
      std::uint64_t number = 0;
      const char* const end = text.data() + text.size();
      const auto [stop, problem] = std::from_chars(text.data(), end, number);
      if (problem == std::errc() && stop == end) return number;
    }
    return 0;
  }

  const pack_options& options_;
  nibble::container to_;
  nibble::encoding all_ = nibble::encoding::f32;  ///< unless there is a mixture
  std::map<std::string, std::optional<nibble::encoding>, std::less<>> mixture_;
};

}  // namespace nibble_command
