#include <nibble/codec/tq2_0.hpp>

#include <codec/ggml_blocks.hpp>
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

TEST_CASE("tq2_0 unpacks what ggml wrote bit for bit", "[tq2_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<tq2_0>(shared);
}

}  // namespace
