#pragma once

#if defined(__SSE2__)

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

inline __m128i load_sixteen_bytes(const void* from) noexcept {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

/// Eight bytes, and those that follow are zeros.
inline __m128i load_eight_bytes(const void* from) noexcept {
  return _mm_loadl_epi64(static_cast<const __m128i*>(from));
}

/// Four bytes, and those that follow are zeros.
inline __m128i load_four_bytes(const void* from) noexcept {
  std::int32_t four_bytes = 0;
  std::memcpy(&four_bytes, from, sizeof(four_bytes));
  return _mm_cvtsi32_si128(four_bytes);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_unsigned_bytes(const std::byte* from,
                                                                     Architecture,
                                                                     xsimd::sse2) noexcept {
  const __m128i zeros = _mm_setzero_si128();
  return _mm_unpacklo_epi16(_mm_unpacklo_epi8(load_four_bytes(from), zeros), zeros);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_signed_bytes(const std::byte* from, Architecture,
                                                                   xsimd::sse2) noexcept {
  // Each byte into the upper end of its lane, from where it is shifted down with its sign.
  const __m128i zeros = _mm_setzero_si128();
  const __m128i upper = _mm_unpacklo_epi8(zeros, load_four_bytes(from));
  return _mm_srai_epi32(_mm_unpacklo_epi16(zeros, upper), 24);
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_bfloat16(const std::byte* from, Architecture,
                                                        xsimd::sse2) noexcept {
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), load_eight_bytes(from)));
}

template <class Architecture>
void store_bfloat16(vector<float, Architecture> values, std::byte* to, Architecture,
                    xsimd::sse2) noexcept {
  const __m128i halves = _mm_srai_epi32(round_to_upper_halves<Architecture>(values), 16);
  _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packs_epi32(halves, halves));
}

inline void copy_line_past_caches(const float* from, float* to, xsimd::sse2) noexcept {
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 16; i += 4) _mm_stream_ps(to + i, _mm_loadu_ps(from + i));
}

inline void order_stores_past_caches(xsimd::sse2) noexcept { _mm_sfence(); }

/// float16 in the lower halves of lanes, zeros above them, widened to f32.
inline __m128 widen_four_halves(__m128i halves) noexcept {
  const __m128i magnitudes = _mm_and_si128(halves, _mm_set1_epi32(0x7FFF));
  const __m128i signs = _mm_slli_epi32(_mm_xor_si128(halves, magnitudes), 16);
  // Exponents are biased by 112 more, and by as much again where all their bits are set.
  const __m128i bias = _mm_set1_epi32(112 << 23);
  const __m128i is_special = _mm_cmpgt_epi32(magnitudes, _mm_set1_epi32(0x7BFF));
  const __m128i is_nan = _mm_cmpgt_epi32(magnitudes, _mm_set1_epi32(0x7C00));
  const __m128i rebiased = _mm_add_epi32(_mm_add_epi32(_mm_slli_epi32(magnitudes, 13), bias),
                                         _mm_and_si128(is_special, bias));
  const __m128i normal = _mm_or_si128(rebiased, _mm_and_si128(is_nan, _mm_set1_epi32(0x400000)));
  const __m128 multiples = _mm_mul_ps(_mm_cvtepi32_ps(magnitudes), _mm_set1_ps(0x1p-24F));
  const __m128i is_subnormal = _mm_cmpgt_epi32(_mm_set1_epi32(0x400), magnitudes);
  const __m128i wide = _mm_or_si128(_mm_and_si128(is_subnormal, _mm_castps_si128(multiples)),
                                    _mm_andnot_si128(is_subnormal, normal));
  return _mm_castsi128_ps(_mm_or_si128(signs, wide));
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::sse2) noexcept {
  return widen_four_halves(_mm_unpacklo_epi16(load_eight_bytes(from), _mm_setzero_si128()));
}

template <class Architecture>
[[nodiscard]] vector_pair<Architecture> widen_float16_pairs(vector<std::int32_t, Architecture> pairs,
                                                            Architecture, xsimd::sse2) noexcept {
  return {widen_four_halves(_mm_and_si128(pairs, _mm_set1_epi32(0xFFFF))),
          widen_four_halves(_mm_srli_epi32(pairs, 16))};
}

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

template <class Architecture>
[[nodiscard]] float sum_of_lanes(vector<float, Architecture> of, Architecture, xsimd::sse2) noexcept {
  const __m128 four = of;
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <class Architecture>
void transpose(lane_tile<Architecture>& rows, Architecture, xsimd::sse2) noexcept {
  const __m128i upper_low = _mm_unpacklo_epi32(rows[0], rows[1]);
  const __m128i upper_high = _mm_unpackhi_epi32(rows[0], rows[1]);
  const __m128i lower_low = _mm_unpacklo_epi32(rows[2], rows[3]);
  const __m128i lower_high = _mm_unpackhi_epi32(rows[2], rows[3]);
  rows[0] = _mm_unpacklo_epi64(upper_low, lower_low);
  rows[1] = _mm_unpackhi_epi64(upper_low, lower_low);
  rows[2] = _mm_unpacklo_epi64(upper_high, lower_high);
  rows[3] = _mm_unpackhi_epi64(upper_high, lower_high);
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline row_words<Architecture> load_row_words(const std::byte* from,
                                                                            std::size_t row_bytes,
                                                                            Architecture tag,
                                                                            xsimd::sse2) noexcept {
  row_words<Architecture> words;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < words.size(); ++i) {
    words[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * row_bytes));
  }
  transpose<Architecture>(words, tag, tag);
  return words;
}

/// The larger of two lanes.
inline __m128i larger_of(__m128i a, __m128i b) noexcept {
  const __m128i is_larger = _mm_cmpgt_epi32(a, b);
  return _mm_or_si128(_mm_and_si128(is_larger, a), _mm_andnot_si128(is_larger, b));
}

template <class Architecture>
[[nodiscard]] float largest_magnitude(const float* values, Architecture, xsimd::sse2) noexcept {
  const __m128i mask = _mm_set1_epi32(0x7FFFFFFF);
  __m128i largest = _mm_setzero_si128();
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < block_codes; i += 4) {
    largest = larger_of(largest, _mm_and_si128(load_sixteen_bytes(values + i), mask));
  }
  largest = larger_of(largest, _mm_shuffle_epi32(largest, 0x4E));
  largest = larger_of(largest, _mm_shuffle_epi32(largest, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(largest));
}

/// 32 rounded products as words, and their sum.
template <class Architecture>
struct rounded_words {
  block_words<Architecture> codes;
  std::int32_t sum;
};
template <class Architecture>
[[nodiscard]] rounded_words<Architecture> round_to_words(const float* values, float steps) noexcept {
  rounded_words<Architecture> of;
  const __m128 factor = _mm_set1_ps(steps);
  __m128i sums = _mm_setzero_si128();
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    const float* const from = values + 8 * i;
    const __m128i first = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(from), factor));
    const __m128i second = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(from + 4), factor));
    sums = _mm_add_epi32(sums, _mm_add_epi32(first, second));
    of.codes[i] = _mm_packs_epi32(first, second);
  }
  sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4E));
  sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xB1));
  of.sum = _mm_cvtsi128_si32(sums);
  return of;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int16_t* codes, Architecture,
                            xsimd::sse2) noexcept {
  const auto rounded = round_to_words<Architecture>(values, steps);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 8 * i), rounded.codes[i]);
  }
  return rounded.sum;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int8_t* codes, Architecture,
                            xsimd::sse2) noexcept {
  const auto rounded = round_to_words<Architecture>(values, steps);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 2; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * i),
                     _mm_packs_epi16(rounded.codes[2 * i], rounded.codes[2 * i + 1]));
  }
  return rounded.sum;
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_nibble_bytes(const std::byte* from, Architecture,
                                                          xsimd::sse2) noexcept {
  const __m128i pairs = load_sixteen_bytes(from);
  const __m128i mask = _mm_set1_epi8(15);
  return {_mm_and_si128(pairs, mask), _mm_and_si128(_mm_srli_epi16(pairs, 4), mask)};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_bit_fields(const std::byte* from, int shift, int count,
                                                        int place, Architecture, xsimd::sse2) noexcept {
  // Bits that a shift of 16 brings in from the neighbour lie beside the field.
  const __m128i mask = _mm_set1_epi8(static_cast<char>(((1 << count) - 1) << place));
  const auto half = [&](const std::byte* bytes) {
    const __m128i sixteen = load_sixteen_bytes(bytes);
    return _mm_and_si128(shift >= place ? _mm_srli_epi16(sixteen, shift - place)
                                        : _mm_slli_epi16(sixteen, place - shift),
                         mask);
  };
  return {half(from), half(from + 16)};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_nibble_words(const std::byte* from, Architecture,
                                                          xsimd::sse2) noexcept {
  const __m128i pairs = load_sixteen_bytes(from);
  const __m128i zeros = _mm_setzero_si128();
  const __m128i mask = _mm_set1_epi16(15);
  const __m128i first = _mm_unpacklo_epi8(pairs, zeros);
  const __m128i second = _mm_unpackhi_epi8(pairs, zeros);
  return {_mm_and_si128(first, mask), _mm_and_si128(second, mask), _mm_srli_epi16(first, 4),
          _mm_srli_epi16(second, 4)};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_unsigned_words(const std::byte* from, Architecture,
                                                            xsimd::sse2) noexcept {
  const __m128i zeros = _mm_setzero_si128();
  const __m128i first = load_sixteen_bytes(from);
  const __m128i second = load_sixteen_bytes(from + 16);
  return {_mm_unpacklo_epi8(first, zeros), _mm_unpackhi_epi8(first, zeros),
          _mm_unpacklo_epi8(second, zeros), _mm_unpackhi_epi8(second, zeros)};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_signed_words(const std::byte* from, Architecture,
                                                          xsimd::sse2) noexcept {
  const __m128i first = load_sixteen_bytes(from);
  const __m128i second = load_sixteen_bytes(from + 16);
  return {_mm_srai_epi16(_mm_unpacklo_epi8(first, first), 8),
          _mm_srai_epi16(_mm_unpackhi_epi8(first, first), 8),
          _mm_srai_epi16(_mm_unpacklo_epi8(second, second), 8),
          _mm_srai_epi16(_mm_unpackhi_epi8(second, second), 8)};
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> word_products(block_words<Architecture> codes,
                                                               const std::int16_t* activations,
                                                               Architecture, xsimd::sse2) noexcept {
  __m128i sums = _mm_madd_epi16(codes[0], load_sixteen_bytes(activations));
  NIBBLE_UNROLL
  for (std::size_t i = 1; i < 4; ++i) {
    sums = _mm_add_epi32(sums, _mm_madd_epi16(codes[i], load_sixteen_bytes(activations + 8 * i)));
  }
  return sums;
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_pairs(vector<std::int32_t, Architecture> sums,
                                                           vector<std::int16_t, Architecture> codes,
                                                           const std::int16_t* activations,
                                                           Architecture, xsimd::sse2) noexcept {
  std::int32_t pair = 0;
  std::memcpy(&pair, activations, sizeof(pair));
  return _mm_add_epi32(sums, _mm_madd_epi16(codes, _mm_set1_epi32(pair)));
}

/// The sums of pairs of products of codes 0..127 and activations, in 16 bits each.
inline __m128i pair_products(__m128i codes, __m128i activations) noexcept {
  const __m128i zeros = _mm_setzero_si128();
  const auto low = [](__m128i x) { return _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8); };
  const auto high = [](__m128i x) { return _mm_srai_epi16(_mm_unpackhi_epi8(x, x), 8); };
  return _mm_packs_epi32(_mm_madd_epi16(_mm_unpacklo_epi8(codes, zeros), low(activations)),
                         _mm_madd_epi16(_mm_unpackhi_epi8(codes, zeros), high(activations)));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                               const std::int8_t* activations,
                                                               Architecture, xsimd::sse2) noexcept {
  const __m128i pairs = _mm_add_epi16(pair_products(codes[0], load_sixteen_bytes(activations)),
                                      pair_products(codes[1], load_sixteen_bytes(activations + 16)));
  return _mm_madd_epi16(pairs, _mm_set1_epi16(1));
}

/// The low and the high eight of sixteen signed bytes as words.
inline __m128i low_as_words(__m128i bytes) noexcept {
  return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}
inline __m128i high_as_words(__m128i bytes) noexcept {
  return _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8);
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> widen_signed_bytes(const block_bytes<Architecture>& bytes,
                                                           Architecture, xsimd::sse2) noexcept {
  return {low_as_words(bytes[0]), high_as_words(bytes[0]), low_as_words(bytes[1]),
          high_as_words(bytes[1])};
}

template <class Architecture>
[[nodiscard]] factor_words<Architecture> load_factors(const std::int8_t* from, Architecture,
                                                      xsimd::sse2) noexcept {
  const __m128i bytes = load_sixteen_bytes(from);
  return {low_as_words(bytes), high_as_words(bytes)};
}

/// One of eight words, in all of them.
template <std::size_t Word>
[[nodiscard]] __m128i spread_word(__m128i words) noexcept {
  constexpr int place = Word % 4 * 0x55;
  if constexpr (Word < 4) {
    const __m128i half = _mm_shufflelo_epi16(words, place);
    return _mm_unpacklo_epi64(half, half);
  } else {
    const __m128i half = _mm_shufflehi_epi16(words, place);
    return _mm_unpackhi_epi64(half, half);
  }
}

template <std::size_t Block, class Architecture>
[[nodiscard]] half_factors<Architecture> half_factors_of(const factor_words<Architecture>& all,
                                                         Architecture, xsimd::sse2) noexcept {
  constexpr std::size_t word = Block % 4 * 2;
  return {spread_word<word>(all[Block / 4]), spread_word<word + 1>(all[Block / 4])};
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_byte_products(
    const block_bytes<Architecture>& codes, const std::int8_t* activations,
    const half_factors<Architecture>& factors, Architecture, xsimd::sse2) noexcept {
  const auto half = [&](std::size_t i) {
    // A factor's two codes, as words: the even ones, and the odd ones.
    const __m128i x = load_sixteen_bytes(activations + 16 * i);
    const __m128i even = _mm_mullo_epi16(_mm_and_si128(codes[i], _mm_set1_epi16(0xFF)), factors[i]);
    const __m128i odd = _mm_mullo_epi16(_mm_srli_epi16(codes[i], 8), factors[i]);
    const __m128i even_x = _mm_srai_epi16(_mm_slli_epi16(x, 8), 8);
    return _mm_add_epi32(_mm_madd_epi16(even, even_x), _mm_madd_epi16(odd, _mm_srai_epi16(x, 8)));
  };
  return _mm_add_epi32(half(0), half(1));
}

template <class Architecture>
[[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                vector<std::uint8_t, Architecture> codes,
                                                const std::int8_t* activations, Architecture,
                                                xsimd::sse2) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return _mm_add_epi16(sums, pair_products(codes, _mm_set1_epi32(quad)));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> total_of_quads(quad_sums<Architecture> sums,
                                                                Architecture, xsimd::sse2) noexcept {
  return _mm_madd_epi16(sums, _mm_set1_epi16(1));
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
