#include <nibble/codec/iq1_s.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq1_s;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq1_s_block{
    "ec18f01097e4bea4ecf334fda2d4b9d813d154c8f9e680e93e8fec29e956e11f6d035350ffc54c6c506cb266"
    "3ae1c2ff8a79",
    {0.0033044815F, 0.0033044815F, 0.0033044815F, -0.02313137F, 0.0033044815F, 0.0033044815F,
     0.0033044815F, 0.0033044815F},
    0xFB41D1AB};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq1_s_block{
    "1edc35285cd1c0378c74fb5967357e6d4ad2f8d424b13d4fdaab8477d1e9c04505472753e8b529e2ab62ecd1"
    "448c7925b725",
    {-3260.8125F, 2536.1875F, -362.3125F, -3260.8125F, -362.3125F, -3260.8125F, -362.3125F,
     -3260.8125F},
    0x7809B423};

TEST_CASE("iq1_s blocks of ggml unpack to ggml's values", "[iq1_s]") {
  nibble_test::require_unpacks_golden_block<iq1_s>(packed_iq1_s_block);
  nibble_test::require_unpacks_golden_block<iq1_s>(random_iq1_s_block);
}

TEST_CASE("iq1_s blocks of any bytes unpack as ggml's formula says", "[iq1_s]") {
  nibble_test::require_unpacks_any_bytes<iq1_s>();
}

TEST_CASE("iq1_s unpacks what ggml wrote bit for bit", "[iq1_s]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq1_s>(shared);
}

}  // namespace
