#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/codec/nibble_halves.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 32 elements in 18 bytes, 4.5 bits per weight: x = scale * code_values[q], q in 0..15. ggml's IQ4_NL:
/// steps grow with the distance from zero, as weights thin out. No packing from f32: files hold what
/// ggml chose with its own importance weights.
///
///   byte  0     2                                           18
///         | scale | q[0] + 16 q[16] ... q[15] + 16 q[31] |
struct iq4_nl {
  static constexpr nibble::encoding encoding = nibble::encoding::iq4_nl;
  static constexpr std::size_t block_elements = 32;
  static constexpr std::int32_t code_zero = 0;
  static constexpr bool has_min = describe(encoding).has_min;
  static constexpr std::array<std::int8_t, 16> code_values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                              1,    13,   25,  38,  53,  69,  89,  113};

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 2> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  [[nodiscard]] static constexpr code_bits low_bits(std::size_t) noexcept {
    return {.layout = bit_layout::nibble_halves, .at_byte = offsetof(block, codes), .count = 4};
  }

  [[nodiscard]] static float scale(const block& from) noexcept { return to_float32(from.scale); }

  /// The first values.size() (at most 32) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    for (std::size_t j = 0; j < values.size(); ++j) {
      const std::size_t code = load_nibble_half(from.codes, j);
      values[j] = scale(from) * static_cast<float>(code_values[code]);
    }
  }
};
static_assert(sizeof(iq4_nl::block) == describe(iq4_nl::encoding).block_bytes);
static_assert(iq4_nl::block_elements == describe(iq4_nl::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::iq4_nl> {
  using type = iq4_nl;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
