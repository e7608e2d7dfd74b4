#pragma once

#if defined(__SSE2__)

#include <cstdint>

#include <emmintrin.h>

#include <nibble/simd/vector.hpp>

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_low(vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture, xsimd::sse2) noexcept {
  return _mm_unpacklo_epi32(a, b);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_high(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 Architecture, xsimd::sse2) noexcept {
  return _mm_unpackhi_epi32(a, b);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd

#endif
