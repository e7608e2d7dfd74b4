#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/utf8.hpp>

namespace nibble {

/// A part of a message: text as it is, a whole number in decimal. Borrows what it is made from.
class text_part {
 public:
  /// Text as it is.
  text_part(std::string_view text) noexcept : text_(text) {}  // NOLINT: implicit by purpose
  /// Text as it is.
  text_part(const std::string& text) noexcept : text_(text) {}  // NOLINT
  /// Text as it is, up to its null.
  text_part(const char* text) noexcept : text_(text) {}  // NOLINT
  /// A whole number, in decimal.
  template <std::unsigned_integral Number>
  text_part(Number number) noexcept : is_number_(true), number_(number) {}  // NOLINT

  /// Adds the part at the end of `out`.
  void append_to(std::string& out) const {
    if (is_number_) {
      out += std::to_string(number_);
    } else {
      out += text_;
    }
  }

 private:
  std::string_view text_;
  bool is_number_ = false;
  std::uint64_t number_ = 0;
};

/// The parts one behind the other. Messages are built by this and not by a formatting library, which
/// would be most of what a host compiles where it includes a kernel.
[[nodiscard]] inline std::string join_text(std::initializer_list<text_part> parts) {
  std::string out;
  for (const text_part& part : parts) part.append_to(out);
  return out;
}

/// The numbers in decimal, with `separator` between them.
[[nodiscard]] inline std::string list_text(std::span<const std::uint64_t> numbers,
                                           std::string_view separator) {
  std::string out;
  for (const std::uint64_t number : numbers) {
    if (!out.empty()) out += separator;
    out += std::to_string(number);
  }
  return out;
}

/// `number` in lower-case hexadecimal, with zeros before it up to `digits`.
[[nodiscard]] inline std::string hex_text(std::uint64_t number, std::size_t digits) {
  std::string out;
  for (; number != 0 || out.size() < digits; number >>= 4U) {
    out.insert(out.begin(), "0123456789abcdef"[number & 15U]);
  }
  return out;
}

/// `number` rounded to `decimals` places.
[[nodiscard]] inline std::string fixed_text(double number, int decimals) {
  char out[400];
  return {out, std::to_chars(out, out + sizeof(out), number, std::chars_format::fixed, decimals).ptr};
}

/// The fewest digits that give `number` back, with an exponent below 1e-4 and from 1e16 on.
[[nodiscard]] inline std::string shortest_text(float number) {
  char out[32];
  const std::string whole(
      out, std::to_chars(out, out + sizeof(out), number, std::chars_format::scientific).ptr);
  const std::size_t mark = whole.find('e');
  if (mark == std::string::npos) return whole;  // inf, nan
  int exponent = 0;
  for (const char digit : whole.substr(mark + 2)) exponent = exponent * 10 + (digit - '0');
  if (whole[mark + 1] == '-') exponent = -exponent;
  if (exponent < -4 || exponent >= 16) return whole;
  std::string digits;
  for (const char byte : whole.substr(0, mark)) {
    if (byte >= '0' && byte <= '9') digits += byte;
  }
  const std::string sign(whole[0] == '-' ? "-" : "");
  if (exponent < 0)
    return sign + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto before_point = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= before_point)
    return sign + digits + std::string(before_point - digits.size(), '0');
  return sign + digits.substr(0, before_point) + '.' + digits.substr(before_point);
}

/// `text` fit for a line of a terminal or a log: control characters (C0, DEL, C1), the line and
/// paragraph separators, the bidirectional controls and bytes that are not UTF-8 become
/// `\xNN`, byte by byte.
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
        out += "\\x" + hex_text(static_cast<unsigned char>(byte), 2);
      }
    } else {
      out += sequence;
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

}  // namespace nibble
