#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/checkpoint/importance.hpp>
#include <nibble/checkpoint/renamed_weights.hpp>
#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/checkpoint/weight_changes.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/reader.hpp>

#include "text_layout.hpp"

namespace nibble_command {

/// The architecture that a file's metadata name, under GGUF's key or .apr's; empty where they name none.
[[nodiscard]] inline std::string architecture_of(const nibble::reader& from) {
  for (const char* const key : {"general.architecture", "architecture"}) {
    const auto found = from.metadata().find(key);
    if (found != from.metadata().end() && found->is_string()) return found->get<std::string>();
  }
  return "";
}

/// The importance of the columns of what is packed (--importance), and which weights it has some for.
class column_importance {
 public:
  /// `tensors` are those of `from` that are packed. Throws what nibble::importance throws.
  column_importance(const nibble::reader& from, std::span<const nibble::tensor_view> tensors,
                    const std::string& path)
      : file_(path), architecture_(architecture_of(from)), has_input_rows_(has_input_rows(tensors)) {}

  /// Of a weight, in the file's own order of columns: of its matrix as it is packed, `columns` of them.
  /// Empty, and noted, where the file has none for it, or where the matrix is packed [inputs, outputs]:
  /// its columns are outputs then. Throws bad_importance.
  [[nodiscard]] std::span<const float> of(const nibble::renamed_weight& weight,
                                          const nibble::shape& packed, bool is_transposed) {
    if (weight.shape.rank() < 2) return {};
    std::span<const float> found;
    if (!is_by_outputs(weight, is_transposed)) found = file_.of(architecture_, weight.name, packed);
    if (found.empty()) {
      without_.push_back(weight.name);
    } else {
      ++weighted_;
    }
    return found;
  }

  /// Throws bad_importance where no weight had any: the file is another model's.
  void require_some() const {
    if (weighted_ != 0 || without_.empty()) return;
    throw nibble::error(
        nibble::error_code::bad_importance,
        {.file = file_.file_name(),
         .field = "entries",
         .found = fmt::format("{} of another model, '{}' first",
                              counted(file_.entries().size(), "weight"), file_.entries().front().name),
         .expected = fmt::format("some of those that are packed, '{}' among them", without_.front())});
  }

  /// A line, and one more where weights are without.
  [[nodiscard]] std::string text() const {
    std::string text = fmt::format("importance of columns: {} by {}\n", counted(weighted_, "tensor"),
                                   nibble::escape_text(file_.file_name()));
    if (!without_.empty()) {
      text += fmt::format("without importance: {} ('{}'{})\n", counted(without_.size(), "tensor"),
                          nibble::escape_text(without_.front()), without_.size() > 1 ? " first" : "");
    }
    return text;
  }
  [[nodiscard]] nlohmann::json to_json() const {
    return {{"file", file_.file_name()}, {"weighted", weighted_}, {"without", without_}};
  }

 private:
  /// Of GPT-2's matrices: whether the file holds them as Hugging Face's class does.
  [[nodiscard]] bool has_input_rows(std::span<const nibble::tensor_view> tensors) const {
    for (const nibble::tensor_view& tensor : tensors) {
      const auto name = nibble::renamed_tensor(architecture_, tensor.name(), nibble::naming::gguf);
      if (!name || !name->ends_with(".attn_qkv.weight") || tensor.shape().rank() != 2) continue;
      return tensor.shape()[0] < tensor.shape()[1];
    }
    return false;
  }

  [[nodiscard]] bool is_by_outputs(const nibble::renamed_weight& weight, bool is_transposed) const {
    if (!has_input_rows_ || weight.is_transposed || is_transposed) return false;
    const auto name = nibble::renamed_tensor(architecture_, weight.name, nibble::naming::gguf);
    return name && nibble::change_of_weight(architecture_, *name) == nibble::weight_change::transposed;
  }

  nibble::importance file_;
  std::string architecture_;
  bool has_input_rows_;
  std::size_t weighted_ = 0;
  std::vector<std::string> without_;
};

}  // namespace nibble_command
