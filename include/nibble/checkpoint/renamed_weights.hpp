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
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/metadata_names.hpp>
#include <nibble/checkpoint/rotary_divisors.hpp>
#include <nibble/checkpoint/row_order.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/checkpoint/weight_changes.hpp>
#include <nibble/compute/block_source.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/interleaved_blocks.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// A weight under its name in another convention: of which stored tensors it is made, and how.
struct renamed_weight {
  std::string name{};
  nibble::shape shape{};
  /// The stored tensors, of one shape and one encoding: one, or the experts that become one tensor with a
  /// further first dimension. None where the weight is computed.
  std::vector<tensor_view> parts{};
  row_order order{};            ///< of rows; of a vector, of its elements
  bool is_transposed = false;   ///< a matrix, of which the other side holds the transpose
  float added = 0.0F;           ///< to every value
  bool is_read_as_f32 = false;  ///< readers of GGUF take it as f32 alone
  std::vector<float> computed{};

  /// Whether the stored bytes of its one part are its own.
  [[nodiscard]] bool is_as_stored() const noexcept {
    return parts.size() == 1 && order.keeps_order() && !is_transposed && added == 0.0F;
  }
};

/// A tensor that has no place in the other convention.
struct left_out_tensor {
  std::string name;
  std::string why;
};

/// What rename_weights() makes of a model.
struct renamed_weights {
  std::vector<renamed_weight> weights{};
  std::vector<left_out_tensor> left_out{};
};

namespace renaming {

/// A name with the number of an expert in it ("...experts.7.up_proj.weight"), apart.
struct expert_name {
  std::string stacked;   ///< the name without the number
  std::uint64_t number;  ///< of the expert
};

inline constexpr std::string_view experts = ".experts.";

[[nodiscard]] inline std::optional<expert_name> split_expert(std::string_view name) {
  const std::size_t at = name.find(experts);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view rest = name.substr(at + experts.size());
  std::uint64_t number = 0;
  const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  const auto digits = static_cast<std::size_t>(end - rest.data());
  if (problem != std::errc() || digits == rest.size() || rest[digits] != '.') return std::nullopt;
  std::string stacked(name.substr(0, at + experts.size()));
  stacked += rest.substr(digits + 1);
  return expert_name{std::move(stacked), number};
}
[[nodiscard]] inline std::string join_expert(std::string_view stacked, std::uint64_t number) {
  const std::size_t at = stacked.find(experts) + experts.size();
  return join_text({stacked.substr(0, at), number, ".", stacked.substr(at)});
}

/// What the weights' changes need of a model, from its flat metadata.
template <class Json>
class model_facts {
 public:
  explicit model_facts(const Json& metadata) : metadata_(metadata) {
    const auto name = metadata.find("architecture");
    if (name != metadata.end() && name->is_string()) architecture_ = name->template get<std::string>();
    known_ = naming_table::find_architecture(architecture_);
  }

  [[nodiscard]] const std::string& architecture() const noexcept { return architecture_; }
  [[nodiscard]] bool has(naming_table::group group) const noexcept {
    return known_ != nullptr && (known_->groups & group) != 0;
  }
  [[nodiscard]] bool is_set(const char* key) const {
    const auto found = metadata_.find(key);
    return found != metadata_.end() && *found == true;
  }
  /// A count above 0. Throws bad_metadata.
  [[nodiscard]] std::uint64_t count(const char* key) const {
    const auto found = metadata_.find(key);
    const bool fits = found != metadata_.end() && metadata_names::is_count(*found) && *found != 0;
    if (!fits) {
      metadata_names::refuse(key,
                             found == metadata_.end() ? "nothing" : metadata_names::value_text(*found),
                             "a whole number above 0");
    }
    return found->template get<std::uint64_t>();
  }
  [[nodiscard]] std::uint64_t key_value_heads() const {
    return metadata_.contains("num_kv_heads") ? count("num_kv_heads") : count("num_heads");
  }
  /// Whether elements that turn together are neighbours in the stored rows of q and k.
  [[nodiscard]] bool turns_neighbours() const {
    const auto type = metadata_.find("rope_type");
    if (type == metadata_.end() || *type == 2) return false;
    if (*type == 0) return true;
    metadata_names::refuse("rope_type", metadata_names::value_text(*type), "0 or 2");
  }

 private:
  const Json& metadata_;
  std::string architecture_;
  const naming_table::architecture* known_ = nullptr;
};

[[noreturn]] inline void refuse_shape(std::string_view tensor, const shape& found,
                                      std::string expected) {
  throw error(error_code::bad_shape, {.tensor = std::string(tensor),
                                      .field = "shape",
                                      .found = found.to_string(),
                                      .expected = std::move(expected)});
}

/// The order that rows of q or k take. Throws bad_shape where they are no heads of an even number of rows.
inline row_order order_of_heads(std::string_view name, const shape& dimensions, std::uint64_t heads,
                                naming to) {
  const std::uint64_t rows = dimensions.rank() < 2 ? dimensions.elements() : dimensions.rows();
  if (rows % (2 * heads) != 0) {
    refuse_shape(name, dimensions, join_text({heads, " heads of an even number of rows"}));
  }
  return to == naming::gguf ? row_order::halves_to_neighbours(rows, heads)
                            : row_order::neighbours_to_halves(rows, heads);
}

/// Sets what becomes of a weight's values. `gguf_name` is its name in GGUF, whichever way it goes.
template <class Json>
void set_change(renamed_weight& weight, std::string_view gguf_name, bool has_new_name,
                const model_facts<Json>& model, naming to) {
  const tensor_view& stored = weight.parts.front();
  const bool is_matrix = stored.shape().rank() == 2;
  switch (change_of_weight(model.architecture(), gguf_name)) {
    case weight_change::none: break;
    case weight_change::query_head_rows:
    case weight_change::key_head_rows: {
      // On the way back GGUF's rows are neighbours always.
      if (to == naming::gguf && model.turns_neighbours()) break;
      const bool is_query =
          change_of_weight(model.architecture(), gguf_name) == weight_change::query_head_rows;
      weight.order = order_of_heads(stored.name(), stored.shape(),
                                    is_query ? model.count("num_heads") : model.key_value_heads(), to);
      break;
    }
    case weight_change::fused_group_rows: {
      const std::uint64_t heads = model.count("num_heads");
      const std::uint64_t key_value_heads = model.key_value_heads();
      const std::uint64_t rows = is_matrix ? stored.rows() : stored.elements();
      if (heads % key_value_heads != 0 || rows % (heads + 2 * key_value_heads) != 0) {
        refuse_shape(stored.name(), stored.shape(),
                     join_text({"rows of ", heads, " heads and twice ", key_value_heads}));
      }
      const std::uint64_t head_rows = rows / (heads + 2 * key_value_heads);
      weight.order = to == naming::gguf ? row_order::groups_to_parts(head_rows, heads, key_value_heads)
                                        : row_order::parts_to_groups(head_rows, heads, key_value_heads);
      break;
    }
    case weight_change::transposed:
      if (!is_matrix || !has_new_name) break;
      weight.is_transposed = true;
      weight.shape = {stored.shape()[1], stored.shape()[0]};
      break;
    case weight_change::one_added:
      if (has_new_name) weight.added = to == naming::gguf ? 1.0F : -1.0F;
      break;
  }
}

/// Whether GPT-2's matrices are stored [inputs, outputs], as Hugging Face's class has them: told by the one
/// that cannot be square, and true where there is none.
template <class Json>
[[nodiscard]] bool is_input_major(std::span<const tensor_view> tensors,
                                  const model_facts<Json>& model) {
  for (const tensor_view& tensor : tensors) {
    const auto name = renamed_tensor(model.architecture(), tensor.name(), naming::gguf);
    if (!name || !name->ends_with(".attn_qkv.weight") || tensor.shape().rank() != 2) continue;
    return tensor.shape()[0] < tensor.shape()[1];
  }
  return true;
}

/// Whether two tensors hold the same bytes in the same way.
[[nodiscard]] inline bool are_equal(const tensor_view& a, const tensor_view& b) noexcept {
  return a.shape() == b.shape() && a.has_encoding() && b.has_encoding() &&
         a.encoding() == b.encoding() &&
         std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end());
}

[[noreturn]] inline void refuse_name(std::string_view tensor, std::string_view architecture,
                                     naming to) {
  throw error(error_code::bad_name,
              {.tensor = std::string(tensor),
               .field = "name",
               .found = join_text({"one that has no other in ",
                                   to == naming::gguf ? "GGUF" : "Hugging Face's convention", " for ",
                                   architecture}),
               .expected = "a weight of that architecture"});
}

/// Experts that become one tensor, by their numbers.
using experts_by_number = std::map<std::uint64_t, const tensor_view*>;

/// Throws no_such_tensor for an expert that is missing, bad_shape and unsupported_encoding where they
/// are not alike.
inline renamed_weight stack_experts(std::string name, std::string_view stacked,
                                    const experts_by_number& found) {
  const tensor_view& first = *found.begin()->second;
  renamed_weight weight{.name = std::move(name)};
  std::uint64_t next = 0;
  for (const auto& [number, tensor] : found) {
    if (number != next++) {
      throw error(error_code::no_such_tensor,
                  {.tensor = join_expert(stacked, next - 1), .expected = "every expert"});
    }
    if (tensor->shape() != first.shape() || first.shape().rank() != 2) {
      refuse_shape(tensor->name(), tensor->shape(),
                   join_text({first.shape().to_string(), ", a matrix, as the first expert"}));
    }
    // What several stored tensors make up is f32 rows, of whatever scheme.
    const bool are_composed = tensor->composed() != nullptr && first.composed() != nullptr;
    if (!are_composed && (!tensor->has_encoding() || tensor->encoding() != first.encoding())) {
      throw error(error_code::unsupported_encoding, {.tensor = std::string(tensor->name()),
                                                     .field = "dtype",
                                                     .found = tensor->dtype_text(),
                                                     .expected = first.dtype_text()});
    }
    weight.parts.push_back(*tensor);
  }
  weight.shape = {found.size(), first.shape()[0], first.shape()[1]};
  return weight;
}

/// Views of the experts in a tensor of three dimensions. Throws as tensor_view::rows() does.
inline std::vector<renamed_weight> split_experts(std::string_view stacked, const tensor_view& tensor) {
  std::vector<renamed_weight> weights;
  const std::uint64_t rows = tensor.shape()[1];
  for (std::uint64_t i = 0; i < tensor.shape()[0]; ++i) {
    weights.push_back({.name = join_expert(stacked, i),
                       .shape = {rows, tensor.shape()[2]},
                       .parts = {tensor.rows(i * rows, rows)}});
  }
  return weights;
}

template <class Json>
[[nodiscard]] renamed_weights to_gguf(std::span<const tensor_view> tensors, const Json& metadata) {
  const model_facts model(metadata);
  if (!model.has(naming_table::adjacent_pairs) && !model.has(naming_table::gpt2) &&
      model.turns_neighbours()) {
    metadata_names::refuse("rope_type", "0, neighbours that turn together",
                           "2: halves of a head, as GGUF has them for this architecture",
                           error_code::unsupported_feature);
  }
  renamed_weights made;
  const bool is_output_major = model.has(naming_table::gpt2) && !is_input_major(tensors, model);
  const tensor_view* embedding = nullptr;
  std::map<std::string, std::pair<std::string, experts_by_number>> stacks;  // by names in GGUF
  for (const tensor_view& tensor : tensors) {
    const auto name = renamed_tensor(model.architecture(), tensor.name(), naming::gguf);
    if (name == "token_embd.weight") embedding = &tensor;
  }
  for (const tensor_view& tensor : tensors) {
    if (is_buffer(model.architecture(), tensor.name())) {
      made.left_out.push_back({std::string(tensor.name()), "the model computes it"});
      continue;
    }
    const auto expert = split_expert(tensor.name());
    auto name = renamed_tensor(
        model.architecture(), expert ? std::string_view(expert->stacked) : tensor.name(), naming::gguf);
    if (!name) refuse_name(tensor.name(), model.architecture(), naming::gguf);
    if (expert) {
      auto& [stacked, numbers] = stacks[*name];
      stacked = expert->stacked;
      numbers.emplace(expert->number, &tensor);
      continue;
    }
    if (*name == "output.weight" && model.is_set("tie_word_embeddings") && embedding != nullptr &&
        are_equal(tensor, *embedding)) {
      made.left_out.push_back({std::string(tensor.name()), "it is the embedding"});
      continue;
    }
    renamed_weight weight{.name = *name, .shape = tensor.shape(), .parts = {tensor}};
    const bool has_new_name = *name != tensor.name() && !is_output_major;
    set_change(weight, *name, has_new_name, model, naming::gguf);
    made.weights.push_back(std::move(weight));
  }
  for (const auto& [name, found] : stacks) {
    made.weights.push_back(stack_experts(name, found.first, found.second));
  }
  for (rotary_divisors& each : rotary_divisors_of(metadata)) {
    const shape dimensions{each.values.size()};
    made.weights.push_back(
        {.name = std::string(each.name), .shape = dimensions, .computed = std::move(each.values)});
  }
  for (renamed_weight& weight : made.weights) {
    weight.is_read_as_f32 = weight.shape.rank() < 2 || is_read_as_f32(weight.name);
  }
  return made;
}

template <class Json>
[[nodiscard]] renamed_weights to_hugging_face(std::span<const tensor_view> tensors,
                                              const Json& metadata) {
  const model_facts model(metadata);
  renamed_weights made;
  const bool says_divisors = !rotary_divisors_of(metadata).empty();
  for (const tensor_view& tensor : tensors) {
    const bool is_divisors = std::find(rotary_divisor_names.begin(), rotary_divisor_names.end(),
                                       tensor.name()) != rotary_divisor_names.end();
    if (is_divisors && says_divisors) {
      made.left_out.push_back({std::string(tensor.name()), "metadata 'rope_scaling' says it"});
      continue;
    }
    const auto name = renamed_tensor(model.architecture(), tensor.name(), naming::hugging_face);
    if (!name) refuse_name(tensor.name(), model.architecture(), naming::hugging_face);
    if (tensor.shape().rank() == 3 && name->find(experts) != std::string::npos) {
      for (renamed_weight& each : split_experts(*name, tensor)) made.weights.push_back(std::move(each));
      continue;
    }
    renamed_weight weight{.name = *name, .shape = tensor.shape(), .parts = {tensor}};
    set_change(weight, tensor.name(), *name != tensor.name(), model, naming::hugging_face);
    made.weights.push_back(std::move(weight));
  }
  return made;
}

}  // namespace renaming

/// A model's tensors under the names of another convention, with what that changes of their values (see
/// weight_changes.hpp): GGUF's llama has the rows of q and k in another order, GPT-2's matrices are
/// transposed, Gemma's norms hold their gains whole, experts are one tensor of three dimensions, Falcon's q,
/// k and v lie one after the other. Nothing is copied: the weights view the stored tensors.
///
/// `metadata` have the flat names (architecture, num_heads, num_kv_heads, head_dim, rope_type,
/// rope_scaling, tie_word_embeddings) on both ways: on the way back, what metadata_in_hugging_face() gives.
/// Left out are buffers (is_buffer()), a head that is the embedding once more, and on the way back divisors
/// of angles where rope_scaling says them. GPT-2's matrices that are [outputs, inputs] already, as pack
/// --transpose stores them, are kept so.
///
/// Throws bad_name for a tensor without a name in that convention, no_such_tensor for an expert that is
/// missing, bad_shape, bad_metadata, unsupported_feature, unsupported_encoding; errors name the tensor or
/// the key.
template <class Json>
[[nodiscard]] renamed_weights rename_weights(std::span<const tensor_view> tensors, const Json& metadata,
                                             naming to) {
  return to == naming::gguf ? renaming::to_gguf(tensors, metadata)
                            : renaming::to_hugging_face(tensors, metadata);
}

/// Whether a model's tensors have Hugging Face's names, told by the first one that has another in GGUF.
template <class Json>
[[nodiscard]] bool has_hugging_face_names(std::span<const tensor_view> tensors, const Json& metadata) {
  if (!has_gguf_architecture(metadata)) return false;
  const auto& architecture = metadata["architecture"].template get_ref<const std::string&>();
  return std::any_of(tensors.begin(), tensors.end(), [&](const tensor_view& tensor) {
    const auto name = renamed_tensor(architecture, tensor.name(), naming::gguf);
    return name && *name != tensor.name();
  });
}

inline namespace NIBBLE_ARCHITECTURE {

/// The stored blocks of a weight, moved where the other convention has them: bit for bit. Empty where they
/// cannot be moved: where a value is added, blocks run across rows, or rows of blocks would be transposed.
/// A weight that is computed has none. The stored bytes must outlive the source.
[[nodiscard]] inline block_source moved_blocks_of(const renamed_weight& weight) {
  if (weight.parts.empty() || weight.added != 0.0F || !weight.parts.front().has_encoding()) return {};
  const tensor_view& first = weight.parts.front();
  const encoding_description& stored = describe(first.encoding());
  const bool is_plain = !stored.is_quantized() && stored.block_elements == 1;
  if (!stored.has_blocks()) return {};
  if (weight.is_transposed) {
    if (!is_plain) return {};
    return transposed_elements(first.bytes(), first.rows(), first.cols(), stored.block_bytes);
  }
  if (first.cols() % stored.block_elements != 0 && stored.blocks_run_along == block_run::tensor)
    return {};
  const bool is_vector = first.shape().rank() < 2;
  if (is_vector && !is_plain && !weight.order.keeps_order()) return {};
  // Blocks of several rows are cut into those of each row, for rows to be moved, and joined again.
  const bool is_moved = weight.parts.size() > 1 || !weight.order.keeps_order();
  const auto interleaved = row_encoding_of(first.encoding());
  const bool is_cut = interleaved && is_moved;
  const encoding_description& moved = is_cut ? describe(*interleaved) : stored;
  std::vector<block_source> parts;
  for (const tensor_view& part : weight.parts) {
    block_source blocks = [bytes = part.bytes(), size = std::uint64_t{stored.block_bytes}](
                              std::uint64_t first_block, std::span<std::byte> to) {
      const auto from = bytes.subspan(static_cast<std::size_t>(first_block * size), to.size());
      std::copy(from.begin(), from.end(), to.begin());
    };
    parts.push_back(is_cut ? separated_blocks(stored.encoding, first.cols(), std::move(blocks))
                           : std::move(blocks));
  }
  if (interleaved && !is_moved) return std::move(parts.front());
  const std::uint64_t row_blocks = is_vector && !weight.order.keeps_order()
                                       ? 1
                                       : divide_round_up(first.cols(), moved.block_elements);
  block_source joined = joined_blocks(std::move(parts), row_blocks * first.rows(), moved.block_bytes);
  joined = reordered_blocks(std::move(joined), row_blocks, moved.block_bytes, weight.order);
  if (!is_cut) return joined;
  return interleaved_blocks(stored.encoding, weight.shape.rows(), weight.shape.cols(),
                            std::move(joined));
}

/// A weight's rows, decoded to f32 as they are asked for, with what its change makes of them. The stored
/// bytes must outlive the source. Throws unsupported_encoding at once where they cannot be decoded, or
/// where blocks would have to be transposed.
template <class Architecture = default_architecture>
[[nodiscard]] row_source rows_of(const renamed_weight& weight) {
  if (weight.parts.empty()) {
    return [values = weight.computed](std::uint64_t, std::uint64_t, std::span<float> to) {
      std::copy(values.begin(), values.end(), to.begin());
    };
  }
  const tensor_view& first = weight.parts.front();
  if (first.composed() == nullptr) require_codec(first.encoding(), first.name());
  if (weight.is_transposed) {
    const encoding_description& stored = describe(first.encoding());
    block_source elements = moved_blocks_of(weight);
    if (!elements) {
      throw error(error_code::unsupported_encoding, {.tensor = std::string(first.name()),
                                                     .field = "dtype",
                                                     .found = first.dtype_text(),
                                                     .expected = "a plain one, for it is transposed"});
    }
    return [first, elements = std::move(elements), element_bytes = std::size_t{stored.block_bytes}](
               std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
      std::vector<std::byte> bytes(values.size() * element_bytes);
      elements(first_row * first.rows(), bytes);
      dequantize<float, Architecture>(
          tensor_view(first.name(), first.encoding(), {row_count, first.rows()}, bytes), values);
    };
  }
  std::vector<row_source> parts;
  for (const tensor_view& part : weight.parts) {
    parts.emplace_back(
        [part](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
          dequantize_rows<float, Architecture>(part, first_row, row_count, values);
        });
  }
  row_source rows = joined_rows(std::move(parts), first.rows(), first.cols());
  if (first.shape().rank() < 2 && !weight.order.keeps_order()) {
    // A vector's elements move as rows do: all are decoded, and those asked for are all of them.
    rows = [rows = std::move(rows), order = weight.order](std::uint64_t, std::uint64_t,
                                                          std::span<float> values) {
      std::vector<float> stored(values.size());
      rows(0, 1, stored);
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = stored[static_cast<std::size_t>(order.source_of(i))];
      }
    };
  } else {
    rows = reordered_rows(std::move(rows), first.cols(), weight.order);
  }
  return weight.added == 0.0F ? rows : rows_plus(std::move(rows), weight.added);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
