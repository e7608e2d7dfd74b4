#include <nibble/codec/tq2_0.hpp>

#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::tq2_0;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_tq2_0_block{
    "5955545165555555595555956515555645555555544556155595955556555544555194595515951555544551"
    "59555555555455595954555550555659555555552d2b",
    {0.0F, 0.0F, -0.05606079F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F},
    0xB79A9CC5};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_tq2_0_block{
    "1eb5f9068dba9445e2afb230af740725f6e07c49cf255191d67799e402f5eec2e24a1534db7c142164c95d2f"
    "9c4b16f8b1b12ccc79c9f8c4225bb911456e8844f4a5",
    {-0.023254395F, -0.0F, -0.0F, -0.023254395F, -0.0F, -0.023254395F, 0.023254395F, -0.0F},
    0xFF63AAE5};

TEST_CASE("tq2_0 blocks of ggml unpack to ggml's values", "[tq2_0]") {
  nibble_test::require_unpacks_golden_block<tq2_0>(packed_tq2_0_block);
  nibble_test::require_unpacks_golden_block<tq2_0>(random_tq2_0_block);
}

TEST_CASE("tq2_0 blocks of any bytes unpack as ggml's formula says", "[tq2_0]") {
  nibble_test::require_unpacks_any_bytes<tq2_0>();
}

TEST_CASE("tq2_0 errs no more than ggml's quantizer, and less than half on a bell curve", "[tq2_0]") {
  nibble_test::require_packs_no_worse<tq2_0>(
      true,
      [](std::span<const float> values) {
        return nibble_test::plain_signed_error(values, -1, 1,
                                               nibble_test::farthest(values) < 0 ? -1 : 1);
      },
      0.5);
}

TEST_CASE("the spare codes of a short tq2_0 block are 0 whatever was there before", "[tq2_0]") {
  nibble_test::require_spare_codes_are_zero<tq2_0>();
}

TEST_CASE("tq2_0 packs ternary values to themselves", "[tq2_0]") {
  nibble_test::require_keeps_exact_values<tq2_0>(nibble_test::from_hex(packed_tq2_0_block.bytes));
}

TEST_CASE("tq2_0 refuses what a float16 scale cannot hold", "[tq2_0]") {
  nibble_test::require_refuses_far_values<tq2_0>(65519.0F, 65521.0F);
}

TEST_CASE("tq2_0 unpacks what ggml wrote bit for bit", "[tq2_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<tq2_0>(shared);
}

}  // namespace
