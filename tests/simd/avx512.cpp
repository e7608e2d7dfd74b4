#include <nibble/simd/avx512.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__AVX512F__)

namespace {

TEST_CASE("avx512 widens every byte as the portable code does, at every offset", "[avx512]") {
  nibble_test::require_byte_loads<xsimd::avx512f>();
}

TEST_CASE("avx512 widens all 65,536 bfloat16 as the portable code does", "[avx512]") {
  nibble_test::require_bfloat16_loads<xsimd::avx512f>();
}

TEST_CASE("avx512 widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[avx512]") {
  nibble_test::require_float16_loads<xsimd::avx512f>();
}

TEST_CASE("avx512 loads halves of a vector from two places as the portable code does", "[avx512]") {
  nibble_test::require_half_loads<xsimd::avx512f>();
}

TEST_CASE("avx512 rounds to float16 as the portable code does, around every boundary", "[avx512]") {
  nibble_test::require_float16_stores<xsimd::avx512f>();
}

TEST_CASE("avx512 rounds to bfloat16 as the portable code does, around every boundary", "[avx512]") {
  nibble_test::require_bfloat16_stores<xsimd::avx512f>();
}

TEST_CASE("avx512 copies lines past the caches as the portable code copies them", "[avx512]") {
  nibble_test::require_line_copies<xsimd::avx512f>();
}

TEST_CASE("avx512 interleaves over the whole vector as the portable code does", "[avx512]") {
  nibble_test::require_interleaving<xsimd::avx512f>();
}

#if defined(__AVX512BW__)

TEST_CASE("avx512 multiplies panels as the portable code does", "[avx512]") {
  nibble_test::require_panel_operations<xsimd::avx512bw>();
}

TEST_CASE("avx512 takes super-blocks apart as the portable code does", "[avx512]") {
  nibble_test::require_super_block_operations<xsimd::avx512bw>();
}

#if defined(__AVX512BF16__)

TEST_CASE("avx512 multiplies pairs of bfloat16 as the portable code does", "[avx512]") {
  nibble_test::require_bfloat16_products<xsimd::avx512bw>();
}

#endif
#endif

}  // namespace

#else

TEST_CASE("avx512 is passed by: this program is not compiled for it", "[avx512]") {
  WARN("passed by: compile with -mavx512f to test avx512");
}

#endif
