#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <nibble/core/text.hpp>

namespace nibble_engine {

/// A model that opens as a file and yet cannot be run: what() starts with the contract's code, and
/// names file, tensor, what was found and what was expected.
class contract_error : public std::runtime_error {
 public:
  /// A tensor is missing, or its shape contradicts the metadata.
  static constexpr std::string_view layout = "F-LAYOUT-CONTRACT-001";
  /// A weight that decodes to zeros for the most part, or holds NaN or infinity.
  static constexpr std::string_view data_quality = "F-DATA-QUALITY-001";

  contract_error(std::string_view code, std::string_view file, std::string_view tensor,
                 std::string_view found, std::string_view expected)
      : std::runtime_error(fmt::format("{}: {}: tensor '{}': found {}, expected {}", code,
                                       nibble::escape_text(file), nibble::escape_text(tensor),
                                       nibble::escape_text(found), nibble::escape_text(expected))),
        code_(code) {}

  /// One of the codes above.
  [[nodiscard]] std::string_view code() const noexcept { return code_; }

 private:
  std::string_view code_;
};

}  // namespace nibble_engine
