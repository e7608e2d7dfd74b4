#include <nibble/codec/iq2_s.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq2_s;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq2_s_block{
    "320e7204fe3e356a5b4c6c48b058982fb2d17b558935002d90a8228eb7a997faf7287cef7bd14d6e88917ee4"
    "bf0b55a424e45fdab2e27461cb5741d585d0ad74bda8c872702e19808e588d8c7ad7a9dfa9a7",
    {0.01020956F, 0.01020956F, -0.01020956F, -0.01020956F, -0.031904876F, -0.031904876F, -0.01020956F,
     0.01020956F},
    0x640EA36F};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq2_s_block{
    "29696ffa9855e573b8266b7cd12d7c30b68a695bb115257a89958064e0abfe73346a1708487a3925e5ae7635"
    "3cc405618edf15ec19716c4aa84044d91f82def4e59a0ae97c120a21701222a90e1430e5e195",
    {-1.321e+04F, -1.321e+04F, -71003.75F, 41281.25F, -1.321e+04F, 71003.75F, 1.321e+04F, 41281.25F},
    0x825901D8};

TEST_CASE("iq2_s blocks of ggml unpack to ggml's values", "[iq2_s]") {
  nibble_test::require_unpacks_golden_block<iq2_s>(packed_iq2_s_block);
  nibble_test::require_unpacks_golden_block<iq2_s>(random_iq2_s_block);
}

TEST_CASE("iq2_s blocks of any bytes unpack as ggml's formula says", "[iq2_s]") {
  nibble_test::require_unpacks_any_bytes<iq2_s>();
}

TEST_CASE("iq2_s unpacks what ggml wrote bit for bit", "[iq2_s]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq2_s>(shared);
}

}  // namespace
