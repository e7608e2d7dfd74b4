#include <nibble/simd/simd.hpp>

#include <simd/against_portable.hpp>
#include <simd/products_against_portable.hpp>
#include <support/catch.hpp>

namespace {

using best = nibble::simd::best_architecture;

// Operations are found through the bases of an architecture's tag; one whose number of lanes disagrees
// would not compile.
TEST_CASE("what this program is compiled for does all that the portable code does", "[simd]") {
  SECTION("bytes") { nibble_test::require_byte_loads<best>(); }
  SECTION("16-bit floats") {
    nibble_test::require_bfloat16_loads<best>();
    nibble_test::require_float16_loads<best>();
    nibble_test::require_float16_stores<best>();
    nibble_test::require_bfloat16_stores<best>();
  }
  SECTION("lines") { nibble_test::require_line_copies<best>(); }
  SECTION("interleaving") { nibble_test::require_interleaving<best>(); }
  SECTION("blocks") { nibble_test::require_block_operations<nibble::simd::block_architecture<best>>(); }
  SECTION("panels") {
    nibble_test::require_panel_operations<nibble::simd::integer_architecture<best>>();
  }
}

}  // namespace
