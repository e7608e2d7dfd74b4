#include <nibble/simd/avx2.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__AVX2__)

namespace {

TEST_CASE("avx2 widens every byte as the portable code does, at every offset", "[avx2]") {
  nibble_test::require_byte_loads<xsimd::avx2>();
}

TEST_CASE("avx2 widens all 65,536 bfloat16 as the portable code does", "[avx2]") {
  nibble_test::require_bfloat16_loads<xsimd::avx2>();
}

#if defined(__F16C__)

TEST_CASE("avx2 widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[avx2]") {
  nibble_test::require_float16_loads<xsimd::avx2>();
}

TEST_CASE("avx2 rounds to float16 as the portable code does, around every boundary", "[avx2]") {
  nibble_test::require_float16_stores<xsimd::avx2>();
}

#endif

TEST_CASE("avx2 rounds to bfloat16 as the portable code does, around every boundary", "[avx2]") {
  nibble_test::require_bfloat16_stores<xsimd::avx2>();
}

TEST_CASE("avx2 copies lines past the caches as the portable code copies them", "[avx2]") {
  nibble_test::require_line_copies<xsimd::avx2>();
}

TEST_CASE("avx2 interleaves over the whole vector as the portable code does", "[avx2]") {
  nibble_test::require_interleaving<xsimd::avx2>();
}

TEST_CASE("avx2 takes numbers of six bits apart as the portable code does", "[avx2]") {
  nibble_test::require_six_bit_numbers<xsimd::avx2>();
}

TEST_CASE("avx2 takes blocks apart and multiplies them as the portable code does", "[avx2]") {
  nibble_test::require_block_operations<xsimd::avx2>();
  nibble_test::require_panel_operations<xsimd::avx2>();
#if defined(__FMA__)
  nibble_test::require_block_operations<xsimd::fma3<xsimd::avx2>>();
#endif
}

}  // namespace

#else

TEST_CASE("avx2 is passed by: this program is not compiled for it", "[avx2]") {
  WARN("passed by: compile with -mavx2 to test avx2");
}

#endif
