#pragma once

#include <bit>
#include <climits>

/// The inline namespace of the codecs and kernels: two translation units of one program that are
/// compiled for different instruction sets each keep their own, where the linker would otherwise hand
/// one unit's code to both. The vocabulary (errors, views, readers, writers) is shared by all units and
/// must be compiled for the least of them.
#define NIBBLE_JOIN_TOKENS(a, b, c, d, e, f, g) a##b##c##d##e##f##g
#define NIBBLE_JOIN(a, b, c, d, e, f, g) NIBBLE_JOIN_TOKENS(a, b, c, d, e, f, g)
#define NIBBLE_JOIN_TWO_TOKENS(a, b) a##b
#define NIBBLE_JOIN_TWO(a, b) NIBBLE_JOIN_TWO_TOKENS(a, b)

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NIBBLE_VECTOR_WIDTH avx512bw
#elif defined(__AVX512F__) && defined(__AVX512CD__) && defined(__AVX512DQ__)
#define NIBBLE_VECTOR_WIDTH avx512dq
#elif defined(__AVX512F__) && defined(__AVX512CD__)
#define NIBBLE_VECTOR_WIDTH avx512cd
#elif defined(__AVX512F__)
#define NIBBLE_VECTOR_WIDTH avx512f
#elif defined(__AVX2__)
#define NIBBLE_VECTOR_WIDTH avx2
#elif defined(__AVX__)
#define NIBBLE_VECTOR_WIDTH avx
#elif defined(__FMA4__)
#define NIBBLE_VECTOR_WIDTH fma4
#elif defined(__SSE4_2__)
#define NIBBLE_VECTOR_WIDTH sse4_2
#elif defined(__SSE4_1__)
#define NIBBLE_VECTOR_WIDTH sse4_1
#elif defined(__SSSE3__)
#define NIBBLE_VECTOR_WIDTH ssse3
#elif defined(__SSE3__)
#define NIBBLE_VECTOR_WIDTH sse3
#elif defined(__SSE2__)
#define NIBBLE_VECTOR_WIDTH sse2
#elif defined(__ARM_FEATURE_SVE)
#define NIBBLE_VECTOR_WIDTH sve
#elif defined(__ARM_NEON)
#define NIBBLE_VECTOR_WIDTH neon
#else
#define NIBBLE_VECTOR_WIDTH portable
#endif

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define NIBBLE_WITH_FMA _fma
#else
#define NIBBLE_WITH_FMA
#endif

#if defined(__F16C__) || defined(__ARM_FP16_FORMAT_IEEE)
#define NIBBLE_WITH_F16 _f16
#else
#define NIBBLE_WITH_F16
#endif

#if defined(__AVX512VNNI__)
#define NIBBLE_WITH_DOT _vnni
#elif defined(__AVXVNNI__)
#define NIBBLE_WITH_DOT _avxvnni
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define NIBBLE_WITH_DOT _i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define NIBBLE_WITH_DOT _dotprod
#else
#define NIBBLE_WITH_DOT
#endif

#if defined(__AVX512BF16__)
#define NIBBLE_WITH_BFLOAT16 _bf16
#else
#define NIBBLE_WITH_BFLOAT16
#endif

#if defined(__BMI2__)
#define NIBBLE_WITH_BIT _bmi2
#elif defined(__ARM_FEATURE_ATOMICS)
#define NIBBLE_WITH_BIT _lse
#else
#define NIBBLE_WITH_BIT
#endif

/// The instruction set of this translation unit: compiled_for_avx2_fma_f16.
#define NIBBLE_INSTRUCTION_SET                                                                       \
  NIBBLE_JOIN(compiled_for_, NIBBLE_VECTOR_WIDTH, NIBBLE_WITH_FMA, NIBBLE_WITH_F16, NIBBLE_WITH_DOT, \
              NIBBLE_WITH_BFLOAT16, NIBBLE_WITH_BIT)

#if defined(NIBBLE_DISPATCH) && defined(NIBBLE_KERNELS_ELSEWHERE)
#error "a target is given to nibble_add_dispatch or to nibble_add_kernels, not to both"
#elif defined(NIBBLE_DISPATCH)
// Kernels picked at run time (nibble_add_dispatch).
#define NIBBLE_KERNEL_ORIGIN _dispatch
#elif defined(NIBBLE_KERNELS_ELSEWHERE)
// Kernels compiled in an object of their own (nibble_add_kernels).
#define NIBBLE_KERNEL_ORIGIN _kernels_elsewhere
#else
#define NIBBLE_KERNEL_ORIGIN
#endif

#define NIBBLE_ARCHITECTURE NIBBLE_JOIN_TWO(NIBBLE_INSTRUCTION_SET, NIBBLE_KERNEL_ORIGIN)

/// Both as strings.
#define NIBBLE_TEXT_OF_TOKEN(name) #name
#define NIBBLE_TEXT_OF(name) NIBBLE_TEXT_OF_TOKEN(name)
#define NIBBLE_INSTRUCTION_SET_NAME NIBBLE_TEXT_OF(NIBBLE_INSTRUCTION_SET)
#define NIBBLE_ARCHITECTURE_NAME NIBBLE_TEXT_OF(NIBBLE_ARCHITECTURE)

/// Whether sums and products are rounded as they are written: not under -ffast-math or a part of it that
/// the compiler shows.
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#define NIBBLE_ROUNDS_ALIKE 0
#else
#define NIBBLE_ROUNDS_ALIKE 1
#endif

/// Around code that becomes vector instructions. GCC 12 warns of the undefined operands in its own
/// AVX-512 headers (GCC bug 105593), and lays it to the functions that intrinsics are inlined into.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#define NIBBLE_BEGIN_VECTOR_CODE                                                       \
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wuninitialized\"") \
      _Pragma("GCC diagnostic ignored \"-Wmaybe-uninitialized\"")
#define NIBBLE_END_VECTOR_CODE _Pragma("GCC diagnostic pop")
#else
#define NIBBLE_BEGIN_VECTOR_CODE
#define NIBBLE_END_VECTOR_CODE
#endif

namespace nibble {

static_assert(std::endian::native == std::endian::little,
              "nibble reads little-endian files in place and needs a little-endian host");
static_assert(CHAR_BIT == 8);

inline namespace NIBBLE_ARCHITECTURE {
/// Names the instruction set of this translation unit. As the default of a template parameter it
/// gives each unit its own instance of a member function whose class all units share.
struct this_architecture {};
}  // namespace NIBBLE_ARCHITECTURE

}  // namespace nibble
