#pragma once

/// The instruction set's intrinsics and xsimd, which every file of simd/ includes from here.
///
/// GCC 12 warns of the undefined operands in its own AVX-512 headers (GCC bug 105593). A pragma counts
/// for the code that lies under it, so it stands around the compiler's headers too.
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

// The smallest header that has them: <immintrin.h> takes a tenth of a second to compile.
#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__SSE4_1__)
#include <smmintrin.h>
#elif defined(__SSSE3__)
#include <tmmintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include <xsimd/xsimd.hpp>

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#pragma GCC diagnostic pop
#endif
