#pragma once

#if defined(__AVX512F__)

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/core/float16.hpp>
#include <nibble/simd/avx2.hpp>
#include <nibble/simd/intrinsics.hpp>
#include <nibble/simd/vector.hpp>

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
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
void store_bfloat16(vector<float, Architecture> values, std::byte* to, Architecture,
                    xsimd::avx512f) noexcept {
  const __m512i halves = _mm512_srli_epi32(round_to_upper_halves<Architecture>(values), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(halves));
}

inline void copy_line_past_caches(const float* from, float* to, xsimd::avx512f) noexcept {
  _mm512_stream_ps(to, _mm512_loadu_ps(from));
}

inline void order_stores_past_caches(xsimd::avx512f) noexcept { _mm_sfence(); }

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load_float16(const std::byte* from, Architecture,
                                                       xsimd::avx512f) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline vector<std::int32_t, Architecture> load_halves(
    const std::byte* low, const std::byte* high, Architecture, xsimd::avx512f) noexcept {
  return _mm512_inserti64x4(
      _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low))),
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(high)), 1);
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline vector<float, Architecture> load_float16_halves(
    const std::byte* low, const std::byte* high, Architecture, xsimd::avx512f) noexcept {
  return _mm512_cvtph_ps(
      _mm256_inserti128_si256(_mm256_castsi128_si256(load_16_bytes(low)), load_16_bytes(high), 1));
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

template <std::size_t StrideBytes, class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> load_words_apart(const std::byte* from, Architecture,
                                                                  xsimd::avx512f) noexcept {
  using half = xsimd::avx2;
  const __m256i low = load_words_apart<StrideBytes>(from, half{}, half{});
  const __m256i high = load_words_apart<StrideBytes>(from + 8 * StrideBytes, half{}, half{});
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

template <class Architecture>
[[nodiscard]] vector_pair<Architecture> widen_float16_pairs(vector<std::int32_t, Architecture> pairs,
                                                            Architecture, xsimd::avx512f) noexcept {
  return {_mm512_cvtph_ps(_mm512_cvtepi32_epi16(pairs)),
          _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(pairs, 16)))};
}

template <class Architecture>
[[nodiscard]] vector<float, Architecture> normal_float16_or_zero(vector<float, Architecture> values,
                                                                 Architecture,
                                                                 xsimd::avx512f) noexcept {
  const __m512i magnitude =
      _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(0x7FFFFFFF));
  const __mmask16 is_normal =
      _mm512_mask_cmplt_epi32_mask(_mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(0x387FFFFF)),
                                   magnitude, _mm512_set1_epi32(0x7F800000));
  return _mm512_maskz_mov_ps(is_normal, values);
}

template <class Architecture>
[[nodiscard]] float widen_float16(float16 from, Architecture, xsimd::avx512f) noexcept {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(from.bits)));
}

template <class Architecture>
[[nodiscard]] float sum_of_lanes(vector<float, Architecture> of, Architecture,
                                 xsimd::avx512f) noexcept {
  const __m512i bits = _mm512_castps_si512(of);
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(of),
                                     _mm256_castsi256_ps(_mm512_extracti64x4_epi64(bits, 1)));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <class Architecture>
void transpose(lane_tile<Architecture>& rows, Architecture, xsimd::avx512f) noexcept {
  lane_tile<Architecture> pairs;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  // quads[4 i + j]: in 128-bit part p, columns 4 p + j of rows 4 i .. 4 i + 3.
  lane_tile<Architecture> quads;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 16; i += 4) {
    quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  NIBBLE_UNROLL
  for (std::size_t j = 0; j < 4; ++j) {
    const __m512i upper_even = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0x88);
    const __m512i upper_odd = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0xDD);
    const __m512i lower_even = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0x88);
    const __m512i lower_odd = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0xDD);
    rows[j] = _mm512_shuffle_i32x4(upper_even, lower_even, 0x88);
    rows[j + 8] = _mm512_shuffle_i32x4(upper_even, lower_even, 0xDD);
    rows[j + 4] = _mm512_shuffle_i32x4(upper_odd, lower_odd, 0x88);
    rows[j + 12] = _mm512_shuffle_i32x4(upper_odd, lower_odd, 0xDD);
  }
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline row_words<Architecture> load_row_words(const std::byte* from,
                                                                            std::size_t row_bytes,
                                                                            Architecture,
                                                                            xsimd::avx512f) noexcept {
  // Rows i, i + 4, i + 8 and i + 12 side by side, as for half as many lanes.
  row_words<Architecture> rows;
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < 4; ++i) {
    rows[i] = _mm512_castsi128_si512(load_16_bytes(from + i * row_bytes));
    rows[i] = _mm512_inserti32x4(rows[i], load_16_bytes(from + (i + 4) * row_bytes), 1);
    rows[i] = _mm512_inserti32x4(rows[i], load_16_bytes(from + (i + 8) * row_bytes), 2);
    rows[i] = _mm512_inserti32x4(rows[i], load_16_bytes(from + (i + 12) * row_bytes), 3);
  }
  const __m512i upper_low = _mm512_unpacklo_epi32(rows[0], rows[1]);
  const __m512i upper_high = _mm512_unpackhi_epi32(rows[0], rows[1]);
  const __m512i lower_low = _mm512_unpacklo_epi32(rows[2], rows[3]);
  const __m512i lower_high = _mm512_unpackhi_epi32(rows[2], rows[3]);
  return {_mm512_unpacklo_epi64(upper_low, lower_low), _mm512_unpackhi_epi64(upper_low, lower_low),
          _mm512_unpacklo_epi64(upper_high, lower_high), _mm512_unpackhi_epi64(upper_high, lower_high)};
}

template <class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline long_row_words<Architecture> load_long_row_words(
    const std::byte* from, std::size_t row_bytes, Architecture, xsimd::avx512f) noexcept {
  // Of rows 0 .. 7, then of rows 8 .. 15: words j and j + 4, four rows of each side by side.
  std::array<row_words<Architecture>, 2> halves;
  NIBBLE_UNROLL
  for (std::size_t half = 0; half < halves.size(); ++half) {
    row_words<Architecture> rows;
    NIBBLE_UNROLL
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::byte* const row = from + (8 * half + i) * row_bytes;
      rows[i] = _mm512_inserti64x4(
          _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row))),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 4 * row_bytes)), 1);
    }
    const __m512i upper_low = _mm512_unpacklo_epi32(rows[0], rows[1]);
    const __m512i upper_high = _mm512_unpackhi_epi32(rows[0], rows[1]);
    const __m512i lower_low = _mm512_unpacklo_epi32(rows[2], rows[3]);
    const __m512i lower_high = _mm512_unpackhi_epi32(rows[2], rows[3]);
    halves[half] = {
        _mm512_unpacklo_epi64(upper_low, lower_low), _mm512_unpackhi_epi64(upper_low, lower_low),
        _mm512_unpacklo_epi64(upper_high, lower_high), _mm512_unpackhi_epi64(upper_high, lower_high)};
  }
  long_row_words<Architecture> words;
  NIBBLE_UNROLL
  for (std::size_t j = 0; j < 4; ++j) {
    words[j] = _mm512_shuffle_i32x4(halves[0][j], halves[1][j], 0x88);
    words[j + 4] = _mm512_shuffle_i32x4(halves[0][j], halves[1][j], 0xDD);
  }
  return words;
}

#if defined(__AVX512BW__)

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> add_pairs(vector<std::int32_t, Architecture> sums,
                                                           vector<std::int16_t, Architecture> codes,
                                                           const std::int16_t* activations,
                                                           Architecture, xsimd::avx512bw) noexcept {
  std::int32_t pair = 0;
  std::memcpy(&pair, activations, sizeof(pair));
  return _mm512_add_epi32(sums, _mm512_madd_epi16(codes, _mm512_set1_epi32(pair)));
}

template <class Architecture>
requires(!multiplies_any_byte<Architecture>)
    [[nodiscard]] quad_sums<Architecture> add_quads(quad_sums<Architecture> sums,
                                                    vector<std::uint8_t, Architecture> codes,
                                                    const std::int8_t* activations, Architecture,
                                                    xsimd::avx512bw) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof(quad));
  return _mm512_add_epi16(sums, _mm512_maddubs_epi16(codes, _mm512_set1_epi32(quad)));
}

template <class Architecture>
requires(!multiplies_any_byte<Architecture>)
    [[nodiscard]] vector<std::int32_t, Architecture> total_of_quads(quad_sums<Architecture> sums,
                                                                    Architecture,
                                                                    xsimd::avx512bw) noexcept {
  return _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
}

/// 32 bytes from each of two places of a block.
template <code_bits First, code_bits Second>
[[nodiscard]] __m512i load_two_places(const std::byte* block) noexcept {
  const auto* const first = reinterpret_cast<const __m256i*>(block + First.at_byte);
  if constexpr (Second.at_byte == First.at_byte + 32) {
    return _mm512_loadu_si512(first);
  } else if constexpr (Second.at_byte == First.at_byte) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(first));
  } else {
    const auto* const second = reinterpret_cast<const __m256i*>(block + Second.at_byte);
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(first)),
                              _mm256_loadu_si256(second), 1);
  }
}

/// The same, with their bits moved to `place`. The other bits of a byte are anything.
template <code_bits First, code_bits Second, unsigned Place>
[[nodiscard]] __m512i load_moved_bits(const std::byte* block) noexcept {
  const __m512i bytes = load_two_places<First, Second>(block);
  constexpr int first = static_cast<int>((32 + Place - First.shift) % 32);
  constexpr int second = static_cast<int>((32 + Place - Second.shift) % 32);
  if constexpr (first == 0 && second == 0) {
    return bytes;
  } else if constexpr (first == second) {
    return _mm512_rol_epi32(bytes, first);
  } else {
    return _mm512_rolv_epi32(
        bytes, _mm512_setr_epi32(first, first, first, first, first, first, first, first, second, second,
                                 second, second, second, second, second, second));
  }
}

template <auto Low, auto High, class Architecture>
[[nodiscard]] vector<std::uint8_t, Architecture> load_joined_bits(const std::byte* block, Architecture,
                                                                  xsimd::avx512bw) noexcept {
  constexpr auto mask_of = [](unsigned count) { return static_cast<char>((1U << count) - 1U); };
  const __m512i lows = load_moved_bits<Low[0], Low[1], 0>(block);
  if constexpr (High[0].count == 0) {
    return _mm512_and_si512(lows, _mm512_set1_epi8(mask_of(Low[0].count)));
  } else {
    const __m512i highs = load_moved_bits<High[0], High[1], Low[0].count>(block);
    // Where the mask is set the low bits, else the high ones.
    const __m512i both =
        _mm512_ternarylogic_epi32(lows, highs, _mm512_set1_epi8(mask_of(Low[0].count)), 0xE4);
    return _mm512_and_si512(both, _mm512_set1_epi8(mask_of(Low[0].count + High[0].count)));
  }
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> scaled_quads(
    vector<std::int32_t, Architecture> first, vector<std::int32_t, Architecture> second,
    vector<std::int16_t, Architecture> factors, Architecture, xsimd::avx512bw) noexcept {
  return _mm512_madd_epi16(_mm512_packs_epi32(first, second), factors);
}

/// The numbers that there are, no more: they may be on their way from a register.
template <std::size_t CodesANumber>
[[nodiscard]] __m128i load_sub_block_numbers(const std::int8_t* numbers) noexcept {
  if constexpr (CodesANumber == 32) return _mm_loadu_si64(numbers);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers));
}

template <std::size_t CodesANumber, class Architecture>
[[nodiscard]] super_block_factors<Architecture> spread_factors(const std::int8_t* numbers, Architecture,
                                                               xsimd::avx512bw) noexcept {
  // In every 128 bits, the bytes of a word's number, and zero before it.
  alignas(64) static constexpr auto places = [] {
    std::array<std::array<std::int8_t, 64>, 2> all{};
    for (std::size_t i = 0; i < 128; ++i) {
      const std::size_t code = code_of_pair_lane<Architecture>(i / 64, i % 64 / 4);
      all[i / 64][i % 64] = static_cast<std::int8_t>(i % 2 == 0 ? 128 : code / CodesANumber);
    }
    return all;
  }();
  const __m512i all = _mm512_broadcast_i32x4(load_sub_block_numbers<CodesANumber>(numbers));
  return {_mm512_shuffle_epi8(all, _mm512_load_si512(places[0].data())),
          _mm512_shuffle_epi8(all, _mm512_load_si512(places[1].data()))};
}

template <class Architecture>
[[nodiscard]] super_block_scales<Architecture> spread_scales(const float* blocks, Architecture,
                                                             xsimd::avx512bw) noexcept {
  const __m512 eight = _mm512_castps256_ps512(_mm256_loadu_ps(blocks));
  const __m512i first = _mm512_setr_epi32(0, 0, 2, 2, 0, 0, 2, 2, 1, 1, 3, 3, 1, 1, 3, 3);
  const __m512i second = _mm512_setr_epi32(4, 4, 6, 6, 4, 4, 6, 6, 5, 5, 7, 7, 5, 5, 7, 7);
  return {_mm512_permutexvar_ps(first, eight), _mm512_permutexvar_ps(second, eight)};
}

template <std::size_t CodesANumber, class Architecture>
[[nodiscard]] std::array<vector<std::int32_t, Architecture>, 1> half_numbers(const std::int8_t* numbers,
                                                                             Architecture,
                                                                             xsimd::avx512bw) noexcept {
  __m128i bytes = load_sub_block_numbers<CodesANumber>(numbers);
  if constexpr (CodesANumber == 32) bytes = _mm_unpacklo_epi8(bytes, bytes);
  return {_mm512_cvtepi8_epi32(bytes)};
}

#endif

#if defined(__AVX512BF16__)

template <class Architecture>
[[nodiscard]] vector<float, Architecture> add_bfloat16_products(vector<float, Architecture> sums,
                                                                vector<std::int32_t, Architecture> a,
                                                                vector<std::int32_t, Architecture> b,
                                                                Architecture,
                                                                xsimd::avx512bw) noexcept {
  const __m512i left = a;
  const __m512i right = b;
  return _mm512_dpbf16_ps(sums, std::bit_cast<__m512bh>(left), std::bit_cast<__m512bh>(right));
}

#endif

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd

#endif
