#include <nibble/codec/q8_0.hpp>

#include <array>
#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q8_0;

// scale 0.25; codes -128, 127, 0, -1, 1, -2, 2, ... 14, -15.
constexpr const char* golden_q8_0_block =
    "0034 807f00ff01fe02fd03fc04fb05fa06f907f808f709f60af50bf40cf30df20ef1";
constexpr std::array<float, 32> golden_q8_0_values = {
    -32.0F, 31.75F, 0.0F,  -0.25F, 0.25F,  -0.5F,  0.5F,  -0.75F, 0.75F,  -1.0F, 1.0F,
    -1.25F, 1.25F,  -1.5F, 1.5F,   -1.75F, 1.75F,  -2.0F, 2.0F,   -2.25F, 2.25F, -2.5F,
    2.5F,   -2.75F, 2.75F, -3.0F,  3.0F,   -3.25F, 3.25F, -3.5F,  3.5F,   -3.75F};

TEST_CASE("a q8_0 block written by hand unpacks to its values", "[q8_0]") {
  nibble_test::require_unpacks_to<q8_0>(nibble_test::from_hex(golden_q8_0_block),
                                        [](std::size_t j) { return golden_q8_0_values[j]; });
}

TEST_CASE("q8_0 blocks of any bytes unpack as ggml's formula says", "[q8_0]") {
  nibble_test::require_unpacks_any_bytes<q8_0>();
}

TEST_CASE("q8_0 errs no more than the plain quantizer, and less on a bell curve", "[q8_0]") {
  nibble_test::require_packs_no_worse<q8_0>(true, [](std::span<const float> values) {
    return nibble_test::plain_signed_error(values, -127, 127, 127);
  });
}

TEST_CASE("the spare codes of a short q8_0 block are 0 whatever was there before", "[q8_0]") {
  nibble_test::require_spare_codes_are_zero<q8_0>();
}

TEST_CASE("q8_0 packs values that it can hold to themselves", "[q8_0]") {
  // -127 for -128, which ggml does not write either.
  auto stored = nibble_test::from_hex(golden_q8_0_block);
  stored[2] = std::byte{0x81};
  nibble_test::require_keeps_exact_values<q8_0>(stored);
}

TEST_CASE("q8_0 refuses what a float16 scale cannot hold", "[q8_0]") {
  // From halfway to the float16 that there is not.
  nibble_test::require_refuses_far_values<q8_0>(65519.0F * 127.0F, 65521.0F * 127.0F);
}

TEST_CASE("q8_0 unpacks what ggml wrote bit for bit", "[q8_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q8_0>(shared, "q8_0");
}

}  // namespace
