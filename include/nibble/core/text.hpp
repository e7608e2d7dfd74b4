#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace nibble {

/// Length in bytes of the UTF-8 sequence that starts `text`, or 0 where none does: overlong forms,
/// surrogates and code points above U+10FFFF are no UTF-8 (RFC 3629).
[[nodiscard]] constexpr std::size_t utf8_sequence_bytes(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte_at(0);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  unsigned char lowest = 0x80;
  unsigned char highest = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) lowest = 0xA0;
    if (lead == 0xED) highest = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) lowest = 0x90;
    if (lead == 0xF4) highest = 0x8F;
  }
  if (length == 0 || text.size() < length) return 0;
  if (byte_at(1) < lowest || byte_at(1) > highest) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte_at(i) < 0x80 || byte_at(i) > 0xBF) return 0;
  }
  return length;
}

/// Position of the first byte of `text` that is not UTF-8, or npos.
[[nodiscard]] constexpr std::size_t find_invalid_utf8(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const std::size_t length = utf8_sequence_bytes(text.substr(at));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

/// `text` fit for a line of a terminal or a log: control characters (C0, DEL, C1), the line and
/// paragraph separators, the bidirectional controls and bytes that are not UTF-8 become \xNN,
/// byte by byte.
[[nodiscard]] inline std::string escape_text(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = utf8_sequence_bytes(text);
    const std::string_view sequence = text.substr(0, length == 0 ? 1 : length);
    const auto lead = static_cast<unsigned char>(sequence[0]);
    const bool reorders_or_breaks_the_line =
        sequence == "\xD8\x9C" ||                                      // U+061C
        (sequence >= "\xE2\x80\x8E" && sequence <= "\xE2\x80\x8F") ||  // U+200E, U+200F
        (sequence >= "\xE2\x80\xA8" && sequence <= "\xE2\x80\xAE") ||  // U+2028..U+202E
        (sequence >= "\xE2\x81\xA6" && sequence <= "\xE2\x81\xA9");    // U+2066..U+2069
    const bool is_control =
        lead < 0x20 || lead == 0x7F ||
        (length == 2 && lead == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0);
    if (length == 0 || is_control || reorders_or_breaks_the_line) {
      for (const char byte : sequence) {
        out += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(byte)));
      }
    } else {
      out += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

}  // namespace nibble
