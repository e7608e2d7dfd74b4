#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/code_bits.hpp>
#include <nibble/core/architecture.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// Eight scales and eight mins of 6 bits each in 12 bytes, as ggml's Q4_K and Q5_K hold them:
///
///   byte j      scale[j] + 64 * (scale[j + 4] / 16)             j = 0..3
///   byte j + 4  min[j] + 64 * (min[j + 4] / 16)
///   byte j + 8  scale[j + 4] % 16 + 16 * (min[j + 4] % 16)
struct six_bit_pairs {
  std::array<std::uint8_t, 12> bytes;

  /// The eight scales; the numbers behind them are 0.
  [[nodiscard]] sub_block_numbers scales() const noexcept {
    const std::uint32_t first = word(0) & 0x3F3F3F3FU;
    const std::uint32_t second = (word(2) & 0x0F0F0F0FU) | ((word(0) >> 2U) & 0x30303030U);
    return numbers(first, second);
  }
  /// The eight mins; the numbers behind them are 0.
  [[nodiscard]] sub_block_numbers mins() const noexcept {
    const std::uint32_t first = word(1) & 0x3F3F3F3FU;
    const std::uint32_t second = ((word(2) >> 4U) & 0x0F0F0F0FU) | ((word(1) >> 2U) & 0x30303030U);
    return numbers(first, second);
  }

  /// Stores eight numbers 0..63 each.
  void store(const sub_block_numbers& scales, const sub_block_numbers& mins) noexcept {
    for (std::size_t j = 0; j < 4; ++j) {
      const int high_scale = scales[j + 4];
      const int high_min = mins[j + 4];
      bytes[j] = static_cast<std::uint8_t>(scales[j] + 64 * (high_scale / 16));
      bytes[j + 4] = static_cast<std::uint8_t>(mins[j] + 64 * (high_min / 16));
      bytes[j + 8] = static_cast<std::uint8_t>(high_scale % 16 + 16 * (high_min % 16));
    }
  }

 private:
  /// Four bytes side by side; no bit ever leaves its byte, so the order of bytes does not matter.
  [[nodiscard]] std::uint32_t word(std::size_t index) const noexcept {
    std::uint32_t four = 0;
    std::memcpy(&four, bytes.data() + 4 * index, sizeof(four));
    return four;
  }
  [[nodiscard]] static sub_block_numbers numbers(std::uint32_t first, std::uint32_t second) noexcept {
    // All eight at once: who loads eight would wait for two stores of four.
    const std::uint64_t eight = first | (std::uint64_t{second} << 32U);
    sub_block_numbers all{};
    std::memcpy(all.data(), &eight, sizeof(eight));
    return all;
  }
};
static_assert(sizeof(six_bit_pairs) == 12 && alignof(six_bit_pairs) == 1);

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
