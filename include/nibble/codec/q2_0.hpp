#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/codec/codec.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// 64 elements in 18 bytes, 2.25 bits per weight: x = scale * (q - 1), q in 0..3. ggml's Q2_0.
///
///   byte  0     2                                              18
///         | scale | q[0] + 4 q[1] + 16 q[2] + 64 q[3] | ... 15 more |
struct q2_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::q2_0;
  static constexpr std::size_t block_elements = 64;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    float16 scale;
    std::array<std::uint8_t, block_elements / 4> codes;
  };
  static_assert(sizeof(block) == 18 && alignof(block) == 2);

  /// The first values.size() (at most 64) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float scale = to_float32(from.scale);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int code = from.codes[j / 4] >> (j % 4 * 2) & 3;
      values[j] = scale * static_cast<float>(code - 1);
    }
  }
};
static_assert(sizeof(q2_0::block) == describe(q2_0::encoding).block_bytes);
static_assert(q2_0::block_elements == describe(q2_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::q2_0> {
  using type = q2_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
