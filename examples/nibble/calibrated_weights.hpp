#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/tensor_view.hpp>

#include "command.hpp"

namespace nibble_command {

/// What a tensor of the input is to be packed as.
struct wanted_packing {
  nibble::encoding encoding;
  bool is_transposed;  ///< against how it is stored
};
/// By the tensors' names in the input.
using wanted_packings = std::map<std::string, wanted_packing, std::less<>>;

/// Weights that were packed with what a text says of their inputs (--search calibrated).
class calibrated_weights {
 public:
  /// None.
  calibrated_weights() = default;
  /// Runs the text through the model; what `wanted` does not name stays as it is, and so does what
  /// cannot be packed so (nibble::takes_error_feedback(), or a matrix that is packed [inputs, outputs]).
  /// Throws nibble::error, nibble_engine::contract_error, usage_error.
  calibrated_weights(const pack_options& options, const wanted_packings& wanted);

  /// The packed matrix, [outputs, inputs], of a tensor of the input; nothing where it was not packed so.
  [[nodiscard]] std::optional<nibble::tensor_view> find(std::string_view tensor) const;
  [[nodiscard]] std::size_t size() const noexcept { return packed_.size(); }
  /// Tokens of the text that were run.
  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }

 private:
  struct packed_weight {
    nibble::encoding encoding;
    nibble::shape shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, packed_weight, std::less<>> packed_;
  std::size_t tokens_ = 0;
};

}  // namespace nibble_command
