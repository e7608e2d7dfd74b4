#include <nibble/codec/q2_0.hpp>

#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q2_0;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_q2_0_block{
    "1b2a459555659a2155655555555555a5a691",
    {0.0F, 0.0F, -0.047698975F, 0.0F, 0.0F, 0.0F, 0.0F, 0.047698975F},
    0xB59CE995};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_q2_0_block{
    "1c302319ed92bf07276b73208e0b0d4e4ac7",
    {0.25683594F, -0.12841797F, 0.12841797F, -0.12841797F, 0.0F, 0.12841797F, 0.0F, -0.12841797F},
    0x1104C38E};

TEST_CASE("q2_0 blocks of ggml unpack to ggml's values", "[q2_0]") {
  nibble_test::require_unpacks_golden_block<q2_0>(packed_q2_0_block);
  nibble_test::require_unpacks_golden_block<q2_0>(random_q2_0_block);
}

TEST_CASE("q2_0 blocks of any bytes unpack as ggml's formula says", "[q2_0]") {
  nibble_test::require_unpacks_any_bytes<q2_0>();
}

TEST_CASE("q2_0 errs no more than ggml's quantizer, and less than half on a bell curve", "[q2_0]") {
  nibble_test::require_packs_no_worse<q2_0>(
      true,
      [](std::span<const float> values) {
        return nibble_test::plain_signed_error(values, -1, 2,
                                               nibble_test::farthest(values) < 0 ? -1 : 1);
      },
      0.5);
}

TEST_CASE("the spare codes of a short q2_0 block are 0 whatever was there before", "[q2_0]") {
  nibble_test::require_spare_codes_are_zero<q2_0>();
}

TEST_CASE("q2_0 packs values that it can hold to themselves", "[q2_0]") {
  nibble_test::require_keeps_exact_values<q2_0>(nibble_test::from_hex(packed_q2_0_block.bytes));
  nibble_test::require_keeps_exact_values<q2_0>(nibble_test::from_hex(random_q2_0_block.bytes));
}

TEST_CASE("q2_0 refuses what a float16 scale cannot hold", "[q2_0]") {
  nibble_test::require_refuses_far_values<q2_0>(2.0F * 65519.0F, 2.0F * 65521.0F);
}

TEST_CASE("q2_0 unpacks what ggml wrote bit for bit", "[q2_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<q2_0>(shared);
}

}  // namespace
