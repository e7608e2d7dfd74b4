#pragma once

#if defined(__SSE4_1__)

#include <cstddef>
#include <cstdint>
#include <cstring>

#include <smmintrin.h>

#include <nibble/simd/vector.hpp>

namespace nibble::simd {
inline namespace NIBBLE_ARCHITECTURE {

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::sse4_1) noexcept {
  std::int32_t four_bytes = 0;
  std::memcpy(&four_bytes, from, sizeof(four_bytes));
  return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(four_bytes));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::sse4_1) noexcept {
  std::int32_t four_bytes = 0;
  std::memcpy(&four_bytes, from, sizeof(four_bytes));
  return _mm_cvtepi8_epi32(_mm_cvtsi32_si128(four_bytes));
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble::simd

#endif
