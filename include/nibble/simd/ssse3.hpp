#pragma once

#if defined(__SSSE3__)

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/sse2.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                               const std::int8_t* activations,
                                                               Architecture, xsimd::ssse3) noexcept {
  const __m128i pairs =
      _mm_add_epi16(_mm_maddubs_epi16(codes[0], load_sixteen_bytes(activations)),
                    _mm_maddubs_epi16(codes[1], load_sixteen_bytes(activations + 16)));
  return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_byte_products(
    const block_bytes<Architecture>& codes, const std::int8_t* activations,
    const half_factors<Architecture>& factors, Architecture, xsimd::ssse3) noexcept {
  const __m128i first = _mm_maddubs_epi16(codes[0], load_sixteen_bytes(activations));
  const __m128i second = _mm_maddubs_epi16(codes[1], load_sixteen_bytes(activations + 16));
  return _mm_add_epi32(_mm_madd_epi16(first, factors[0]), _mm_madd_epi16(second, factors[1]));
}

template <class Architecture>
[[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                vector<std::uint8_t, Architecture> codes,
                                                const std::int8_t* activations, Architecture,
                                                xsimd::ssse3) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return _mm_add_epi16(sums, _mm_maddubs_epi16(codes, _mm_set1_epi32(quad)));
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
