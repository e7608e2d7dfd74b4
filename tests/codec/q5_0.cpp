#include <nibble/codec/q5_0.hpp>

#include <array>
#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q5_0;

// scale -2; the fifth bits of codes 0..7 and 16..23 are set; x = -2 (q - 16).
constexpr const char* golden_q5_0_block = "00c0 ff00ff00 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_q5_0_values = {
    0.0F,   -2.0F,  -4.0F, -6.0F, -8.0F, -10.0F, -12.0F, -14.0F, 16.0F,  14.0F,  12.0F,
    10.0F,  8.0F,   6.0F,  4.0F,  2.0F,  -30.0F, -28.0F, -26.0F, -24.0F, -22.0F, -20.0F,
    -18.0F, -16.0F, 18.0F, 20.0F, 22.0F, 24.0F,  26.0F,  28.0F,  30.0F,  32.0F};

TEST_CASE("a q5_0 block written by hand unpacks to its values", "[q5_0]") {
  nibble_test::require_unpacks_to<q5_0>(nibble_test::from_hex(golden_q5_0_block),
                                        [](std::size_t j) { return golden_q5_0_values[j]; });
}

TEST_CASE("q5_0 blocks of any bytes unpack as ggml's formula says", "[q5_0]") {
  nibble_test::require_unpacks_any_bytes<q5_0>();
}

TEST_CASE("q5_0 errs no more than the plain quantizer, and less on a bell curve", "[q5_0]") {
  nibble_test::require_packs_no_worse<q5_0>(true, [](std::span<const float> values) {
    return nibble_test::plain_signed_error(values, -16, 15, -16);
  });
}

TEST_CASE("the spare codes of a short q5_0 block are 0 whatever was there before", "[q5_0]") {
  nibble_test::require_spare_codes_are_zero<q5_0>();
}

TEST_CASE("q5_0 packs values that it can hold to themselves", "[q5_0]") {
  nibble_test::require_keeps_exact_values<q5_0>(nibble_test::from_hex(golden_q5_0_block));
}

TEST_CASE("q5_0 refuses what a float16 scale cannot hold", "[q5_0]") {
  // From halfway to the float16 that there is not.
  nibble_test::require_refuses_far_values<q5_0>(65519.0F * -16.0F, 65521.0F * -16.0F);
}

TEST_CASE("q5_0 unpacks what ggml wrote bit for bit", "[q5_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q5_0>(shared, "q5_0");
}

}  // namespace
