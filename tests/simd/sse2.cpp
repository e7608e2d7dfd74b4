#include <nibble/simd/sse2.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__SSE2__)

namespace {

TEST_CASE("sse2 widens every byte as the portable code does, at every offset", "[sse2]") {
  nibble_test::require_byte_loads<xsimd::sse2>();
}

TEST_CASE("sse2 widens all 65,536 bfloat16 as the portable code does", "[sse2]") {
  nibble_test::require_bfloat16_loads<xsimd::sse2>();
}

TEST_CASE("sse2 widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[sse2]") {
  nibble_test::require_float16_loads<xsimd::sse2>();
}

TEST_CASE("sse2 rounds to bfloat16 as the portable code does, around every boundary", "[sse2]") {
  nibble_test::require_bfloat16_stores<xsimd::sse2>();
}

TEST_CASE("sse2 copies lines past the caches as the portable code copies them", "[sse2]") {
  nibble_test::require_line_copies<xsimd::sse2>();
}

TEST_CASE("sse2 interleaves over the whole vector as the portable code does", "[sse2]") {
  nibble_test::require_interleaving<xsimd::sse2>();
}

TEST_CASE("sse2 takes blocks apart and multiplies them as the portable code does", "[sse2]") {
  nibble_test::require_block_operations<xsimd::sse2>();
  nibble_test::require_panel_operations<xsimd::sse2>();
}

}  // namespace

#else

TEST_CASE("sse2 is passed by: this program is not compiled for it", "[sse2]") {
  WARN("passed by: compile with -msse2 to test sse2");
}

#endif
