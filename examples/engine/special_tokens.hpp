#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "vocabulary.hpp"

namespace nibble_engine {

/// Part of a text: a special token, or what stands between two.
struct text_part {
  std::string_view text;
  std::optional<std::uint32_t> token;
};

/// Finds tokens that are whole before anything is merged: user-defined ones always; control tokens and
/// the unknown token, which a prompt may spell out ("<|im_start|>"), where they are asked for.
class special_tokens {
 public:
  /// Takes these tokens of a vocabulary.
  explicit special_tokens(const vocabulary& words);

  /// Splits from left to right. Where several tokens begin at one place the longest is taken. The work
  /// is linear in the text. Parts are not empty; together they are the text, which they borrow.
  [[nodiscard]] std::vector<text_part> split(std::string_view text, bool with_control) const;

 private:
  /// A prefix of tokens.
  struct node {
    std::map<char, std::uint32_t> children;
    std::optional<std::uint32_t> control;       ///< the token that ends here, of control or unknown
    std::optional<std::uint32_t> user_defined;  ///< the token that ends here
  };

  /// The longest token that starts `text`; no token where none does.
  [[nodiscard]] text_part token_at(std::string_view text, bool with_control) const;

  std::vector<node> nodes_{1};
};

}  // namespace nibble_engine
