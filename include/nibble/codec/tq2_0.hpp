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

/// 256 elements in 66 bytes, 2.0625 bits per weight: x = scale * (q - 1), q in 0..3. ggml's TQ2_0, for
/// models that were trained with ternary weights: what packs it writes 0..2 alone.
///
///   byte  0                                                       32               64      66
///         | q[0] + 4 q[32] + 16 q[64] + 64 q[96] ... 31 more | q[128] ... | scale |
struct tq2_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::tq2_0;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, block_elements / 4> codes;
    float16 scale;
  };
  static_assert(sizeof(block) == 66 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    const float scale = to_float32(from.scale);
    for (std::size_t j = 0; j < values.size(); ++j) {
      const int code = from.codes[j / 128 * 32 + j % 32] >> (j % 128 / 32 * 2) & 3;
      values[j] = scale * static_cast<float>(code - 1);
    }
  }
};
static_assert(sizeof(tq2_0::block) == describe(tq2_0::encoding).block_bytes);
static_assert(tq2_0::block_elements == describe(tq2_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::tq2_0> {
  using type = tq2_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
