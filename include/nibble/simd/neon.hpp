#pragma once

#if defined(__ARM_NEON) && defined(__aarch64__)

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/core/float16.hpp>
#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

// Memory is read and written as bytes, for which any alignment will do.
inline uint8x16_t load_sixteen_bytes(const void* from) noexcept {
  return vld1q_u8(static_cast<const std::uint8_t*>(from));
}
inline uint8x8_t load_eight_bytes(const void* from) noexcept {
  return vld1_u8(static_cast<const std::uint8_t*>(from));
}

/// Four bytes, and those that follow are zeros.
inline uint8x8_t load_four_bytes(const void* from) noexcept {
  std::uint32_t four_bytes = 0;
  std::memcpy(&four_bytes, from, sizeof(four_bytes));
  return vreinterpret_u8_u32(vset_lane_u32(four_bytes, vdup_n_u32(0), 0));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::neon64) noexcept {
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(load_four_bytes(from)))));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::neon64) noexcept {
  return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(load_four_bytes(from)))));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_low(vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture, xsimd::neon64) noexcept {
  return vzip1q_s32(a, b);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> interleave_high(vector<std::int32_t, Architecture> a,
                                                                 vector<std::int32_t, Architecture> b,
                                                                 Architecture, xsimd::neon64) noexcept {
  return vzip2q_s32(a, b);
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_bfloat16(const std::byte* from, Architecture,
                                                        xsimd::neon64) noexcept {
  const uint16x4_t halves = vreinterpret_u16_u8(load_eight_bytes(from));
  return vreinterpretq_f32_u32(vshlq_n_u32(vmovl_u16(halves), 16));
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::neon64) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u8(load_eight_bytes(from)));
}

template <class Architecture>
void store_float16(vector<float, Architecture> values, std::byte* to, Architecture,
                   xsimd::neon64) noexcept {
  vst1_u8(reinterpret_cast<std::uint8_t*>(to), vreinterpret_u8_f16(vcvt_f16_f32(values)));
}

template <class Architecture>
[[nodiscard]] vector_pair<Architecture> widen_float16_pairs(vector<std::int32_t, Architecture> pairs,
                                                            Architecture, xsimd::neon64) noexcept {
  const uint32x4_t words = vreinterpretq_u32_s32(pairs);
  return {vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(words))),
          vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(words, 16)))};
}

template <class Architecture>
[[nodiscard]] float widen_float16(float16 from, Architecture, xsimd::neon64) noexcept {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(from.bits))), 0);
}

template <class Architecture>
[[nodiscard]] float sum_of_lanes(vector<float, Architecture> of, Architecture, xsimd::neon64) noexcept {
  const float32x4_t four = of;
  return vpadds_f32(vadd_f32(vget_low_f32(four), vget_high_f32(four)));
}

template <class Architecture>
void transpose(lane_tile<Architecture>& rows, Architecture, xsimd::neon64) noexcept {
  const int64x2_t even_upper = vreinterpretq_s64_s32(vtrn1q_s32(rows[0], rows[1]));
  const int64x2_t odd_upper = vreinterpretq_s64_s32(vtrn2q_s32(rows[0], rows[1]));
  const int64x2_t even_lower = vreinterpretq_s64_s32(vtrn1q_s32(rows[2], rows[3]));
  const int64x2_t odd_lower = vreinterpretq_s64_s32(vtrn2q_s32(rows[2], rows[3]));
  rows[0] = vreinterpretq_s32_s64(vtrn1q_s64(even_upper, even_lower));
  rows[1] = vreinterpretq_s32_s64(vtrn1q_s64(odd_upper, odd_lower));
  rows[2] = vreinterpretq_s32_s64(vtrn2q_s64(even_upper, even_lower));
  rows[3] = vreinterpretq_s32_s64(vtrn2q_s64(odd_upper, odd_lower));
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline row_words<Architecture> load_row_words(const std::byte* from,
                                                                            std::size_t row_bytes,
                                                                            Architecture tag,
                                                                            xsimd::neon64) noexcept {
  row_words<Architecture> words;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = load_bytes<std::int32_t, Architecture>(from + i * row_bytes);
  }
  transpose<Architecture>(words, tag, tag);
  return words;
}

template <class Architecture>
[[nodiscard]] float largest_magnitude(const float* values, Architecture, xsimd::neon64) noexcept {
  uint32x4_t largest = vdupq_n_u32(0);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < block_codes; i += 4) {
    largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(values + i))));
  }
  return vget_lane_f32(vreinterpret_f32_u32(vdup_n_u32(vmaxvq_u32(largest))), 0);
}

/// Four vectors of eight rounded products, each of them within 16 bits, and their sum.
struct rounded_block {
  std::array<int16x8_t, 4> codes;
  std::int32_t sum;
};
inline rounded_block round_block(const float* values, float steps) noexcept {
  rounded_block of;
  int32x4_t sums = vdupq_n_s32(0);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    const int32x4_t first = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + 8 * i), steps));
    const int32x4_t second = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(values + 8 * i + 4), steps));
    sums = vaddq_s32(sums, vaddq_s32(first, second));
    of.codes[i] = vuzp1q_s16(vreinterpretq_s16_s32(first), vreinterpretq_s16_s32(second));
  }
  of.sum = vaddvq_s32(sums);
  return of;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int16_t* codes, Architecture,
                            xsimd::neon64) noexcept {
  const rounded_block rounded = round_block(values, steps);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) vst1q_s16(codes + 8 * i, rounded.codes[i]);
  return rounded.sum;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int8_t* codes, Architecture,
                            xsimd::neon64) noexcept {
  const rounded_block rounded = round_block(values, steps);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 2; ++i) {
    vst1q_s8(codes + 16 * i, vuzp1q_s8(vreinterpretq_s8_s16(rounded.codes[2 * i]),
                                       vreinterpretq_s8_s16(rounded.codes[2 * i + 1])));
  }
  return rounded.sum;
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_nibble_bytes(const std::byte* from, Architecture,
                                                          xsimd::neon64) noexcept {
  const uint8x16_t pairs = load_sixteen_bytes(from);
  return {vandq_u8(pairs, vdupq_n_u8(15)), vshrq_n_u8(pairs, 4)};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_bit_fields(const std::byte* from, int shift, int count,
                                                        int place, Architecture,
                                                        xsimd::neon64) noexcept {
  const uint8x16_t mask = vdupq_n_u8(static_cast<std::uint8_t>(((1 << count) - 1) << place));
  const int8x16_t up = vdupq_n_s8(static_cast<std::int8_t>(place - shift));
  const auto half = [&](const std::byte* bytes) {
    return vandq_u8(vshlq_u8(load_sixteen_bytes(bytes), up), mask);
  };
  return {half(from), half(from + 16)};
}

/// Sixteen bytes 0..255 as words.
inline std::array<int16x8_t, 2> widen_unsigned(uint8x16_t bytes) noexcept {
  return {vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))),
          vreinterpretq_s16_u16(vmovl_high_u8(bytes))};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_nibble_words(const std::byte* from, Architecture,
                                                          xsimd::neon64) noexcept {
  const uint8x16_t pairs = load_sixteen_bytes(from);
  const auto low = widen_unsigned(vandq_u8(pairs, vdupq_n_u8(15)));
  const auto high = widen_unsigned(vshrq_n_u8(pairs, 4));
  return {low[0], low[1], high[0], high[1]};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_unsigned_words(const std::byte* from, Architecture,
                                                            xsimd::neon64) noexcept {
  const auto first = widen_unsigned(load_sixteen_bytes(from));
  const auto second = widen_unsigned(load_sixteen_bytes(from + 16));
  return {first[0], first[1], second[0], second[1]};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_signed_words(const std::byte* from, Architecture,
                                                          xsimd::neon64) noexcept {
  const int8x16_t first = vreinterpretq_s8_u8(load_sixteen_bytes(from));
  const int8x16_t second = vreinterpretq_s8_u8(load_sixteen_bytes(from + 16));
  return {vmovl_s8(vget_low_s8(first)), vmovl_high_s8(first), vmovl_s8(vget_low_s8(second)),
          vmovl_high_s8(second)};
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> word_products(block_words<Architecture> codes,
                                                               const std::int16_t* activations,
                                                               Architecture, xsimd::neon64) noexcept {
  int32x4_t low = vdupq_n_s32(0);
  int32x4_t high = vdupq_n_s32(0);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    const int16x8_t own = codes[i];
    const int16x8_t x = vld1q_s16(activations + 8 * i);
    low = vmlal_s16(low, vget_low_s16(own), vget_low_s16(x));
    high = vmlal_high_s16(high, own, x);
  }
  return vpaddq_s32(low, high);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_pairs(vector<std::int32_t, Architecture> sums,
                                                           vector<std::int16_t, Architecture> codes,
                                                           const std::int16_t* activations,
                                                           Architecture, xsimd::neon64) noexcept {
  std::int32_t pair = 0;
  std::memcpy(&pair, activations, sizeof(pair));
  const int16x8_t x = vreinterpretq_s16_s32(vdupq_n_s32(pair));
  const int16x8_t own = codes;
  const int32x4_t low = vmull_s16(vget_low_s16(own), vget_low_s16(x));
  return vaddq_s32(sums, vpaddq_s32(low, vmull_high_s16(own, x)));
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> widen_signed_bytes(const block_bytes<Architecture>& bytes,
                                                           Architecture, xsimd::neon64) noexcept {
  const int8x16_t first = vreinterpretq_s8_u8(bytes[0]);
  const int8x16_t second = vreinterpretq_s8_u8(bytes[1]);
  return {vmovl_s8(vget_low_s8(first)), vmovl_high_s8(first), vmovl_s8(vget_low_s8(second)),
          vmovl_high_s8(second)};
}

template <class Architecture>
[[nodiscard]] half_factors<Architecture> load_half_factors(const std::int16_t* two, Architecture,
                                                           xsimd::neon64) noexcept {
  return {vdupq_n_s16(two[0]), vdupq_n_s16(two[1])};
}

/// The sums of four products of bytes 0..127 and activations each.
inline int32x4_t sums_of_four(uint8x16_t codes, const std::int8_t* activations) noexcept {
  const int8x16_t own = vreinterpretq_s8_u8(codes);
  const int8x16_t x = vld1q_s8(activations);
#if defined(__ARM_FEATURE_DOTPROD)
  return vdotq_s32(vdupq_n_s32(0), own, x);
#else
  return vpaddq_s32(vpaddlq_s16(vmull_s8(vget_low_s8(own), vget_low_s8(x))),
                    vpaddlq_s16(vmull_high_s8(own, x)));
#endif
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_byte_products(
    const block_bytes<Architecture>& codes, const std::int8_t* activations,
    const half_factors<Architecture>& factors, Architecture, xsimd::neon64) noexcept {
  const int32x4_t first = sums_of_four(codes[0], activations);
  const int32x4_t second = sums_of_four(codes[1], activations + 16);
  return vmlaq_s32(vmulq_s32(first, vmovl_s16(vget_low_s16(factors[0]))), second,
                   vmovl_s16(vget_low_s16(factors[1])));
}

#if defined(__ARM_FEATURE_MATMUL_INT8) || defined(__ARM_FEATURE_DOTPROD)

/// sums + the sum of four products, lane by lane: of bytes 0..255 where the instruction set multiplies
/// unsigned bytes by signed ones (multiplies_any_byte), else of bytes that are the same number either
/// way.
inline int32x4_t add_byte_products(int32x4_t sums, uint8x16_t codes, int8x16_t activations) noexcept {
#if defined(__ARM_FEATURE_MATMUL_INT8)
  return vusdotq_s32(sums, codes, activations);
#else
  return vdotq_s32(sums, vreinterpretq_s8_u8(codes), activations);
#endif
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                               const std::int8_t* activations,
                                                               Architecture, xsimd::neon64) noexcept {
  const int32x4_t first = add_byte_products(vdupq_n_s32(0), codes[0], vld1q_s8(activations));
  return add_byte_products(first, codes[1], vld1q_s8(activations + 16));
}

template <class Architecture>
[[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                vector<std::uint8_t, Architecture> codes,
                                                const std::int8_t* activations, Architecture,
                                                xsimd::neon64) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return add_byte_products(sums, codes, vreinterpretq_s8_s32(vdupq_n_s32(quad)));
}

#else

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                               const std::int8_t* activations,
                                                               Architecture, xsimd::neon64) noexcept {
  const int8x16_t own = vreinterpretq_s8_u8(codes[0]);
  const int8x16_t more = vreinterpretq_s8_u8(codes[1]);
  const int8x16_t x = vld1q_s8(activations);
  const int8x16_t more_x = vld1q_s8(activations + 16);
  const int16x8_t low =
      vmlal_s8(vmull_s8(vget_low_s8(own), vget_low_s8(x)), vget_low_s8(more), vget_low_s8(more_x));
  const int16x8_t high = vmlal_high_s8(vmull_high_s8(own, x), more, more_x);
  return vpaddlq_s16(vpaddq_s16(low, high));
}

template <class Architecture>
[[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                vector<std::uint8_t, Architecture> codes,
                                                const std::int8_t* activations, Architecture,
                                                xsimd::neon64) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(quad));
  const int8x16_t own = vreinterpretq_s8_u8(codes);
  const int16x8_t low = vmull_s8(vget_low_s8(own), vget_low_s8(x));
  return vaddq_s16(sums, vpaddq_s16(low, vmull_high_s8(own, x)));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> total_of_quads(quad_sums<Architecture> sums,
                                                                Architecture, xsimd::neon64) noexcept {
  return vpaddlq_s16(sums);
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
