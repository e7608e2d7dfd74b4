#include <nibble/simd/neon.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__ARM_NEON) && defined(__aarch64__)

namespace {

TEST_CASE("neon widens every byte as the portable code does, at every offset", "[neon]") {
  nibble_test::require_byte_loads<xsimd::neon64>();
}

TEST_CASE("neon widens all 65,536 bfloat16 as the portable code does", "[neon]") {
  nibble_test::require_bfloat16_loads<xsimd::neon64>();
}

TEST_CASE("neon widens all 65,536 float16 as the portable code does, NaNs bit for bit", "[neon]") {
  nibble_test::require_float16_loads<xsimd::neon64>();
}

TEST_CASE("neon rounds to float16 as the portable code does, around every boundary", "[neon]") {
  nibble_test::require_float16_stores<xsimd::neon64>();
}

TEST_CASE("neon interleaves over the whole vector as the portable code does", "[neon]") {
  nibble_test::require_interleaving<xsimd::neon64>();
}

TEST_CASE("neon takes blocks apart and multiplies them as the portable code does", "[neon]") {
  nibble_test::require_block_operations<xsimd::neon64>();
  nibble_test::require_panel_operations<xsimd::neon64>();
}

#if defined(__ARM_FEATURE_MATMUL_INT8)

TEST_CASE("neon multiplies any bytes where it has products of unsigned and signed ones", "[neon]") {
  nibble_test::require_products_of_any_byte<xsimd::neon64>();
}

#endif

}  // namespace

#else

TEST_CASE("neon is passed by: this program is not compiled for it", "[neon]") {
  WARN("passed by: compile for 64-bit ARM to test neon");
}

#endif
