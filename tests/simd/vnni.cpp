#include <nibble/simd/vnni.hpp>

#include <nibble/simd/simd.hpp>

#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if (defined(__AVX512VNNI__) && defined(__AVX512VL__)) || defined(__AVXVNNI__)

namespace {

TEST_CASE("vnni multiplies any bytes without saturating", "[vnni]") {
  nibble_test::require_products_of_any_byte<xsimd::avx2>();
#if defined(__AVX512VNNI__) && defined(__AVX512BW__)
  nibble_test::require_products_of_any_byte<xsimd::avx512bw>();
  nibble_test::require_quad_products<xsimd::avx512bw>();
#endif
}

}  // namespace

#else

TEST_CASE("vnni is passed by: this program is not compiled for it", "[vnni]") {
  WARN("passed by: compile with -mavx512vnni -mavx512vl, or -mavxvnni, to test vnni");
}

#endif
