#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/simd/intrinsics.hpp>

#include <nibble/codec/code_bits.hpp>
#include <nibble/core/architecture.hpp>

#if XSIMD_VERSION_MAJOR * 100 + XSIMD_VERSION_MINOR < 801
#error "nibble needs xsimd 8.1 or later"
#endif

/// Before a loop over registers, whose count is known when compiling: registers have no index. GCC
/// unrolls such loops by itself at -O3 alone.
///
/// NIBBLE_UNROLL_TWICE stands before sums of integers: unrolled to the end, compilers join them in an
/// order of their own, for which there are too few registers.
///
/// NIBBLE_KEEP_ROLLED stands before a loop that loads a number into all lanes from memory: unrolled,
/// compilers take it out of the register that it was stored from, by slower shuffles.
#if defined(__clang__)
#define NIBBLE_UNROLL _Pragma("unroll")
#define NIBBLE_KEEP_ROLLED _Pragma("nounroll")
#define NIBBLE_UNROLL_TWICE _Pragma("unroll 2")
#elif defined(__GNUC__)
#define NIBBLE_UNROLL _Pragma("GCC unroll 16")
#define NIBBLE_KEEP_ROLLED _Pragma("GCC unroll 1")
#define NIBBLE_UNROLL_TWICE _Pragma("GCC unroll 2")
#else
#define NIBBLE_UNROLL
#define NIBBLE_KEEP_ROLLED
#define NIBBLE_UNROLL_TWICE
#endif

/// Before an operation that is too long for compilers to put in place by themselves, and whose
/// arguments would go through memory otherwise.
#if defined(__GNUC__)
#define NIBBLE_IN_PLACE [[gnu::always_inline]]
/// The same behind the parameters of a lambda.
#define NIBBLE_LAMBDA_IN_PLACE __attribute__((always_inline))
#else
#define NIBBLE_IN_PLACE
#define NIBBLE_LAMBDA_IN_PLACE
#endif

namespace nibble::simd {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

/// The architecture of hosts for which xsimd has no batches, and the twin that every intrinsic is held
/// against: 32 bytes in an array.
struct portable {};

/// 32 bytes of lanes with the part of xsimd::batch's interface that kernels use.
template <class T>
struct portable_vector {
  static constexpr std::size_t size = 32 / sizeof(T);
  using value_type = T;

  portable_vector() = default;
  explicit portable_vector(T value) noexcept { lanes.fill(value); }

  [[nodiscard]] static portable_vector load_unaligned(const T* from) noexcept {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = from[i];
    return out;
  }
  void store_unaligned(T* to) const noexcept {
    for (std::size_t i = 0; i < size; ++i) to[i] = lanes[i];
  }

  friend portable_vector operator+(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x + y); });
  }
  friend portable_vector operator-(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x - y); });
  }
  friend portable_vector operator*(portable_vector a, portable_vector b) noexcept {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x * y); });
  }
  friend portable_vector operator&(portable_vector a,
                                   portable_vector b) noexcept requires std::is_integral_v<T> {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x & y); });
  }
  friend portable_vector operator^(portable_vector a,
                                   portable_vector b) noexcept requires std::is_integral_v<T> {
    return zip_with(a, b, [](T x, T y) { return static_cast<T>(x ^ y); });
  }
  friend portable_vector operator>>(portable_vector a,
                                    int bits) noexcept requires std::is_integral_v<T> {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = static_cast<T>(a.lanes[i] >> bits);
    return out;
  }
  friend portable_vector operator<<(portable_vector a,
                                    int bits) noexcept requires std::is_integral_v<T> {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = static_cast<T>(a.lanes[i] << bits);
    return out;
  }

  friend portable_vector fma(portable_vector a, portable_vector b, portable_vector c) noexcept {
    return a * b + c;
  }
  friend portable_vector<float> to_float(portable_vector a) noexcept requires(sizeof(T) == 4) {
    portable_vector<float> out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = static_cast<float>(a.lanes[i]);
    return out;
  }

  std::array<T, size> lanes{};

 private:
  template <class Operation>
  static portable_vector zip_with(const portable_vector& a, const portable_vector& b,
                                  Operation operation) noexcept {
    portable_vector out;
    for (std::size_t i = 0; i < size; ++i) out.lanes[i] = operation(a.lanes[i], b.lanes[i]);
    return out;
  }
};

/// The vector of T on an architecture.
template <class T, class Architecture>
struct vector_of {
  using type = xsimd::batch<T, Architecture>;
};
template <class T>
struct vector_of<T, portable> {
  using type = portable_vector<T>;
};
template <class T, class Architecture>
using vector = typename vector_of<T, Architecture>::type;

/// a * b + c of f32, rounded once where the instruction set does that, else twice. xsimd 8.1 multiplies and
/// adds vectors of 64 bytes one after the other, and Clang does not join what was written so.
template <class Vector>
[[nodiscard]] NIBBLE_IN_PLACE inline Vector fma(const Vector& a, const Vector& b,
                                                const Vector& c) noexcept {
#if defined(__AVX512F__)
  if constexpr (requires { _mm512_fmadd_ps(a, b, c); }) {
    return _mm512_fmadd_ps(a, b, c);
  } else
#endif
  {
    using xsimd::fma;
    return fma(a, b, c);
  }
}

/// Lanes of 32 bits.
template <class Architecture>
inline constexpr std::size_t lanes = vector<float, Architecture>::size;

/// Vector registers: x86 has twice as many from AVX-512 on.
template <class Architecture>
inline constexpr std::size_t vector_registers =
    std::is_base_of_v<xsimd::avx512f, Architecture> || std::is_base_of_v<xsimd::neon64, Architecture>
        ? 32
        : 16;

/// Of an architecture of 64-byte vectors, the one of 32-byte vectors that it contains; else itself. A
/// block's 32 bytes fill such a vector.
template <class Architecture>
struct block_architecture_of {
  using type = Architecture;
};
#if defined(__AVX512F__) && defined(__FMA__)
template <class Architecture>
requires(sizeof(vector<float, Architecture>) == 64) struct block_architecture_of<Architecture> {
  using type = xsimd::fma3<xsimd::avx2>;
};
#endif
#if defined(XSIMD_WITH_EMULATED) && XSIMD_WITH_EMULATED
template <>
struct block_architecture_of<xsimd::emulated<512>> {
  using type = xsimd::emulated<256>;
};
#endif
template <class Architecture>
using block_architecture = typename block_architecture_of<Architecture>::type;

/// The architecture that multiplies integers: of one that has 64-byte vectors of 32-bit lanes alone,
/// the one below.
template <class Architecture>
using integer_architecture = std::conditional_t<std::is_base_of_v<xsimd::avx512f, Architecture> &&
                                                    !std::is_base_of_v<xsimd::avx512bw, Architecture>,
                                                block_architecture<Architecture>, Architecture>;

/// What this translation unit is compiled for: the best that xsimd has, or portable.
using best_architecture = std::conditional_t<std::is_same_v<xsimd::default_arch, xsimd::unavailable>,
                                             portable, xsimd::default_arch>;

/// Two vectors of floats.
template <class Architecture>
struct vector_pair {
  vector<float, Architecture> first;
  vector<float, Architecture> second;
};

template <class Architecture>
[[nodiscard]] vector<float, Architecture> load(const float* from) noexcept {
  return vector<float, Architecture>::load_unaligned(from);
}

/// A vector from its bytes in memory. By bytes of C++, and not through an array: compilers copy one by
/// smaller registers, and a wider load then waits for all of them.
template <class T, class Architecture>
[[nodiscard]] vector<T, Architecture> load_bytes(const std::byte* from) noexcept {
  using bytes = vector<std::uint8_t, Architecture>;
  static_assert(std::is_same_v<std::uint8_t, unsigned char>);  // which may look at any object
  return std::bit_cast<vector<T, Architecture>>(
      bytes::load_unaligned(reinterpret_cast<const std::uint8_t*>(from)));
}

/// Each lane shifted right by 0..31 bits, with its sign. Of xsimd's operator on NEON, a switch over all
/// counts, compilers make a call for every vector.
template <class Architecture>
[[nodiscard]] NIBBLE_IN_PLACE inline vector<std::int32_t, Architecture> shift_right(
    const vector<std::int32_t, Architecture>& value, int bits) noexcept {
#if defined(__ARM_NEON)
  if constexpr (std::is_base_of_v<xsimd::neon, Architecture>) {
    return static_cast<int32x4_t>(value) >> bits;
  } else {
    return value >> bits;
  }
#else
  return value >> bits;
#endif
}

/// Each lane shifted left by 0..31 bits.
template <class Architecture>
[[nodiscard]] NIBBLE_IN_PLACE inline vector<std::int32_t, Architecture> shift_left(
    const vector<std::int32_t, Architecture>& value, int bits) noexcept {
#if defined(__ARM_NEON)
  if constexpr (std::is_base_of_v<xsimd::neon, Architecture>) {
    return static_cast<int32x4_t>(value) << bits;
  } else {
    return value << bits;
  }
#else
  return value << bits;
#endif
}

/// f32 rounded to bfloat16 as to_bfloat16 does it, each in the upper half of its lane.
template <class Architecture>
[[nodiscard]] vector<std::int32_t, Architecture> round_to_upper_halves(
    const vector<float, Architecture>& values) noexcept {
  using integers = vector<std::int32_t, Architecture>;
  const auto bits = std::bit_cast<integers>(values);
  // By arithmetic: xsimd 8.1's select of integers does not compile for AVX-512 without optimisation.
  const integers nan_mask =
      shift_right<Architecture>(integers(0x7F800000) - (bits & integers(0x7FFFFFFF)), 31);
  const integers up = integers(0x7FFF) + (shift_right<Architecture>(bits, 16) & integers(1));
  return (bits + (up & ~nan_mask)) | (nan_mask & integers(0x400000));
}

/// Whether byte_products and add_quads take any byte for a code; else codes are at most
/// largest_block_code and 15, as products of bytes are summed up in 16 bits or codes taken for signed
/// bytes.
template <class Architecture>
inline constexpr bool multiplies_any_byte =
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
    std::is_base_of_v<xsimd::avx2, Architecture> || std::is_base_of_v<xsimd::avx512bw, Architecture>;
#elif defined(__AVXVNNI__)
    std::is_base_of_v<xsimd::avx2, Architecture>;
#elif defined(__ARM_FEATURE_MATMUL_INT8)
    std::is_base_of_v<xsimd::neon64, Architecture>;
#else
    false;
#endif

/// Whether add_bfloat16_products is one instruction.
template <class Architecture>
inline constexpr bool multiplies_bfloat16 =
#if defined(__AVX512BF16__)
    std::is_base_of_v<xsimd::avx512bw, Architecture>;
#else
    false;
#endif

/// The largest code that byte_products takes on every architecture: sums of four products with it fit
/// 16 bits.
inline constexpr int largest_block_code = 63;

/// What add_quads sums up in: 32 bits a lane, or 16 bits for each pair in a lane.
template <class Architecture>
inline constexpr bool has_pair_sums =
    !multiplies_any_byte<Architecture> &&
    (std::is_base_of_v<xsimd::sse2, Architecture> || std::is_base_of_v<xsimd::avx2, Architecture> ||
     std::is_base_of_v<xsimd::avx512bw, Architecture>
#if !defined(__ARM_FEATURE_DOTPROD)
     || std::is_base_of_v<xsimd::neon64, Architecture>
#endif
    );
template <class Architecture>
using quad_sums = std::conditional_t<has_pair_sums<Architecture>, vector<std::int16_t, Architecture>,
                                     vector<std::int32_t, Architecture>>;

/// Makes compilers load what was stored here before, number by number: they take it out of the register
/// that it was stored from, by slower shuffles.
template <class T>
NIBBLE_IN_PLACE inline void load_from_memory([[maybe_unused]] T& stored) noexcept {
#if defined(__GNUC__)
  asm("" : "+m"(stored));
#endif
}

/// Makes compilers keep a vector that was loaded in a register: GCC 12 loads it once more where it is used.
template <class T>
NIBBLE_IN_PLACE inline void stay_in_register([[maybe_unused]] T& loaded) noexcept {
#if defined(__GNUC__) && defined(__x86_64__)
  asm("" : "+v"(loaded));
#endif
}

/// Keeps calls of the function that this stands in: GCC 12 takes one that only asks for cache lines for one
/// that does nothing, and leaves it out.
inline void keep_prefetches() noexcept {
#if defined(__GNUC__)
  asm volatile("");
#endif
}

/// Asks for the cache line of from[offset], which need not exist.
inline void prefetch(const std::byte* from, std::size_t offset) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + offset));
  keep_prefetches();
#endif
}

/// The same into the second-level cache alone, for more lines than the first takes on at once.
inline void prefetch_to_second_level(const std::byte* from, std::size_t offset) noexcept {
#if defined(__GNUC__)
  constexpr int for_reading = 0, second_level = 2;
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<std::uintptr_t>(from) + offset),
                     for_reading, second_level);
  keep_prefetches();
#endif
}

inline constexpr std::size_t line_bytes = 64;  ///< of a cache line

/// Whether copy_line_past_caches does what it says.
template <class Architecture>
inline constexpr bool has_stores_past_caches =
    std::is_base_of_v<xsimd::sse2, Architecture> || std::is_base_of_v<xsimd::avx2, Architecture> ||
    std::is_base_of_v<xsimd::avx512f, Architecture>;

/// The codes of a block: 32 of them, as bytes 0..255 or as 16-bit words. Architecture is a
/// block_architecture.
inline constexpr std::size_t block_codes = 32;
template <class Architecture>
using block_bytes = std::array<vector<std::uint8_t, Architecture>,
                               block_codes / vector<std::uint8_t, Architecture>::size>;
template <class Architecture>
using block_words = std::array<vector<std::int16_t, Architecture>,
                               block_codes / vector<std::int16_t, Architecture>::size>;

/// Two factors, for the halves of a block's codes: a word for every two bytes of block_bytes.
template <class Architecture>
using half_factors = std::array<vector<std::int16_t, Architecture>,
                                block_codes / vector<std::uint8_t, Architecture>::size>;

/// Sixteen words: two factors for each of eight blocks.
template <class Architecture>
using factor_words =
    std::array<vector<std::int16_t, Architecture>, 16 / vector<std::int16_t, Architecture>::size>;

/// The codes of a super-block. What follows of super-blocks needs vectors of 32 bytes or more: two of
/// them, one behind the other, are a pair.
inline constexpr std::size_t super_block_codes = 256;
template <class Architecture>
inline constexpr std::size_t super_block_pairs = super_block_codes /
                                                 (2 * vector<std::uint8_t, Architecture>::size);
/// Where the bits of as many times 32 codes lie as fill a vector.
template <class Architecture>
using vector_bits = std::array<code_bits, vector<std::uint8_t, Architecture>::size / block_codes>;
/// The vectors that a super-block's codes fill, as bytes.
template <class Architecture>
using super_block_vectors =
    std::array<vector<std::uint8_t, Architecture>, 2 * super_block_pairs<Architecture>>;
/// Where the bits of their codes lie.
template <class Architecture>
using super_block_bits = std::array<vector_bits<Architecture>, 2 * super_block_pairs<Architecture>>;
/// Factors for the words of a super-block's pairs, which are numbers -128..127 times factor_step: a byte
/// is the upper one of its word.
inline constexpr int factor_step = 256;
template <class Architecture>
using super_block_factors =
    std::array<vector<std::int16_t, Architecture>, super_block_pairs<Architecture>>;
/// The order in which the vectors of a super-block have its blocks.
using super_block_order = std::array<std::size_t, super_block_codes / block_codes>;
/// Scales for the lanes of a super-block's pairs.
template <class Architecture>
using super_block_scales = std::array<vector<float, Architecture>, super_block_pairs<Architecture>>;
/// The first code of a pair's 32-bit lane, among the super-block's: lanes of 128 bits hold two lanes of
/// the pair's first vector, and then two of its second.
template <class Architecture>
[[nodiscard]] constexpr std::size_t code_of_pair_lane(std::size_t pair, std::size_t lane) noexcept {
  constexpr std::size_t size = vector<std::uint8_t, Architecture>::size;
  return pair * 2 * size + (lane % 4 < 2 ? 0 : size) + lane / 4 * 16 + lane % 2 * 8;
}

/// Whether products of super-blocks beat those of their blocks.
template <class Architecture>
inline constexpr bool has_super_block_operations =
    multiplies_any_byte<Architecture>&& std::is_base_of_v<xsimd::avx512bw, Architecture>;

/// The number of blocks of nibbles, 16 bytes each, that fill a vector.
template <class Architecture>
inline constexpr std::size_t joined_blocks = vector<std::uint8_t, Architecture>::size * 2 / block_codes;

/// The codes, as bytes, of as many blocks of nibbles as there are lanes: two vectors for every
/// joined_blocks of them. Architecture is a block_architecture.
template <class Architecture>
using lane_blocks = std::array<vector<std::uint8_t, Architecture>,
                               2 * lanes<Architecture> / joined_blocks<Architecture>>;

/// Whether lane_block_products beats byte_products.
template <class Architecture>
inline constexpr bool has_lane_block_products = std::is_base_of_v<xsimd::avx2, Architecture>;

/// Sixteen bytes of as many rows as there are lanes: vector i has the i-th 32-bit word of each.
template <class Architecture>
using row_words = std::array<vector<std::int32_t, Architecture>, 4>;
/// Thirty-two bytes of each of those rows.
template <class Architecture>
using long_row_words = std::array<vector<std::int32_t, Architecture>, 8>;

/// As many rows of 32 bits a lane as there are lanes.
template <class Architecture>
using lane_tile = std::array<vector<std::int32_t, Architecture>, lanes<Architecture>>;

/// Converts an architecture tag with less ease than a tag's own bases, so that an overload for an
/// instruction set wins over the portable one wherever it applies.
struct any_architecture {
  template <class Architecture>
  constexpr any_architecture(Architecture) noexcept {}  // NOLINT: implicit by purpose
};

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble::simd
