#include <nibble/simd/ssse3.hpp>

#include <nibble/simd/portable.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

#if defined(__SSSE3__)

namespace {

TEST_CASE("ssse3 takes blocks apart and multiplies them as the portable code does", "[ssse3]") {
  nibble_test::require_block_operations<xsimd::ssse3>();
  nibble_test::require_panel_operations<xsimd::ssse3>();
}

}  // namespace

#else

TEST_CASE("ssse3 is passed by: this program is not compiled for it", "[ssse3]") {
  WARN("passed by: compile with -mssse3 to test ssse3");
}

#endif
