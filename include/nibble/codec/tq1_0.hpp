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

/// 256 elements in 54 bytes, 1.6875 bits per weight: x = scale * (q - 1), q in 0..2. ggml's TQ1_0, for
/// models that were trained with ternary weights. Five codes share a byte, four in the last four bytes:
/// a byte b is the first 8 bits of the fraction b / 256 in base 3, and its n-th code the n-th digit,
/// 3 * (b * 3^n mod 256) / 256 cut to a whole number. No packing from f32: tq2_0 holds the same values.
///
///   byte  0                                       32
///         | q[0], q[32], q[64], q[96], q[128] | ... 31 more |
///         32                                            48
///         | q[160], q[176], q[192], q[208], q[224] | ... 15 more |
///         48                                              52      54
///         | q[240], q[244], q[248], q[252] | ... 3 more | scale |
struct tq1_0 {
  static constexpr nibble::encoding encoding = nibble::encoding::tq1_0;
  static constexpr std::size_t block_elements = 256;
  static constexpr bool has_min = describe(encoding).has_min;

  struct block {
    std::array<std::uint8_t, 52> codes;
    float16 scale;
  };
  static_assert(sizeof(block) == 54 && alignof(block) == 2);

  /// The first values.size() (at most 256) elements of a block.
  static void unpack(const block& from, std::span<float> values) noexcept {
    constexpr std::array powers = {1U, 3U, 9U, 27U, 81U};
    const float scale = to_float32(from.scale);
    // As many bytes as hold neighbours, and how many codes are in each.
    struct group {
      std::size_t bytes;
      std::size_t codes;
    };
    std::size_t first_byte = 0;
    std::size_t j = 0;
    for (const group& each : {group{32, 5}, group{16, 5}, group{4, 4}}) {
      for (std::size_t n = 0; n < each.codes; ++n) {
        for (std::size_t i = 0; i < each.bytes && j < values.size(); ++i, ++j) {
          const unsigned fraction = from.codes[first_byte + i] * powers[n] % 256;
          values[j] = scale * static_cast<float>(static_cast<int>(fraction * 3 / 256) - 1);
        }
      }
      first_byte += each.bytes;
    }
  }
};
static_assert(sizeof(tq1_0::block) == describe(tq1_0::encoding).block_bytes);
static_assert(tq1_0::block_elements == describe(tq1_0::encoding).block_elements);

template <>
struct codec_of<nibble::encoding::tq1_0> {
  using type = tq1_0;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
