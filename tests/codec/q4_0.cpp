#include <nibble/codec/q4_0.hpp>

#include <array>
#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q4_0;

// scale 0.5; code j in the low nibble of byte j, code j + 16 in its high one; x = 0.5 (q - 8).
constexpr const char* golden_q4_0_block = "0038 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_q4_0_values = {
    -4.0F, -3.5F, -3.0F, -2.5F, -2.0F, -1.5F, -1.0F, -0.5F, 0.0F,  0.5F, 1.0F,
    1.5F,  2.0F,  2.5F,  3.0F,  3.5F,  3.5F,  3.0F,  2.5F,  2.0F,  1.5F, 1.0F,
    0.5F,  0.0F,  -0.5F, -1.0F, -1.5F, -2.0F, -2.5F, -3.0F, -3.5F, -4.0F};

TEST_CASE("a q4_0 block written by hand unpacks to its values", "[q4_0]") {
  nibble_test::require_unpacks_to<q4_0>(nibble_test::from_hex(golden_q4_0_block),
                                        [](std::size_t j) { return golden_q4_0_values[j]; });
}

TEST_CASE("q4_0 blocks of any bytes unpack as ggml's formula says", "[q4_0]") {
  nibble_test::require_unpacks_any_bytes<q4_0>();
}

TEST_CASE("q4_0 errs no more than the plain quantizer, and less on a bell curve", "[q4_0]") {
  nibble_test::require_packs_no_worse<q4_0>(true, [](std::span<const float> values) {
    return nibble_test::plain_signed_error(values, -8, 7, -8);
  });
}

TEST_CASE("the spare codes of a short q4_0 block are 0 whatever was there before", "[q4_0]") {
  nibble_test::require_spare_codes_are_zero<q4_0>();
}

TEST_CASE("q4_0 packs values that it can hold to themselves", "[q4_0]") {
  nibble_test::require_keeps_exact_values<q4_0>(nibble_test::from_hex(golden_q4_0_block));
}

TEST_CASE("q4_0 refuses what a float16 scale cannot hold", "[q4_0]") {
  // From halfway to the float16 that there is not.
  nibble_test::require_refuses_far_values<q4_0>(65519.0F * -8.0F, 65521.0F * -8.0F);
}

TEST_CASE("q4_0 unpacks what ggml wrote bit for bit", "[q4_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q4_0>(shared, "q4_0");
}

}  // namespace
