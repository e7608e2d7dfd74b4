#pragma once

#if defined(__AVX2__)

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include <nibble/simd/vector.hpp>

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::avx2) noexcept {
  return _mm256_cvtepu8_epi32(_mm_loadu_si64(from));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::avx2) noexcept {
  return _mm256_cvtepi8_epi32(_mm_loadu_si64(from));
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_bfloat16(const std::byte* from, Architecture,
                                                        xsimd::avx2) noexcept {
  const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_low(vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture, xsimd::avx2) noexcept {
  return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b), 0x20);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_high(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 Architecture, xsimd::avx2) noexcept {
  return _mm256_permute2x128_si256(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b), 0x31);
}

#if defined(__F16C__)

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::avx2) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

template <class Architecture>
void store_float16(vector<float, Architecture> values, std::byte* to, Architecture,
                   xsimd::avx2) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd

#endif
