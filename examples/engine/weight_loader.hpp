#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/weight_memory.hpp>
#include <nibble/reader.hpp>

#include "model_config.hpp"
#include "products.hpp"
#include "row_split.hpp"

namespace nibble_engine {

/// What a model's architecture says of a matrix.
struct matrix_traits {
  bool needs_bias = false;  ///< a missing bias is an error
  /// The file holds it as [inputs, outputs], as Hugging Face's GPT-2 does: it is decoded and transposed,
  /// in memory.
  bool is_input_major = false;
  /// The outputs that are wanted, where others have the rest: nothing but their rows is read.
  std::optional<part> outputs{};
  /// The inputs that are wanted, where others have the rest: nothing but their columns is read.
  std::optional<part> inputs{};
  bool adds_bias = true;  ///< of summands only one adds it
};

/// What of a matrix is wanted: all where neither is given.
struct wanted_part {
  std::optional<part> rows{};
  std::optional<part> columns{};
};

/// Zeros among the values of a weight that were looked at.
struct zero_count {
  std::string tensor{};
  std::uint64_t zeros = 0;
  std::uint64_t values = 0;        ///< that were looked at; 0 where the whole weight was, and passed
  std::uint64_t whole_values = 0;  ///< of the weight
};

/// Finds a model's tensors by what they are for, and checks each before the engine runs with it.
///
/// Tensors are asked for by their names in GGUF, "blk.0.attn_q.weight"; a file that has Hugging Face's
/// names is asked for those. Throws contract_error where a tensor is missing, its shape is not that which
/// the metadata implies, more than 80 % of a weight decodes to zero, or a value is NaN or infinite. A bias
/// may be zero.
class weight_loader {
 public:
  weight_loader(const nibble::reader& in, const model_config& config, const product_options& options)
      : in_(in), config_(config), options_(options) {}

  [[nodiscard]] const std::string& file_name() const noexcept { return in_.name(); }

  /// Whether the file has the tensor, under either name.
  [[nodiscard]] bool has(std::string_view name) const { return find(name) != nullptr; }

  /// A matrix of that shape, multiplied by as it is stored, and its bias where the file has one.
  [[nodiscard]] weight matrix(const std::string& name, std::size_t outputs, std::size_t inputs,
                              const matrix_traits& traits = {}) const;

  /// A matrix of which rows are looked up: all, or those of `wanted`.
  [[nodiscard]] nibble::tensor_view table(const std::string& name, std::size_t rows, std::size_t cols,
                                          const std::optional<part>& wanted = {}) const;

  /// Inputs that a cut by columns keeps together for all of the matrices "blk.N.NAME" of so many layers:
  /// those of a block. 1 where a matrix is decoded anyway.
  [[nodiscard]] std::size_t input_unit(std::string_view name, std::size_t layers) const;
  /// Whether a matrix can be cut by columns into these parts.
  [[nodiscard]] bool has_columns(const std::string& name, const std::vector<part>& parts,
                                 bool is_input_major) const;

  /// A vector, decoded.
  [[nodiscard]] std::vector<float> vector(const std::string& name, std::size_t elements) const;

  /// Whether GPT-2's matrices are stored [inputs, outputs] in this file: told by the shape of the one
  /// that cannot be square.
  [[nodiscard]] bool is_input_major() const;

  /// The tensor under that name, or under Hugging Face's name for it; null where there is neither.
  [[nodiscard]] const nibble::tensor_view* find(std::string_view name) const;

  /// What was found in weights of which only a part was read: whether the whole has too many zeros is for
  /// those to say who have all parts. In the order of loading, which is every rank's.
  [[nodiscard]] std::vector<zero_count> zeros_of_parts() const { return zeros_of_parts_; }
  /// Throws contract_error where too many of a weight's values are zeros.
  static void check_zeros(const std::string& file, const zero_count& found);

 private:
  /// The tensor; its values, or those of the part that is wanted, are checked once.
  [[nodiscard]] const nibble::tensor_view& require(const std::string& name,
                                                   const nibble::shape& expected,
                                                   const wanted_part& wanted = {}) const;
  void check_values(const nibble::tensor_view& whole, const wanted_part& wanted) const;

  const nibble::reader& in_;
  const model_config& config_;
  product_options options_;
  mutable nibble::weight_memory copies_;  ///< of those that are repacked
  /// A tied embedding is asked for twice, with the same first row.
  mutable std::set<std::pair<const nibble::tensor_view*, std::size_t>> checked_;
  mutable std::vector<zero_count> zeros_of_parts_;
};

}  // namespace nibble_engine
