#pragma once

// Scales of blocks whose header is a float16 scale, and a float16 min where the encoding has one. The
// first four bytes of as many blocks as there are lanes are gathered into one vector and widened at
// once; nothing but the result leaves the registers.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codec.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The first four bytes of as many blocks as there are lanes, StrideBytes apart.
template <class Architecture, std::size_t StrideBytes>
[[nodiscard]] simd::vector<std::int32_t, Architecture> load_headers(const std::byte* first) noexcept {
  return simd::load_words_apart<StrideBytes>(first, Architecture{}, Architecture{});
}

/// The same for `count` blocks, fewer than lanes. Lanes without a block are zero.
template <class Architecture, std::size_t StrideBytes>
[[nodiscard]] simd::vector<std::int32_t, Architecture> load_partial_headers(
    const std::byte* first, std::size_t count) noexcept {
  std::array<std::int32_t, simd::lanes<Architecture>> headers{};
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(&headers[i], first + i * StrideBytes, sizeof(headers[i]));
  }
  return simd::vector<std::int32_t, Architecture>::load_unaligned(headers.data());
}

/// Scales as they count, and mins where the encoding has any, from the first four bytes of blocks. By
/// value: GCC 12 for Windows drops, at -O1, the store of a vector that is read through a reference alone.
template <class Architecture, BlockCodec Codec>
[[nodiscard]] simd::vector_pair<Architecture> scales_from_headers(
    simd::vector<std::int32_t, Architecture> headers) noexcept {
  static_assert(offsetof(typename Codec::block, codes) == (Codec::has_min ? 2 : 1) * sizeof(float16));
  auto scales = simd::widen_float16_pairs(headers, Architecture{}, Architecture{});
  if constexpr (NormalScaleCodec<Codec>) {
    scales.first = simd::normal_float16_or_zero(scales.first, Architecture{}, Architecture{});
  }
  return scales;
}

/// Writes scales and offsets of blocks: value = scale * code + offset. The codes that products see are
/// larger than the codec's by code_bias.
template <class Architecture, BlockCodec Codec>
void store_scales_from_headers(simd::vector<std::int32_t, Architecture> headers, float code_bias,
                               float* scales, float* offsets) noexcept {
  using floats = simd::vector<float, Architecture>;
  const auto both = scales_from_headers<Architecture, Codec>(headers);
  both.first.store_unaligned(scales);
  floats offset(0.0F);
  if constexpr (Codec::has_min) offset = both.second;
  code_bias += static_cast<float>(Codec::code_zero);
  if (code_bias != 0.0F) offset = simd::fma(both.first, floats(-code_bias), offset);
  offset.store_unaligned(offsets);
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
