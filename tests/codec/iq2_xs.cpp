#include <nibble/codec/iq2_xs.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq2_xs;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq2_xs_block{
    "bc0ede706fe846c84bbae9312a0200ef33fce002a4232088623abfa00274318533a6417f69e02e48802b0980"
    "5c54cd555da753d7be1d6bf359eecb59b2fecb2696f2ba78b7ba998f7577",
    {0.008631706F, 0.04639542F, 0.008631706F, -0.026974082F, -0.026974082F, -0.008631706F, 0.04639542F,
     -0.008631706F},
    0x0FCCCF78};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq2_xs_block{
    "e0bd793217a45d90b4c9fc2044edef34061f4b6713f009b8288bdfa39deca5df910b1744b1d6ebab54bcad49"
    "763ba703ca0974557b7207b467d4fcce47d7ab662b8e5c02172a26ac078e",
    {197.36328F, -197.36328F, -197.36328F, 197.36328F, 36.71875F, -197.36328F, -36.71875F, 36.71875F},
    0x18513813};

TEST_CASE("iq2_xs blocks of ggml unpack to ggml's values", "[iq2_xs]") {
  nibble_test::require_unpacks_golden_block<iq2_xs>(packed_iq2_xs_block);
  nibble_test::require_unpacks_golden_block<iq2_xs>(random_iq2_xs_block);
}

TEST_CASE("iq2_xs blocks of any bytes unpack as ggml's formula says", "[iq2_xs]") {
  nibble_test::require_unpacks_any_bytes<iq2_xs>();
}

TEST_CASE("iq2_xs unpacks what ggml wrote bit for bit", "[iq2_xs]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq2_xs>(shared);
}

}  // namespace
