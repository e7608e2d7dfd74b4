#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/gguf/header.hpp>

#include "exit_code.hpp"

namespace nibble_command {

/// The tensors that a GGUF file has no place for, found before anything is written.
class gguf_limits {
 public:
  /// Notes a tensor under the name that it is going to have.
  void look_at(std::string_view name, const nibble::shape& shape) {
    if (name.size() >= nibble::gguf::max_name_bytes) {
      refused_.push_back(fmt::format("'{}' ({} bytes)", nibble::escape_text(name), name.size()));
    } else if (shape.rank() > nibble::gguf::max_rank) {
      refused_.push_back(fmt::format("'{}' ({} dimensions)", nibble::escape_text(name), shape.rank()));
    }
  }

  /// Throws usage_error where any was noted that does not fit.
  void require_none(const std::string& file) const {
    if (refused_.empty()) return;
    throw usage_error(fmt::format(
        "{}: GGUF holds names of at most {} bytes and at most {} dimensions, which leaves out {}: "
        "nibble pack --drop GLOB packs the others",
        nibble::escape_text(file), nibble::gguf::max_name_bytes - 1, nibble::gguf::max_rank,
        fmt::join(refused_, ", ")));
  }

 private:
  std::vector<std::string> refused_;
};

}  // namespace nibble_command
