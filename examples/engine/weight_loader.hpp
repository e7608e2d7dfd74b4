#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/reader.hpp>

#include "model_config.hpp"
#include "products.hpp"

namespace nibble_engine {

/// What a model's architecture says of a matrix.
struct matrix_traits {
  bool needs_bias = false;  ///< a missing bias is an error
  /// The file holds it as [inputs, outputs], as Hugging Face's GPT-2 does: it is decoded and transposed,
  /// in memory.
  bool is_input_major = false;
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

  /// A matrix whose rows are looked up.
  [[nodiscard]] nibble::tensor_view table(const std::string& name, std::size_t rows,
                                          std::size_t cols) const;

  /// A vector, decoded.
  [[nodiscard]] std::vector<float> vector(const std::string& name, std::size_t elements) const;

  /// Whether GPT-2's matrices are stored [inputs, outputs] in this file: told by the shape of the one
  /// that cannot be square.
  [[nodiscard]] bool is_input_major() const;

  /// The tensor under that name, or under Hugging Face's name for it; null where there is neither.
  [[nodiscard]] const nibble::tensor_view* find(std::string_view name) const;

 private:
  [[nodiscard]] const nibble::tensor_view& require(const std::string& name,
                                                   const nibble::shape& expected) const;
  void check_values(const nibble::tensor_view& tensor) const;

  const nibble::reader& in_;
  const model_config& config_;
  product_options options_;
  mutable std::set<const nibble::tensor_view*> checked_;  ///< a tied embedding is asked for twice
};

}  // namespace nibble_engine
