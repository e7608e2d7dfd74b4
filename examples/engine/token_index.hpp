#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/name_index.hpp>

namespace nibble_engine {

/// Finds tokens by their text.
class token_index {
 public:
  /// Of the tokens `ids`, in increasing order. Borrows `texts`, which are by id.
  token_index(std::span<const std::string> texts, std::vector<std::uint32_t> ids)
      : texts_(texts), ids_(std::move(ids)), index_(ids_.size(), text_at{&texts_, &ids_}) {}

  /// The lowest id of that text, or nothing.
  [[nodiscard]] std::optional<std::uint32_t> find(std::string_view text) const {
    const std::optional<std::size_t> place = index_.find(text, text_at{&texts_, &ids_});
    return place ? std::optional(ids_[*place]) : std::nullopt;
  }

 private:
  /// The text at a place of `ids`.
  struct text_at {
    const std::span<const std::string>* texts;
    const std::vector<std::uint32_t>* ids;
    std::string_view operator()(std::size_t place) const { return (*texts)[(*ids)[place]]; }
  };

  std::span<const std::string> texts_;
  std::vector<std::uint32_t> ids_;
  nibble::name_index index_;
};

}  // namespace nibble_engine
