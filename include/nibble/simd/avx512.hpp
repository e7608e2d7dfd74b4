#pragma once

#if defined(__AVX512F__)

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include <nibble/simd/vector.hpp>

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::avx512f) noexcept {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::avx512f) noexcept {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_bfloat16(const std::byte* from, Architecture,
                                                        xsimd::avx512f) noexcept {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::avx512f) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <class Architecture>
void store_float16(vector<float, Architecture> values, std::byte* to, Architecture,
                   xsimd::avx512f) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      _mm512_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_low(vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture, xsimd::avx512f) noexcept {
  return _mm512_permutex2var_epi32(
      a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_high(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 Architecture,
                                                                 xsimd::avx512f) noexcept {
  return _mm512_permutex2var_epi32(
      a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), b);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd

#endif
