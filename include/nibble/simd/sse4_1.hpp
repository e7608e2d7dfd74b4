#pragma once

#if defined(__SSE4_1__)

#include <cstddef>
#include <cstdint>

#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/sse2.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::sse4_1) noexcept {
  return _mm_cvtepu8_epi32(load_four_bytes(from));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::sse4_1) noexcept {
  return _mm_cvtepi8_epi32(load_four_bytes(from));
}

template <class Architecture>
[[nodiscard]] float largest_magnitude(const float* values, Architecture, xsimd::sse4_1) noexcept {
  const __m128i mask = _mm_set1_epi32(0x7FFFFFFF);
  __m128i largest = _mm_setzero_si128();
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < block_codes; i += 4) {
    largest = _mm_max_epi32(largest, _mm_and_si128(load_sixteen_bytes(values + i), mask));
  }
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, 0x4E));
  largest = _mm_max_epi32(largest, _mm_shuffle_epi32(largest, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(largest));
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_unsigned_words(const std::byte* from, Architecture,
                                                            xsimd::sse4_1) noexcept {
  return {_mm_cvtepu8_epi16(load_eight_bytes(from)), _mm_cvtepu8_epi16(load_eight_bytes(from + 8)),
          _mm_cvtepu8_epi16(load_eight_bytes(from + 16)),
          _mm_cvtepu8_epi16(load_eight_bytes(from + 24))};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_signed_words(const std::byte* from, Architecture,
                                                          xsimd::sse4_1) noexcept {
  return {_mm_cvtepi8_epi16(load_eight_bytes(from)), _mm_cvtepi8_epi16(load_eight_bytes(from + 8)),
          _mm_cvtepi8_epi16(load_eight_bytes(from + 16)),
          _mm_cvtepi8_epi16(load_eight_bytes(from + 24))};
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
