#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nibble_command {

/// A tensor's name without the whole numbers between its dots.
struct tensor_kind {
  std::string kind{};                    ///< "blk.*.attn_q.weight": * for each of them
  std::optional<std::uint64_t> layer{};  ///< the first of them, where it has no more than 9 digits
};

[[nodiscard]] inline tensor_kind split_name(std::string_view name) {
  constexpr std::size_t most_digits = 9;
  tensor_kind split;
  const auto is_digit = [](char letter) { return letter >= '0' && letter <= '9'; };
  const auto is_part = [&](std::size_t first, std::size_t end) {
    const auto is_border = [&](std::size_t at) { return at >= name.size() || name[at] == '.'; };
    return (first == 0 || is_border(first - 1)) && is_border(end);
  };
  bool is_first = true;
  for (std::size_t at = 0; at < name.size();) {
    std::size_t end = at;
    while (end < name.size() && is_digit(name[end])) ++end;
    if (end > at && is_part(at, end)) {
      split.kind += '*';
      if (is_first && end - at <= most_digits) {
        std::uint64_t number = 0;
        for (; at < end; ++at) number = number * 10 + static_cast<std::uint64_t>(name[at] - '0');
        split.layer = number;
      }
      is_first = false;
    } else {
      end = std::max(end, at + 1);
      split.kind += name.substr(at, end - at);
    }
    at = end;
  }
  return split;
}

/// A tensor's name with * for each whole number in it: that of the layer, of the expert.
[[nodiscard]] inline std::string kind_of(std::string_view name) { return split_name(name).kind; }

}  // namespace nibble_command
