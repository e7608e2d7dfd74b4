#include <nibble/codec/q1_0.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q1_0;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_q1_0_block{
    "95237fed3b03cf6e4dd9cb8cdf098fc031f1",
    {0.014808655F, 0.014808655F, 0.014808655F, 0.014808655F, 0.014808655F, 0.014808655F, 0.014808655F,
     -0.014808655F},
    0x4AF46BA7};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_q1_0_block{
    "6f6b8df50b424d04fb02a40c10356bbff313",
    {3806.0F, -3806.0F, 3806.0F, 3806.0F, -3806.0F, -3806.0F, -3806.0F, 3806.0F},
    0xA3DCA359};

TEST_CASE("q1_0 blocks of ggml unpack to ggml's values", "[q1_0]") {
  nibble_test::require_unpacks_golden_block<q1_0>(packed_q1_0_block);
  nibble_test::require_unpacks_golden_block<q1_0>(random_q1_0_block);
}

TEST_CASE("q1_0 blocks of any bytes unpack as ggml's formula says", "[q1_0]") {
  nibble_test::require_unpacks_any_bytes<q1_0>();
}

TEST_CASE("q1_0 unpacks what ggml wrote bit for bit", "[q1_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<q1_0>(shared);
}

}  // namespace
