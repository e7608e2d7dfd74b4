#pragma once

#include <nibble/simd/avx2.hpp>
#include <nibble/simd/avx512.hpp>
#include <nibble/simd/neon.hpp>
#include <nibble/simd/portable.hpp>
#include <nibble/simd/sse2.hpp>
#include <nibble/simd/sse4_1.hpp>
#include <nibble/simd/ssse3.hpp>
#include <nibble/simd/vector.hpp>
#include <nibble/simd/vnni.hpp>
