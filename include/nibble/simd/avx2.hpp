#pragma once

#if defined(__AVX2__)

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

inline __m128i load_16_bytes(const std::byte* from) noexcept {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

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
  const __m128i halves = load_16_bytes(from);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
}

template <class Architecture>
void store_bfloat16(vector<float, Architecture> values, std::byte* to, Architecture,
                    xsimd::avx2) noexcept {
  const __m256i halves = _mm256_srli_epi32(round_to_upper_halves<Architecture>(values), 16);
  const __m256i joined = _mm256_permute4x64_epi64(_mm256_packus_epi32(halves, halves), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(joined));
}

inline void copy_line_past_caches(const float* from, float* to, xsimd::avx2) noexcept {
  _mm256_stream_ps(to, _mm256_loadu_ps(from));
  _mm256_stream_ps(to + 8, _mm256_loadu_ps(from + 8));
}

inline void order_stores_past_caches(xsimd::avx2) noexcept { _mm_sfence(); }

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

/// Word i of four, at place i: each comes with bytes around it, and all but its place is blended away.
inline __m128i load_four_words_apart(const std::byte* from, std::size_t stride_bytes) noexcept {
  const std::size_t step = stride_bytes - sizeof(std::int32_t);
  __m128i words = load_16_bytes(from);
  words = _mm_blend_epi32(words, load_16_bytes(from + step), 2);
  words = _mm_blend_epi32(words, load_16_bytes(from + 2 * step), 4);
  return _mm_blend_epi32(words, load_16_bytes(from + 3 * step), 8);
}

template <std::size_t StrideBytes, class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_words_apart(const std::byte* from, Architecture,
                                                                  xsimd::avx2) noexcept {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(load_four_words_apart(from, StrideBytes)),
                                 load_four_words_apart(from + 4 * StrideBytes, StrideBytes), 1);
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> normal_float16_or_zero(vector<float, Architecture> values,
                                                                 Architecture, xsimd::avx2) noexcept {
  const __m256i bits = _mm256_castps_si256(values);
  const __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7FFFFFFF));
  const __m256i is_normal =
      _mm256_and_si256(_mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(0x387FFFFF)),
                       _mm256_cmpgt_epi32(_mm256_set1_epi32(0x7F800000), magnitude));
  return _mm256_castsi256_ps(_mm256_and_si256(bits, is_normal));
}

inline float sum_of_four(__m128 of) noexcept {
  const __m128 two = _mm_add_ps(of, _mm_movehl_ps(of, of));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <class Architecture>
[[nodiscard]] float sum_of_lanes(vector<float, Architecture> of, Architecture, xsimd::avx2) noexcept {
  return sum_of_four(_mm_add_ps(_mm256_castps256_ps128(of), _mm256_extractf128_ps(of, 1)));
}

template <class Architecture>
void transpose(lane_tile<Architecture>& rows, Architecture, xsimd::avx2) noexcept {
  lane_tile<Architecture> pairs;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  lane_tile<Architecture> quads;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 8; i += 4) {
    quads[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x20);
    rows[i + 4] = _mm256_permute2x128_si256(quads[i], quads[i + 4], 0x31);
  }
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline row_words<Architecture> load_row_words(const std::byte* from,
                                                                            std::size_t row_bytes,
                                                                            Architecture,
                                                                            xsimd::avx2) noexcept {
  // Rows i and i + 4 side by side: what is exchanged within 128 bits is all there is to exchange.
  row_words<Architecture> rows;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    rows[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16_bytes(from + i * row_bytes)),
                                      load_16_bytes(from + (i + 4) * row_bytes), 1);
  }
  const __m256i upper_low = _mm256_unpacklo_epi32(rows[0], rows[1]);
  const __m256i upper_high = _mm256_unpackhi_epi32(rows[0], rows[1]);
  const __m256i lower_low = _mm256_unpacklo_epi32(rows[2], rows[3]);
  const __m256i lower_high = _mm256_unpackhi_epi32(rows[2], rows[3]);
  return {_mm256_unpacklo_epi64(upper_low, lower_low), _mm256_unpackhi_epi64(upper_low, lower_low),
          _mm256_unpacklo_epi64(upper_high, lower_high), _mm256_unpackhi_epi64(upper_high, lower_high)};
}

template <class Architecture>
[[nodiscard]] float largest_magnitude(const float* values, Architecture, xsimd::avx2) noexcept {
  const __m256i mask = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i largest = _mm256_setzero_si256();
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < block_codes; i += 8) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + i));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, mask));
  }
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(four));
}

/// Four vectors of eight rounded products, and their sum.
template <class Architecture>
struct rounded_block {
  std::array<vector<std::int32_t, Architecture>, 4> codes;
  std::int32_t sum;
};
template <class Architecture>
[[nodiscard]] rounded_block<Architecture> round_block(const float* values, float steps) noexcept {
  rounded_block<Architecture> of;
  const __m256 factor = _mm256_set1_ps(steps);
  __m256i sums = _mm256_setzero_si256();
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    of.codes[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + 8 * i), factor));
    sums = _mm256_add_epi32(sums, of.codes[i]);
  }
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
  of.sum = _mm_cvtsi128_si32(sum);
  return of;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int16_t* codes, Architecture,
                            xsimd::avx2) noexcept {
  const auto rounded = round_block<Architecture>(values, steps);
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 2; ++i) {
    const __m256i packed = _mm256_packs_epi32(rounded.codes[2 * i], rounded.codes[2 * i + 1]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + 16 * i),
                        _mm256_permute4x64_epi64(packed, 0xD8));
  }
  return rounded.sum;
}

template <class Architecture>
std::int32_t quantize_block(const float* values, float steps, std::int8_t* codes, Architecture,
                            xsimd::avx2) noexcept {
  const auto rounded = round_block<Architecture>(values, steps);
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(rounded.codes[0], rounded.codes[1]),
                                            _mm256_packs_epi32(rounded.codes[2], rounded.codes[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes),
                      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  return rounded.sum;
}

inline __m256i load_both_halves(const std::byte* from) noexcept {
  return _mm256_broadcastsi128_si256(load_16_bytes(from));
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_nibble_bytes(const std::byte* from, Architecture,
                                                          xsimd::avx2) noexcept {
  const __m256i shifted =
      _mm256_srlv_epi32(load_both_halves(from), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
  return {_mm256_and_si256(shifted, _mm256_set1_epi8(15))};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_bit_fields(const std::byte* from, int shift, int count,
                                                        int place, Architecture, xsimd::avx2) noexcept {
  // Bits that a shift of 16 brings in from the neighbour lie beside the field.
  const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  const __m256i moved = shift >= place ? _mm256_srli_epi16(bytes, shift - place)
                                       : _mm256_slli_epi16(bytes, place - shift);
  const auto mask = static_cast<char>(((1 << count) - 1) << place);
  return {_mm256_and_si256(moved, _mm256_set1_epi8(mask))};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> load_single_bits(const std::byte* from, Architecture,
                                                         xsimd::avx2) noexcept {
  std::int32_t bits = 0;
  std::memcpy(&bits, from, sizeof(bits));
  const __m256i byte_of =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), byte_of);
  const __m256i own = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201U));
  const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own), own);
  return {_mm256_and_si256(is_set, _mm256_set1_epi8(1))};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> join_bits(const block_bytes<Architecture>& low,
                                                  const block_bytes<Architecture>& high, int count,
                                                  Architecture, xsimd::avx2) noexcept {
  return {_mm256_or_si256(low[0], _mm256_slli_epi16(high[0], count))};
}

template <class Architecture>
[[nodiscard]] block_bytes<Architecture> look_up(const std::array<std::int8_t, 16>& table,
                                                const block_bytes<Architecture>& indices, Architecture,
                                                xsimd::avx2) noexcept {
  const __m128i own = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data()));
  return {_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(own), indices[0])};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_nibble_words(const std::byte* from, Architecture,
                                                          xsimd::avx2) noexcept {
  const __m256i pairs = _mm256_cvtepu8_epi16(load_16_bytes(from));
  return {_mm256_and_si256(pairs, _mm256_set1_epi16(15)), _mm256_srli_epi16(pairs, 4)};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_unsigned_words(const std::byte* from, Architecture,
                                                            xsimd::avx2) noexcept {
  const auto* const halves = reinterpret_cast<const __m128i*>(from);
  return {_mm256_cvtepu8_epi16(_mm_loadu_si128(halves)),
          _mm256_cvtepu8_epi16(_mm_loadu_si128(halves + 1))};
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> load_signed_words(const std::byte* from, Architecture,
                                                          xsimd::avx2) noexcept {
  const auto* const halves = reinterpret_cast<const __m128i*>(from);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(halves)),
          _mm256_cvtepi8_epi16(_mm_loadu_si128(halves + 1))};
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> word_products(block_words<Architecture> codes,
                                                               const std::int16_t* activations,
                                                               Architecture, xsimd::avx2) noexcept {
  const auto* const words = reinterpret_cast<const __m256i*>(activations);
  return _mm256_add_epi32(_mm256_madd_epi16(codes[0], _mm256_loadu_si256(words)),
                          _mm256_madd_epi16(codes[1], _mm256_loadu_si256(words + 1)));
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_pairs(vector<std::int32_t, Architecture> sums,
                                                           vector<std::int16_t, Architecture> codes,
                                                           const std::int16_t* activations,
                                                           Architecture, xsimd::avx2) noexcept {
  std::int32_t pair = 0;
  std::memcpy(&pair, activations, sizeof(pair));
  return _mm256_add_epi32(sums, _mm256_madd_epi16(codes, _mm256_set1_epi32(pair)));
}

/// Sums of two products of bytes each.
inline __m256i pairs_of_bytes(__m256i codes, const std::int8_t* activations) noexcept {
  return _mm256_maddubs_epi16(codes, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(activations)));
}

template <class Architecture>
requires(!multiplies_any_byte<Architecture>)
    [[nodiscard]] vector<std::int32_t, Architecture> byte_products(block_bytes<Architecture> codes,
                                                                   const std::int8_t* activations,
                                                                   Architecture, xsimd::avx2) noexcept {
  return _mm256_madd_epi16(pairs_of_bytes(codes[0], activations), _mm256_set1_epi16(1));
}

template <class Architecture>
[[nodiscard]] block_words<Architecture> widen_signed_bytes(const block_bytes<Architecture>& bytes,
                                                           Architecture, xsimd::avx2) noexcept {
  const __m256i all = bytes[0];
  return {_mm256_cvtepi8_epi16(_mm256_castsi256_si128(all)),
          _mm256_cvtepi8_epi16(_mm256_extracti128_si256(all, 1))};
}

template <class Architecture>
[[nodiscard]] factor_words<Architecture> load_factors(const std::int8_t* from, Architecture,
                                                      xsimd::avx2) noexcept {
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
}

template <class Architecture>
[[nodiscard]] sub_block_numbers load_six_bit_numbers(const std::uint8_t* from, Architecture,
                                                     xsimd::avx2) noexcept {
  std::uint32_t high_bits = 0;
  std::memcpy(&high_bits, from + 8, sizeof(high_bits));
  std::int64_t low_bits = 0;
  std::memcpy(&low_bits, from, sizeof(low_bits));
  load_from_memory(low_bits);
  const __m128i lows = _mm_srlv_epi32(_mm_set1_epi64x(low_bits), _mm_setr_epi32(0, 0, 4, 4));
  const __m128i highs =
      _mm_srlv_epi32(_mm_set1_epi32(static_cast<int>(high_bits)), _mm_setr_epi32(0, 2, 4, 6));
  const __m128i both = _mm_or_si128(_mm_and_si128(lows, _mm_set1_epi8(15)),
                                    _mm_slli_epi32(_mm_and_si128(highs, _mm_set1_epi8(3)), 4));
  sub_block_numbers numbers;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(numbers.data()), _mm_sub_epi8(both, _mm_set1_epi8(32)));
  return numbers;
}

template <std::size_t Block, class Architecture>
[[nodiscard]] half_factors<Architecture> half_factors_of(const factor_words<Architecture>& all,
                                                         Architecture, xsimd::avx2) noexcept {
  // The half that has both factors, in both halves; then bytes `first`, `first` + 1 of it and the next
  // two.
  const __m256i own = _mm256_permute4x64_epi64(all[0], Block < 4 ? 0x44 : 0xEE);
  constexpr long long first = 0x0100010001000100 + Block % 4 * 0x0404040404040404;
  constexpr long long second = first + 0x0202020202020202;
  return {_mm256_shuffle_epi8(own, _mm256_setr_epi64x(first, first, second, second))};
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_byte_products(
    const block_bytes<Architecture>& codes, const std::int8_t* activations,
    const half_factors<Architecture>& factors, Architecture, xsimd::avx2) noexcept {
  return _mm256_madd_epi16(pairs_of_bytes(codes[0], activations), factors[0]);
}

template <std::size_t StrideBytes, class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline lane_blocks<Architecture> load_lane_blocks(const std::byte* from,
                                                                                Architecture,
                                                                                xsimd::avx2) noexcept {
  const __m256i low_nibbles = _mm256_set1_epi8(15);
  lane_blocks<Architecture> group;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    const std::byte* const pair = from + 2 * i * StrideBytes;
    const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16_bytes(pair)),
                                                 load_16_bytes(pair + StrideBytes), 1);
    group[2 * i] = _mm256_and_si256(both, low_nibbles);
    group[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low_nibbles);
  }
  return group;
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline vector<std::int32_t, Architecture> lane_block_products(
    const lane_blocks<Architecture>& group, const std::int8_t* activations, std::size_t stride_elements,
    Architecture, xsimd::avx2) noexcept {
  // Sixteen products of at most 15 * 127 fit 16 bits, so lanes can be narrowed and joined twice.
  const __m256i ones = _mm256_set1_epi16(1);
  const auto sum_pair = [&](std::size_t i) {
    const std::int8_t* const own = activations + i * stride_elements;
    const __m256i sums =
        _mm256_add_epi16(pairs_of_bytes(group[2 * i], own), pairs_of_bytes(group[2 * i + 1], own + 32));
    return _mm256_madd_epi16(sums, ones);
  };
  const __m256i first = _mm256_madd_epi16(_mm256_packs_epi32(sum_pair(0), sum_pair(1)), ones);
  const __m256i second = _mm256_madd_epi16(_mm256_packs_epi32(sum_pair(2), sum_pair(3)), ones);
  const __m256i even_then_odd = _mm256_madd_epi16(_mm256_packs_epi32(first, second), ones);
  return _mm256_permutevar8x32_epi32(even_then_odd, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

template <class Architecture>
requires(!multiplies_any_byte<Architecture>)
    [[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                    vector<std::uint8_t, Architecture> codes,
                                                    const std::int8_t* activations, Architecture,
                                                    xsimd::avx2) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, _mm256_set1_epi32(quad)));
}

template <class Architecture>
requires(!multiplies_any_byte<Architecture>)
    [[nodiscard]] vector<std::int32_t, Architecture> total_of_quads(quad_sums<Architecture> sums,
                                                                    Architecture,
                                                                    xsimd::avx2) noexcept {
  return _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
}

#if defined(__F16C__)

template <class Architecture>
[[nodiscard]] vector_pair<Architecture> widen_float16_pairs(vector<std::int32_t, Architecture> pairs,
                                                            Architecture, xsimd::avx2) noexcept {
  const __m256i low_then_high = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15,
                                                 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
  const __m256i parted = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(pairs, low_then_high), 0xD8);
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(parted)),
          _mm256_cvtph_ps(_mm256_extracti128_si256(parted, 1))};
}

template <class Architecture>
[[nodiscard]] float widen_float16(float16 from, Architecture, xsimd::avx2) noexcept {
  return _cvtsh_ss(from.bits);
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::avx2) noexcept {
  return _mm256_cvtph_ps(load_16_bytes(from));
}

template <class Architecture>
void store_float16(vector<float, Architecture> values, std::byte* to, Architecture,
                   xsimd::avx2) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                   _mm256_cvtps_ph(values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
