#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <fmt/format.h>

#include <nibble/core/text.hpp>

namespace nibble_command {

/// Columns that a terminal gives to a code point: 0 for marks that combine, 2 for wide scripts and
/// pictographs, otherwise 1.
[[nodiscard]] constexpr std::size_t code_point_columns(std::uint32_t code_point) noexcept {
  struct range {
    std::uint32_t first;
    std::uint32_t last;
  };
  constexpr std::array combining{range{0x0300, 0x036F}, range{0x1AB0, 0x1AFF}, range{0x1DC0, 0x1DFF},
                                 range{0x200B, 0x200F}, range{0x20D0, 0x20FF}, range{0xFE00, 0xFE0F},
                                 range{0xFE20, 0xFE2F}, range{0xFEFF, 0xFEFF}};
  constexpr std::array wide{range{0x1100, 0x115F},   range{0x2E80, 0x303E},  range{0x3041, 0x33FF},
                            range{0x3400, 0x4DBF},   range{0x4E00, 0x9FFF},  range{0xA000, 0xA4CF},
                            range{0xAC00, 0xD7A3},   range{0xF900, 0xFAFF},  range{0xFE30, 0xFE6F},
                            range{0xFF00, 0xFF60},   range{0xFFE0, 0xFFE6},  range{0x1F300, 0x1F64F},
                            range{0x1F900, 0x1F9FF}, range{0x20000, 0x3FFFD}};
  const auto holds = [&](const range& r) { return code_point >= r.first && code_point <= r.last; };
  if (std::any_of(combining.begin(), combining.end(), holds)) return 0;
  return std::any_of(wide.begin(), wide.end(), holds) ? 2 : 1;
}

/// The code point that starts `text`, which is UTF-8 and not empty, taken off its front.
[[nodiscard]] constexpr std::uint32_t take_code_point(std::string_view& text) noexcept {
  const std::size_t length = std::max<std::size_t>(nibble::utf8_sequence_bytes(text), 1);
  const auto lead = static_cast<unsigned char>(text[0]);
  std::uint32_t code_point = length == 1 ? lead : lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    code_point = code_point << 6U | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  text.remove_prefix(length);
  return code_point;
}

/// Columns that escaped UTF-8 `text` takes on a terminal.
[[nodiscard]] constexpr std::size_t display_columns(std::string_view text) noexcept {
  std::size_t columns = 0;
  while (!text.empty()) columns += code_point_columns(take_code_point(text));
  return columns;
}

/// The longest start of escaped UTF-8 `text` that fits into `columns`.
[[nodiscard]] constexpr std::string_view fit_columns(std::string_view text,
                                                     std::size_t columns) noexcept {
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view next = rest;
    const std::size_t width = code_point_columns(take_code_point(next));
    if (width > columns) break;
    columns -= width;
    rest = next;
  }
  return text.substr(0, text.size() - rest.size());
}

/// 1044992 as "1,044,992".
[[nodiscard]] inline std::string grouped(std::uint64_t number) {
  std::string text = fmt::format("{}", number);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, 1, ',');
  return text;
}

/// "1 tensor", "2 tensors".
[[nodiscard]] inline std::string counted(std::uint64_t number, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(number), noun, number == 1 ? "" : "s");
}

}  // namespace nibble_command
