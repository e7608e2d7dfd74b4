#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include <nibble/core/utf8.hpp>

namespace nibble_engine {

/// Turns bytes that come a few at a time, as tokens do, into text that can be shown at once: what may
/// yet become a character is held back. All that is given out is together what
/// nibble::replace_invalid_utf8() makes of all bytes: each that is not UTF-8 becomes U+FFFD.
class utf8_stream {
 public:
  /// Takes bytes in, gives out what is whole.
  [[nodiscard]] std::string push(std::string_view bytes) {
    held_ += bytes;
    std::size_t whole = held_.size();
    // No character is longer than four bytes, so what is unfinished is at most three.
    for (std::size_t tail = 1; tail <= std::min<std::size_t>(3, held_.size()); ++tail) {
      if (is_unfinished(std::string_view(held_).substr(held_.size() - tail))) {
        whole = held_.size() - tail;
      }
    }
    std::string out = nibble::replace_invalid_utf8(std::string_view(held_).substr(0, whole));
    held_.erase(0, whole);
    return out;
  }

  /// Gives out what is still held, at the end of the text.
  [[nodiscard]] std::string finish() {
    std::string out = nibble::replace_invalid_utf8(held_);
    held_.clear();
    return out;
  }

 private:
  /// Whether more bytes make one character of these. Each second byte that a first byte allows lies
  /// between 0x80 and 0xBF, and one of those two is always allowed.
  static bool is_unfinished(std::string_view bytes) {
    for (const char filler : {'\x80', '\xBF'}) {
      std::string filled(bytes);
      filled.resize(4, filler);
      if (nibble::utf8_sequence_bytes(filled) > bytes.size()) return true;
    }
    return false;
  }

  std::string held_;
};

}  // namespace nibble_engine
