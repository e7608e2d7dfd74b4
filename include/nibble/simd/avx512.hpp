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
[[nodiscard]] vector<std::int32_t, Architecture> join_bits(vector<std::int32_t, Architecture> low,
                                                           vector<std::int32_t, Architecture> high,
                                                           vector<std::int32_t, Architecture> mask,
                                                           Architecture, xsimd::avx512f) noexcept {
  return _mm512_ternarylogic_epi32(low, high, mask, 0xE4);
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

/// How far bits are to be rotated to the left, in words of 32 bits, to come to `place` of their byte.
[[nodiscard]] constexpr int rotation_to(const code_bits& bits, std::uint32_t place) noexcept {
  return static_cast<int>((32 + place - bits.shift) % 32);
}

/// Words whose halves are rotated to the left.
template <int First, int Second>
[[nodiscard]] __m512i rotate_halves(__m512i words) noexcept {
  if constexpr (First == 0 && Second == 0) {
    return words;
  } else if constexpr (First == Second) {
    return _mm512_rol_epi32(words, First);
  } else {
    return _mm512_rolv_epi32(
        words, _mm512_setr_epi32(First, First, First, First, First, First, First, First, Second, Second,
                                 Second, Second, Second, Second, Second, Second));
  }
}

/// The bits of a byte in which a code's bits lie.
[[nodiscard]] constexpr unsigned byte_mask(const code_bits& bits) noexcept {
  return ((1U << bits.count) - 1U) << bits.shift;
}

/// The bits of a byte that may be left beside a code's high bits: rotated with them above `low_count` low
/// bits, they come to where low bits are.
[[nodiscard]] constexpr unsigned harmless_mask(const code_bits& high,
                                               std::uint32_t low_count) noexcept {
  unsigned mask = byte_mask(high);
  for (unsigned bit = 0; bit < 8; ++bit) {
    if ((bit + static_cast<unsigned>(rotation_to(high, low_count))) % 8 < low_count) mask |= 1U << bit;
  }
  return mask;
}

/// Of the vectors of a super-block, the first one whose bits lie in the same bytes as those of vector
/// `of`.
[[nodiscard]] constexpr std::size_t first_of_place(const auto& bits, std::size_t of) noexcept {
  std::size_t v = 0;
  while (bits[v][0].at_byte != bits[of][0].at_byte || bits[v][1].at_byte != bits[of][1].at_byte) ++v;
  return v;
}

/// The first vector whose high bits can be kept together with those of vector `of` by one mask; that itself
/// where there is none.
[[nodiscard]] constexpr std::size_t first_beside(const auto& high, std::size_t of,
                                                 std::uint32_t low_count) noexcept {
  const auto can_be = [&](std::size_t v) {
    for (std::size_t half = 0; half < 2; ++half) {
      const code_bits& own = high[of][half];
      const code_bits& other = high[v][half];
      if (own.at_byte != other.at_byte) return false;
      if ((byte_mask(own) & ~harmless_mask(other, low_count)) != 0) return false;
      if ((byte_mask(other) & ~harmless_mask(own, low_count)) != 0) return false;
    }
    return true;
  };
  for (std::size_t v = 0; v < high.size(); ++v) {
    if (v != of && can_be(v)) return v;
  }
  return of;
}

/// The one vector that shares a mask with vector `of`, each being the first for the other; else that itself.
[[nodiscard]] constexpr std::size_t masked_with(const auto& high, std::size_t of,
                                                std::uint32_t low_count) noexcept {
  const std::size_t other = first_beside(high, of, low_count);
  return first_beside(high, other, low_count) == of ? other : of;
}

template <auto Low, auto High, class Architecture>
NIBBLE_IN_PLACE [[nodiscard]] inline super_block_vectors<Architecture> load_super_block(
    const std::byte* block, Architecture, xsimd::avx512bw) noexcept {
  constexpr std::uint32_t low_count = Low[0][0].count;
  const __m512i low_mask = _mm512_set1_epi8(static_cast<char>((1U << low_count) - 1U));
  super_block_vectors<Architecture> lows;
  super_block_vectors<Architecture> highs;
  const auto load = [&]<std::size_t V>(std::integral_constant<std::size_t, V>) NIBBLE_LAMBDA_IN_PLACE {
    constexpr std::size_t same_low = first_of_place(Low, V);
    if constexpr (same_low == V) {
      __m512i loaded = load_two_places<Low[V][0], Low[V][1]>(block);
      stay_in_register(loaded);
      lows[V] = loaded;
    } else {
      lows[V] = lows[same_low];
    }
    if constexpr (High[0][0].count != 0) {
      constexpr std::size_t together = masked_with(High, V, low_count);
      if constexpr (together < V) {
        highs[V] = highs[together];
      } else {
        constexpr auto mask_of = [](std::size_t half) {
          return static_cast<int>((byte_mask(High[V][half]) | byte_mask(High[together][half])) *
                                  0x01010101U);
        };
        constexpr int first = mask_of(0);
        constexpr int second = mask_of(1);
        highs[V] = _mm512_and_si512(
            load_two_places<High[V][0], High[V][1]>(block),
            _mm512_setr_epi32(first, first, first, first, first, first, first, first, second, second,
                              second, second, second, second, second, second));
      }
    }
  };
  const auto join = [&]<std::size_t V>(std::integral_constant<std::size_t, V>)
                        NIBBLE_LAMBDA_IN_PLACE -> vector<std::uint8_t, Architecture> {
    const __m512i low = rotate_halves<rotation_to(Low[V][0], 0), rotation_to(Low[V][1], 0)>(lows[V]);
    if constexpr (High[0][0].count == 0) {
      return _mm512_and_si512(low, low_mask);
    } else {
      const __m512i high =
          rotate_halves<rotation_to(High[V][0], low_count), rotation_to(High[V][1], low_count)>(
              highs[V]);
      // Where the mask is set the low bits, else the high ones.
      return _mm512_ternarylogic_epi32(low, high, low_mask, 0xE4);
    }
  };
  return [&]<std::size_t... V>(std::index_sequence<V...>) NIBBLE_LAMBDA_IN_PLACE {
    (load(std::integral_constant<std::size_t, V>{}), ...);
    return super_block_vectors<Architecture>{join(std::integral_constant<std::size_t, V>{})...};
  }
  (std::make_index_sequence<4>{});
}

template <class Architecture>
[[nodiscard]] vector<std::int16_t, Architecture> narrow_quads(vector<std::int32_t, Architecture> first,
                                                              vector<std::int32_t, Architecture> second,
                                                              Architecture, xsimd::avx512bw) noexcept {
  return _mm512_packs_epi32(first, second);
}

template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> multiply_quads(
    vector<std::int16_t, Architecture> words, vector<std::int16_t, Architecture> factors, Architecture,
    xsimd::avx512bw) noexcept {
  return _mm512_madd_epi16(words, factors);
}

/// The numbers that there are, no more: they may be on their way from a register.
template <std::size_t CodesANumber>
[[nodiscard]] __m128i load_sub_block_numbers(const std::int8_t* numbers) noexcept {
  if constexpr (CodesANumber == 32) return _mm_loadu_si64(numbers);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers));
}

template <std::size_t CodesANumber, super_block_order Order, class Architecture>
[[nodiscard]] super_block_factors<Architecture> spread_factors(const std::int8_t* numbers, Architecture,
                                                               xsimd::avx512bw) noexcept {
  // In every 128 bits, the bytes of a word's number, and zero before it.
  alignas(64) static constexpr auto places = [] {
    std::array<std::array<std::int8_t, 64>, 2> all{};
    for (std::size_t i = 0; i < 128; ++i) {
      const std::size_t place = code_of_pair_lane<Architecture>(i / 64, i % 64 / 4);
      const std::size_t code = Order[place / block_codes] * block_codes + place % block_codes;
      all[i / 64][i % 64] = static_cast<std::int8_t>(i % 2 == 0 ? 128 : code / CodesANumber);
    }
    return all;
  }();
  __m512i all;
  if constexpr (CodesANumber == 32) {
    std::int64_t eight = 0;
    std::memcpy(&eight, numbers, sizeof(eight));
    all = _mm512_set1_epi64(eight);
  } else {
    all = _mm512_broadcast_i32x4(load_sub_block_numbers<CodesANumber>(numbers));
  }
  return {_mm512_shuffle_epi8(all, _mm512_load_si512(places[0].data())),
          _mm512_shuffle_epi8(all, _mm512_load_si512(places[1].data()))};
}

template <super_block_order Order, class Architecture>
[[nodiscard]] super_block_scales<Architecture> spread_scales(const float* blocks, Architecture,
                                                             xsimd::avx512bw) noexcept {
  alignas(64) static constexpr auto places = [] {
    std::array<std::array<std::int32_t, 16>, 2> all{};
    for (std::size_t i = 0; i < 32; ++i) {
      const std::size_t block = code_of_pair_lane<Architecture>(i / 16, i % 16) / block_codes;
      all[i / 16][i % 16] = static_cast<std::int32_t>(Order[block]);
    }
    return all;
  }();
  const __m512 eight = _mm512_castps256_ps512(_mm256_loadu_ps(blocks));
  return {_mm512_permutexvar_ps(_mm512_load_si512(places[0].data()), eight),
          _mm512_permutexvar_ps(_mm512_load_si512(places[1].data()), eight)};
}

template <std::size_t CodesANumber, class Architecture>
[[nodiscard]] std::array<vector<std::int32_t, Architecture>, 1> widen_numbers(
    const std::int8_t* numbers, Architecture, xsimd::avx512bw) noexcept {
  const __m128i bytes = load_sub_block_numbers<CodesANumber>(numbers);
  if constexpr (CodesANumber == 32) return {_mm512_zextsi256_si512(_mm256_cvtepi8_epi32(bytes))};
  return {_mm512_cvtepi8_epi32(bytes)};
}

template <class Architecture>
[[nodiscard]] vector_pair<Architecture> spread_float16_pair(float16 first, float16 second, Architecture,
                                                            xsimd::avx512bw) noexcept {
  const auto both = first.bits | static_cast<std::uint32_t>(second.bits) << 16U;
  alignas(16) std::array<float, 4> wide;
  _mm_store_ps(wide.data(), _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(both))));
  // Memory spreads a float for nothing, where registers take a shuffle of 64 bytes each.
  load_from_memory(wide);
  return {_mm512_set1_ps(wide[0]), _mm512_set1_ps(wide[1])};
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
