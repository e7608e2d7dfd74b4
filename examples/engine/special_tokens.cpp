#include "special_tokens.hpp"

namespace nibble_engine {

special_tokens::special_tokens(const vocabulary& words) {
  for (std::uint32_t id = 0; id < words.size(); ++id) {
    const token_type type = words.types[id];
    const bool is_control = type == token_type::control || type == token_type::unknown;
    if (words.texts[id].empty() || !(is_control || type == token_type::user_defined)) continue;
    std::uint32_t at = 0;
    for (const char byte : words.texts[id]) {
      const auto next = static_cast<std::uint32_t>(nodes_.size());
      const auto [child, is_new] = nodes_[at].children.try_emplace(byte, next);
      at = child->second;
      if (is_new) nodes_.emplace_back();
    }
    std::optional<std::uint32_t>& token = is_control ? nodes_[at].control : nodes_[at].user_defined;
    if (!token) token = id;
  }
}

text_part special_tokens::token_at(std::string_view text, bool with_control) const {
  text_part longest{text.substr(0, 0), std::nullopt};
  const node* at = nodes_.data();
  for (std::size_t length = 1; length <= text.size(); ++length) {
    const auto child = at->children.find(text[length - 1]);
    if (child == at->children.end()) break;
    at = &nodes_[child->second];
    const std::optional<std::uint32_t>& token =
        with_control && at->control ? at->control : at->user_defined;
    if (token) longest = {text.substr(0, length), token};
  }
  return longest;
}

std::vector<text_part> special_tokens::split(std::string_view text, bool with_control) const {
  std::vector<text_part> parts;
  std::size_t begin = 0;
  const auto add_plain = [&](std::size_t end) {
    if (end > begin) parts.push_back({text.substr(begin, end - begin), std::nullopt});
  };
  for (std::size_t at = 0; at < text.size();) {
    const text_part special = token_at(text.substr(at), with_control);
    if (!special.token) {
      ++at;
      continue;
    }
    add_plain(at);
    parts.push_back(special);
    at += special.text.size();
    begin = at;
  }
  add_plain(text.size());
  return parts;
}

}  // namespace nibble_engine
