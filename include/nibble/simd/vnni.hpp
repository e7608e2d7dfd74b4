#pragma once

#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/vector.hpp>

#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__)

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

/// sums + the sum of four products of unsigned and signed bytes, lane by lane.
inline __m256i add_byte_products(__m256i sums, __m256i codes, __m256i activations) noexcept {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return _mm256_dpbusd_epi32(sums, codes, activations);
#else
  return _mm256_dpbusd_avx_epi32(sums, codes, activations);
#endif
}

template <class Architecture>
requires(multiplies_any_byte<Architecture>)
    [[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                                   const std::int8_t* activations,
                                                                   Architecture, xsimd::avx2) noexcept {
  return add_byte_products(_mm256_setzero_si256(), codes[0],
                           _mm256_loadu_si256(reinterpret_cast<const __m256i*>(activations)));
}

template <class Architecture>
requires(multiplies_any_byte<Architecture>)
    [[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                    vector<std::uint8_t, Architecture> codes,
                                                    const std::int8_t* activations, Architecture,
                                                    xsimd::avx2) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return add_byte_products(sums, codes, _mm256_set1_epi32(quad));
}

#if defined(__AVX512VNNI__)

template <class Architecture>
requires(multiplies_any_byte<Architecture>)
    [[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                    vector<std::uint8_t, Architecture> codes,
                                                    const std::int8_t* activations, Architecture,
                                                    xsimd::avx512bw) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return _mm512_dpbusd_epi32(sums, codes, _mm512_set1_epi32(quad));
}

template <class Architecture>
requires(multiplies_any_byte<Architecture>)
    [[nodiscard]] vector<std::int32_t, Architecture> add_quad_products(
        vector<std::int32_t, Architecture> sums, vector<std::uint8_t, Architecture> codes,
        const std::int8_t* activations, Architecture, xsimd::avx512bw) noexcept {
  return _mm512_dpbusd_epi32(sums, codes, _mm512_loadu_si512(activations));
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
