#include <nibble/simd/sse4_1.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__SSE4_1__)

namespace {

TEST_CASE("sse4_1 widens every byte as the portable code does, at every offset", "[sse4_1]") {
  nibble_test::require_byte_loads<xsimd::sse4_1>();
}

TEST_CASE("sse4_1 widens all 65,536 bfloat16 as the portable code does", "[sse4_1]") {
  nibble_test::require_bfloat16_loads<xsimd::sse4_1>();
}

TEST_CASE("sse4_1 interleaves over the whole vector as the portable code does", "[sse4_1]") {
  nibble_test::require_interleaving<xsimd::sse4_1>();
}

TEST_CASE("sse4_1 takes blocks apart and multiplies them as the portable code does", "[sse4_1]") {
  nibble_test::require_block_operations<xsimd::sse4_1>();
  nibble_test::require_panel_operations<xsimd::sse4_1>();
}

}  // namespace

#else

TEST_CASE("sse4_1 is passed by: this program is not compiled for it", "[sse4_1]") {
  WARN("passed by: compile with -msse4.1 to test sse4_1");
}

#endif
