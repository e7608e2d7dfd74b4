#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/checkpoint/metadata_names.hpp>
#include <nibble/checkpoint/renamed_weights.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/file_type.hpp>
#include <nibble/format/gguf/ggml_twin.hpp>
#include <nibble/reader.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "exit_code.hpp"
#include "transposed_rows.hpp"
#include "typed_metadata.hpp"
#include "value_encoding.hpp"

namespace nibble_command {

/// The tensors and metadata of a new file under its names.
struct named_output {
  std::vector<nibble::renamed_weight> tensors{};
  carried_metadata carried{};
  bool has_gguf_names = false;  ///< that the input did not have
};

/// Whether names are asked for that an input may not have.
[[nodiscard]] constexpr bool is_renaming(output_names names) noexcept {
  return names == output_names::gguf || names == output_names::hugging_face;
}

/// Whether names are made GGUF's, or Hugging Face's, in a file of the container `to`; nothing where they are
/// kept.
[[nodiscard]] inline std::optional<nibble::naming> naming_for(
    output_names names, std::span<const nibble::tensor_view> tensors, const nlohmann::json& metadata,
    nibble::container to) {
  switch (names) {
    case output_names::keep: break;
    case output_names::gguf:
      if (metadata.contains("general.architecture")) break;
      return nibble::naming::gguf;
    case output_names::hugging_face:
      if (metadata.contains("architecture") && !metadata.contains("general.architecture")) break;
      return nibble::naming::hugging_face;
    case output_names::automatic:
      if (to != nibble::container::gguf) break;
      if (nibble::has_hugging_face_names(tensors, metadata)) return nibble::naming::gguf;
      break;
  }
  return std::nullopt;
}

/// Rows of the embedding among weights that have GGUF's names; 0 where there is none.
[[nodiscard]] inline std::uint64_t embedding_rows(const nibble::renamed_weights& weights) {
  for (const nibble::renamed_weight& weight : weights.weights) {
    if (weight.name == "token_embd.weight" && weight.shape.rank() == 2) return weight.shape[0];
  }
  return 0;
}

/// What a file of the container `to` holds of `tensors`, which are those of `from` or some of them. Throws
/// usage_error, naming tensor or key, for what has no other name.
[[nodiscard]] inline named_output names_for_output(const nibble::reader& from,
                                                   std::span<const nibble::tensor_view> tensors,
                                                   nibble::container to, output_names names) {
  using nibble::naming;
  named_output output;
  const auto chosen = naming_for(names, tensors, from.metadata(), to);
  if (!chosen) {
    for (const nibble::tensor_view& tensor : tensors) {
      output.tensors.push_back(
          {.name = std::string(tensor.name()), .shape = tensor.shape(), .parts = {tensor}});
    }
    output.carried = carry_metadata(from, to);
    return output;
  }
  try {
    nlohmann::json metadata = typed_metadata(from);
    nibble::renamed_weights renamed;
    if (*chosen == naming::gguf) {
      renamed = nibble::rename_weights(tensors, metadata, naming::gguf);
      metadata = nibble::metadata_in_gguf(metadata, embedding_rows(renamed));
      output.has_gguf_names = true;
    } else {
      metadata = nibble::metadata_in_hugging_face(metadata);
      renamed = nibble::rename_weights(tensors, metadata, naming::hugging_face);
    }
    output.tensors = std::move(renamed.weights);
    output.carried = carry_metadata(from, std::move(metadata), to);
    constexpr auto end_key = "tokenizer.eos_token_id";
    const auto ends = from.metadata().find(end_key);
    constexpr std::size_t most_ends = nibble::metadata_names::end_keys.size();
    if (output.has_gguf_names && ends != from.metadata().end() && ends->is_array() &&
        ends->size() > most_ends) {
      output.carried.losses.push_back(
          {end_key,
           fmt::format("the first {} of {} ids, for which GGUF has keys", most_ends, ends->size())});
    }
    for (const nibble::left_out_tensor& each : renamed.left_out) {
      output.carried.losses.push_back({each.name, "left out, " + each.why, true});
    }
  } catch (const nibble::error& problem) {
    throw usage_error(
        fmt::format("{}; --names keep writes names as they are", problem.in_file(from.name()).what()));
  }
  return output;
}

/// A weight's rows, also where they are columns of stored blocks. Throws unsupported_encoding.
[[nodiscard]] inline nibble::row_source rows_for_output(const nibble::renamed_weight& weight) {
  const bool has_blocks =
      !weight.parts.empty() && nibble::describe(value_encoding(weight.parts.front())).is_quantized();
  return weight.is_transposed && has_blocks ? transposed_rows_of(weight.parts.front())
                                            : nibble::rows_of(weight);
}

/// What readers of GGUF ask a file about its encodings, where its names are GGUF's now: its file type, that of
/// a mixture or else of most elements of its matrices, and the version of quantized blocks.
inline void describe_encodings(named_output& output, const matrix_elements& elements,
                               std::optional<std::uint32_t> mixture = std::nullopt) {
  if (!output.has_gguf_names || elements.empty()) return;
  nlohmann::json& metadata = output.carried.values;
  const auto most =
      std::ranges::max_element(elements, {}, [](const auto& each) { return each.second; });
  const auto twin = most->first ? nibble::gguf::ggml_twin_of(*most->first) : std::nullopt;
  const auto number = mixture || !twin ? mixture : nibble::gguf::file_type_of(*twin, ~std::uint64_t{0});
  if (number) metadata.emplace(nibble::gguf::file_type_key, *number);
  const bool is_quantized = std::ranges::any_of(elements, [](const auto& each) {
    return each.first && nibble::describe(*each.first).is_quantized();
  });
  constexpr unsigned version = 2;  // ggml's GGML_QNT_VERSION
  if (is_quantized) metadata["general.quantization_version"] = version;
  metadata.emplace("general.type", "model");
}

}  // namespace nibble_command
