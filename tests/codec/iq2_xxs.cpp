#include <nibble/codec/iq2_xxs.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq2_xxs;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq2_xxs_block{
    "8e0c7e00120eac39b0e7c8b2ce8c3be5fdb467cd71136cfc5fb1ac64abaa80ac79aa0000d7b21d50cef464d6"
    "9adc177652b5ae4ac71c0b6adca5bf2b56d0199c75da",
    {0.008061886F, 0.025193393F, -0.043332636F, -0.025193393F, 0.025193393F, -0.025193393F,
     0.043332636F, -0.008061886F},
    0xFCDC5AF2};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq2_xxs_block{
    "7d1cf7a4c65f7ad0d43d18903cff11b235d36481b02d2d9a33d023940827451001e3a2fe723c456132eb13b8"
    "f5230dc9df2efaa2d8c822bc62e7dc90ee1e562a1a8f",
    {0.03068161F, -0.03068161F, 0.16491365F, -0.03068161F, -0.09588003F, -0.16491365F, -0.09588003F,
     -0.16491365F},
    0x1E482C3E};

TEST_CASE("iq2_xxs blocks of ggml unpack to ggml's values", "[iq2_xxs]") {
  nibble_test::require_unpacks_golden_block<iq2_xxs>(packed_iq2_xxs_block);
  nibble_test::require_unpacks_golden_block<iq2_xxs>(random_iq2_xxs_block);
}

TEST_CASE("iq2_xxs blocks of any bytes unpack as ggml's formula says", "[iq2_xxs]") {
  nibble_test::require_unpacks_any_bytes<iq2_xxs>();
}

TEST_CASE("iq2_xxs unpacks what ggml wrote bit for bit", "[iq2_xxs]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq2_xxs>(shared);
}

}  // namespace
