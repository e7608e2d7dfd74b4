#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace nibble_engine {

/// GPT-2's letters for bytes, with which vocabularies of byte-level tokenizers are spelt: a printable
/// character of Latin-1 stands for its own byte; the other 68 bytes, in order, are U+0100 to U+0143.
/// So a space is "Ġ" (U+0120) and a line feed "Ċ" (U+010A). From encoder.py of the GPT-2 release.
class byte_alphabet {
 public:
  /// The letter of a byte, in UTF-8.
  [[nodiscard]] static const std::string& letter(unsigned char byte);

  /// The bytes that `letters` stand for, or nothing where one of them is no letter of this alphabet.
  [[nodiscard]] static std::optional<std::string> bytes(std::string_view letters);

 private:
  static const std::array<std::string, 256>& letters();
};

}  // namespace nibble_engine
