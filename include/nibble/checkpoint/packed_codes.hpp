#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/little_endian.hpp>

namespace nibble {

/// Codes of 1 to 16 bits in words of 32, the first in the lowest bits; a code may go on in the next word.
/// The words of one sequence need not lie side by side: those of a column are a row apart.
struct packed_codes {
  std::span<const std::byte> words{};  ///< of the tensor
  unsigned bits = 4;                   ///< of a code

  /// Code i of the sequence of words first, first + stride, ...
  [[nodiscard]] std::uint32_t at(std::uint64_t first, std::uint64_t stride,
                                 std::uint64_t i) const noexcept {
    const std::uint64_t bit = i * bits;
    const auto skipped = static_cast<unsigned>(bit % 32);
    const std::uint64_t word = first + bit / 32 * stride;
    std::uint32_t code = load(word) >> skipped;
    if (skipped + bits > 32) code |= load(word + stride) << (32 - skipped);
    return code & ((1U << bits) - 1U);
  }

 private:
  [[nodiscard]] std::uint32_t load(std::uint64_t word) const noexcept {
    return load_number<std::uint32_t>(words, static_cast<std::size_t>(word) * 4);
  }
};

}  // namespace nibble
