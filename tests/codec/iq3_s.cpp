#include <nibble/codec/iq3_s.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq3_s;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq3_s_block{
    "c30798d53b384e2e1af3ca751e2321324706444a9e1902b84bdc4dcdd7ed01d6bffdf4e180fa64cc2508d204"
    "3006620149fd75ddafc760366512f00be6219ee289e2b02608203e8e415092087b64d722c5c696cd124a80c3"
    "fd56de9e85211ceb7bd1ac708a05e73ccce2faed9bdd",
    {0.012435615F, -0.037306845F, 0.012435615F, 0.007461369F, -0.002487123F, 0.027358353F, 0.002487123F,
     -0.012435615F},
    0x9A2B4D0B};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq3_s_block{
    "b763022d56a9bcde4ddaee9228fe28ebcfbb41ee0f42ee6e6f300a667400702eba822f63af5baa5c03119005"
    "c606cd2cdd974d50463691ff0dbc6bd4c21010ee4a9c2494084719a389e2a2028841b3de6b788ddc3e6e8405"
    "8782f6a2f7c3e8e493727a67a09a37eeccfe2d38bd43",
    {133312.5F, -26662.5F, 26662.5F, 26662.5F, 26662.5F, -79987.5F, 133312.5F, -26662.5F},
    0x20DA5AED};

TEST_CASE("iq3_s blocks of ggml unpack to ggml's values", "[iq3_s]") {
  nibble_test::require_unpacks_golden_block<iq3_s>(packed_iq3_s_block);
  nibble_test::require_unpacks_golden_block<iq3_s>(random_iq3_s_block);
}

TEST_CASE("iq3_s blocks of any bytes unpack as ggml's formula says", "[iq3_s]") {
  nibble_test::require_unpacks_any_bytes<iq3_s>();
}

TEST_CASE("iq3_s unpacks what ggml wrote bit for bit", "[iq3_s]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq3_s>(shared);
}

}  // namespace
