#pragma once

// Loads the codes of one block into registers: into vectors of 32-bit integers one after the other, or
// into bytes or 16-bit words, all 32 codes at once. Loops over a block are unrolled to the end; nothing
// is written.

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include <nibble/codec/code_packing.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Whether a block's codes are two to a byte, and so are 0..15.
[[nodiscard]] constexpr bool is_nibbles(code_packing packing) noexcept {
  return packing == code_packing::nibble_halves || packing == code_packing::nibble_neighbors;
}

/// Calls use(codes, place) with a vector of 32-bit codes at a time, of `Elements` codes in all. `place`
/// is the number of the vector's first element.
template <class Architecture, code_packing Packing, std::size_t Elements, class Use>
NIBBLE_IN_PLACE inline void for_each_code_vector(const std::byte* codes, Use&& use) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr Architecture tag{};
  if constexpr (Packing == code_packing::unsigned_bytes) {
    static_assert(Elements % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < Elements; j += width) {
      use(simd::load_unsigned_bytes(codes + j, tag, tag), j);
    }
  } else if constexpr (Packing == code_packing::signed_bytes) {
    static_assert(Elements % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < Elements; j += width) {
      use(simd::load_signed_bytes(codes + j, tag, tag), j);
    }
  } else {
    constexpr std::size_t half = Elements / 2;
    static_assert(half % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < half; j += width) {
      const integers pairs = simd::load_unsigned_bytes(codes + j, tag, tag);
      const integers low = pairs & integers(15);
      const integers high = simd::shift_right<Architecture>(pairs, 4);
      if constexpr (Packing == code_packing::nibble_halves) {
        use(low, j);
        use(high, j + half);
      } else {
        use(simd::interleave_low(low, high, tag, tag), 2 * j);
        use(simd::interleave_high(low, high, tag, tag), 2 * j + width);
      }
    }
  }
}

/// A block's 32 codes as bytes. Signed codes become larger by 128; nibbles are in the order of
/// activation_order.
template <class Architecture, code_packing Packing>
[[nodiscard]] simd::block_bytes<Architecture> load_byte_codes(const std::byte* codes) noexcept {
  if constexpr (is_nibbles(Packing)) {
    return simd::load_nibble_bytes(codes, Architecture{}, Architecture{});
  } else {
    using bytes = simd::vector<std::uint8_t, Architecture>;
    simd::block_bytes<Architecture> block;
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] = simd::load_bytes<std::uint8_t, Architecture>(codes + i * bytes::size);
      if constexpr (Packing == code_packing::signed_bytes) block[i] = block[i] ^ bytes(128);
    }
    return block;
  }
}

/// A block's 32 codes as 16-bit words; nibbles are in the order of activation_order.
template <class Architecture, code_packing Packing>
[[nodiscard]] simd::block_words<Architecture> load_word_codes(const std::byte* codes) noexcept {
  if constexpr (is_nibbles(Packing)) {
    return simd::load_nibble_words(codes, Architecture{}, Architecture{});
  } else if constexpr (Packing == code_packing::signed_bytes) {
    return simd::load_signed_words(codes, Architecture{}, Architecture{});
  } else {
    return simd::load_unsigned_words(codes, Architecture{}, Architecture{});
  }
}

/// A block's 32 codes for products with activations of type Value.
template <class Architecture, code_packing Packing, Activation Value>
[[nodiscard]] auto load_codes(const std::byte* codes) noexcept {
  if constexpr (std::same_as<Value, std::int8_t>) {
    return load_byte_codes<Architecture, Packing>(codes);
  } else {
    return load_word_codes<Architecture, Packing>(codes);
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
