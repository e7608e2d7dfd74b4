#include <nibble/codec/q2_0.hpp>

#include <codec/ggml_blocks.hpp>
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

TEST_CASE("q2_0 unpacks what ggml wrote bit for bit", "[q2_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<q2_0>(shared);
}

}  // namespace
