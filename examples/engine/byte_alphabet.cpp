#include "byte_alphabet.hpp"

#include <algorithm>
#include <cstdint>

#include <nibble/core/utf8.hpp>

namespace nibble_engine {
namespace {

constexpr unsigned letter_count = 0x144;

/// The code point of each byte's letter.
constexpr std::array<std::uint16_t, 256> make_code_points() {
  std::array<std::uint16_t, 256> points{};
  std::uint16_t next = 0x100;
  for (std::uint16_t byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    points[byte] = is_printable ? byte : next++;
  }
  return points;
}
constexpr std::array<std::uint16_t, 256> code_points = make_code_points();
static_assert(*std::ranges::max_element(code_points) + 1 == letter_count);

}  // namespace

const std::array<std::string, 256>& byte_alphabet::letters() {
  static const std::array<std::string, 256> all = [] {
    std::array<std::string, 256> made;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const unsigned point = code_points[byte];
      if (point >= 0x80) made[byte] += static_cast<char>(0xC0U | (point >> 6U));
      made[byte] += static_cast<char>(point < 0x80 ? point : 0x80U | (point & 0x3FU));
    }
    return made;
  }();
  return all;
}

const std::string& byte_alphabet::letter(unsigned char byte) { return letters()[byte]; }

std::optional<std::string> byte_alphabet::bytes(std::string_view letters) {
  static const std::array<std::optional<char>, letter_count> byte_of_point = [] {
    std::array<std::optional<char>, letter_count> made;
    for (unsigned byte = 0; byte < 256; ++byte) made[code_points[byte]] = static_cast<char>(byte);
    return made;
  }();
  std::string out;
  while (!letters.empty()) {
    const std::size_t size = nibble::utf8_sequence_bytes(letters);
    if (size == 0 || size > 2) return std::nullopt;
    unsigned point = static_cast<unsigned char>(letters[0]);
    if (size == 2) point = ((point & 0x1FU) << 6U) | (static_cast<unsigned char>(letters[1]) & 0x3FU);
    if (point >= letter_count || !byte_of_point[point]) return std::nullopt;
    out += *byte_of_point[point];
    letters.remove_prefix(size);
  }
  return out;
}

}  // namespace nibble_engine
