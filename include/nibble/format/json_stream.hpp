#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// How deep JSON from a file may nest. There is a limit because printing and comparing it recurse.
inline constexpr std::size_t max_json_depth = 128;

/// Reads JSON (RFC 8259) from front to back, token by token, and builds no tree: for headers of
/// megabytes, where building a tree, or copying every byte, would be most of the time that opening
/// takes.
///
/// The text must be UTF-8 and outlive the stream. Every function throws bad_metadata, which names the
/// byte, where the text is no JSON.
class json_stream {
 public:
  /// `field` names the text in messages, and must outlive the stream.
  json_stream(std::string_view text, std::string_view field) : text_(text), field_(field) {}

  /// The first byte of the next token, or 0 at the end of the text.
  [[nodiscard]] char peek() noexcept {
    while (at_ < text_.size() && is_white_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  /// Takes the next token if it is this mark; returns whether it is.
  [[nodiscard]] bool take(char mark) noexcept {
    if (peek() != mark || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  /// Takes the next token, which must be this mark.
  void require(char mark) {
    if (!take(mark)) refuse(join_text({"'", std::string_view(&mark, 1), "'"}));
  }

  /// Throws where anything but white space is left.
  void require_end() {
    static_cast<void>(peek());
    if (at_ != text_.size()) refuse("the end of the text");
  }

  /// Takes a string and returns what it says. The view is into the text, or, where the string has
  /// escapes, into `unescaped`.
  [[nodiscard]] std::string_view take_string(std::string& unescaped) {
    require('"');
    const std::size_t start = at_;
    skip_plain();
    if (at_ < text_.size() && text_[at_] == '"') return text_.substr(start, at_++ - start);
    unescaped.assign(text_, start, at_ - start);
    while (at_ < text_.size() && text_[at_] == '\\') {
      ++at_;
      take_escape(unescaped);
      const std::size_t more = at_;
      skip_plain();
      unescaped.append(text_, more, at_ - more);
    }
    if (at_ == text_.size() || text_[at_] != '"')
      refuse("the end of a string, without control characters");
    ++at_;
    return unescaped;
  }

  /// Takes a number and returns its text.
  [[nodiscard]] std::string_view take_number() {
    static_cast<void>(peek());
    const std::size_t start = at_;
    const auto take_digits = [&] {
      if (!is_digit_next()) refuse("a digit");
      while (is_digit_next()) ++at_;
    };
    if (is_next('-')) ++at_;
    if (is_next('0')) {
      ++at_;
    } else {
      take_digits();
    }
    if (is_next('.')) {
      ++at_;
      take_digits();
    }
    if (is_next('e') || is_next('E')) {
      ++at_;
      if (is_next('+') || is_next('-')) ++at_;
      take_digits();
    }
    return text_.substr(start, at_ - start);
  }

  /// Takes null, true or false, and returns its text.
  [[nodiscard]] std::string_view take_literal() {
    static_cast<void>(peek());
    for (const std::string_view literal : {"null", "true", "false"}) {
      if (!text_.substr(at_).starts_with(literal)) continue;
      at_ += literal.size();
      return literal;
    }
    refuse("a value");
  }

  /// Skips a value of any kind, around which `depth` levels are open: at most max_json_depth in all.
  void skip_value(std::size_t depth = 0) {
    std::string ignored;
    const auto enter = [&](char mark) {
      require(mark);
      if (++depth > max_json_depth)
        refuse(join_text({"at most ", max_json_depth, " levels of nesting"}));
    };
    switch (peek()) {
      case '"': static_cast<void>(take_string(ignored)); return;
      case '{':
        enter('{');
        if (take('}')) return;
        do {
          static_cast<void>(take_string(ignored));
          require(':');
          skip_value(depth);
        } while (take(','));
        require('}');
        return;
      case '[':
        enter('[');
        if (take(']')) return;
        do {
          skip_value(depth);
        } while (take(','));
        require(']');
        return;
      case 'n':
      case 't':
      case 'f': static_cast<void>(take_literal()); return;
      default: static_cast<void>(take_number()); return;
    }
  }

  /// As skip_value(), and returns the text of the value.
  [[nodiscard]] std::string_view take_value(std::size_t depth = 0) {
    static_cast<void>(peek());
    const std::size_t start = at_;
    skip_value(depth);
    return text_.substr(start, at_ - start);
  }

  /// What the next token is, for a message: "a string", "an object", "null", the text of a number.
  [[nodiscard]] std::string describe_next() {
    switch (peek()) {
      case '\0': return at_ == text_.size() ? "the end of the text" : "a zero byte";
      case '"': return "a string";
      case '{': return "an object";
      case '[': return "an array";
      case 'n':
      case 't':
      case 'f': return std::string(take_literal());
      default: break;
    }
    const char next = peek();
    return next == '-' || is_digit(next) ? std::string(take_number())
                                         : join_text({"'", std::string_view(&next, 1), "'"});
  }

  /// Throws bad_metadata, which says what comes next and what is expected.
  [[noreturn]] void refuse(std::string_view expected) const {
    const std::string next = at_ == text_.size() ? std::string("the end of the text")
                                                 : join_text({"'", text_.substr(at_, 1), "'"});
    throw error(error_code::bad_metadata, {.field = join_text({field_, ", byte ", at_}),
                                           .found = join_text({next, " in place of ", expected}),
                                           .expected = "a JSON object"});
  }

 private:
  [[nodiscard]] static constexpr bool is_white_space(char byte) noexcept {
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
  }
  [[nodiscard]] static constexpr bool is_digit(char byte) noexcept {
    return byte >= '0' && byte <= '9';
  }
  [[nodiscard]] bool is_next(char mark) const noexcept {
    return at_ < text_.size() && text_[at_] == mark;
  }
  [[nodiscard]] bool is_digit_next() const noexcept {
    return at_ < text_.size() && is_digit(text_[at_]);
  }

  /// Skips to the next quotation mark, backslash or control character.
  void skip_plain() noexcept {
    while (at_ < text_.size()) {
      const char byte = text_[at_];
      if (byte == '"' || byte == '\\' || static_cast<unsigned char>(byte) < 0x20) return;
      ++at_;
    }
  }

  /// Takes four hexadecimal digits.
  [[nodiscard]] std::uint32_t take_code_unit() {
    std::uint32_t unit = 0;
    const char* const start = text_.data() + at_;
    const std::size_t count = std::min<std::size_t>(4, text_.size() - at_);
    const auto [end, problem] = std::from_chars(start, start + count, unit, 16);
    if (problem != std::errc() || end != start + 4) refuse("four hexadecimal digits");
    at_ += 4;
    return unit;
  }

  void take_escape(std::string& to) {
    if (at_ == text_.size()) refuse("an escape");
    static constexpr std::string_view marks = "\"\\/bfnrt";
    static constexpr std::string_view values = "\"\\/\b\f\n\r\t";
    if (const std::size_t which = marks.find(text_[at_]); which != std::string_view::npos) {
      to += values[which];
      ++at_;
      return;
    }
    if (text_[at_] != 'u') refuse("an escape");
    ++at_;
    std::uint32_t point = take_code_unit();
    if (point >= 0xD800 && point <= 0xDFFF) {
      const bool is_pair = point < 0xDC00 && text_.substr(at_).starts_with("\\u");
      if (!is_pair) refuse("a pair of surrogates");
      at_ += 2;
      const std::uint32_t low = take_code_unit();
      if (low < 0xDC00 || low > 0xDFFF) refuse("a pair of surrogates");
      point = 0x10000 + ((point - 0xD800) << 10U) + (low - 0xDC00);
    }
    append_utf8(point, to);
  }

  static void append_utf8(std::uint32_t point, std::string& to) {
    const auto add = [&](std::uint32_t byte) {
      to += static_cast<char>(static_cast<unsigned char>(byte));
    };
    if (point < 0x80) {
      add(point);
    } else if (point < 0x800) {
      add(0xC0U | point >> 6U);
      add(0x80U | (point & 0x3FU));
    } else if (point < 0x10000) {
      add(0xE0U | point >> 12U);
      add(0x80U | (point >> 6U & 0x3FU));
      add(0x80U | (point & 0x3FU));
    } else {
      add(0xF0U | point >> 18U);
      add(0x80U | (point >> 12U & 0x3FU));
      add(0x80U | (point >> 6U & 0x3FU));
      add(0x80U | (point & 0x3FU));
    }
  }

  std::string_view text_;
  std::string_view field_;
  std::size_t at_ = 0;
};

}  // namespace nibble
