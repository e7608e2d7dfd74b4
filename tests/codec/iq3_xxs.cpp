#include <nibble/codec/iq3_xxs.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq3_xxs;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_iq3_xxs_block{
    "f0084c347e3213013e1505c6046f0f4be8c93b2f610f25426f8ebc07321f8e13921f2e71b0f3b5dc9d6459b5"
    "468e555a5aa8bb836090734157282f7f9027691c9c8585b4b1928751b390d92aa7fa896c37a4274e13851d94"
    "bbcfbe2b1a9904ed0c8a",
    {-0.0028629303F, 0.008588791F, -0.0143146515F, 0.008588791F, 0.025766373F, 0.037218094F,
     0.037218094F, 0.0028629303F},
    0xDF814074};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_iq3_xxs_block{
    "c715167e4dc7b3e7e77fed29c02be22f39a5086d9c49ccdfbb77e351461c49bc6f2897d2b5a5ee2e66fee2dc"
    "2a42387846d5a85935b0e63c86f5d920c20d44e89d611d095ab99e290b63986e7e486ed183e5876fb2719d1c"
    "a90f43fea917d655a930",
    {-0.03244114F, 0.50283766F, -0.09732342F, -0.03244114F, -0.03244114F, 0.09732342F, 0.22708797F,
     0.1622057F},
    0x73B6AAEF};

TEST_CASE("iq3_xxs blocks of ggml unpack to ggml's values", "[iq3_xxs]") {
  nibble_test::require_unpacks_golden_block<iq3_xxs>(packed_iq3_xxs_block);
  nibble_test::require_unpacks_golden_block<iq3_xxs>(random_iq3_xxs_block);
}

TEST_CASE("iq3_xxs blocks of any bytes unpack as ggml's formula says", "[iq3_xxs]") {
  nibble_test::require_unpacks_any_bytes<iq3_xxs>();
}

TEST_CASE("iq3_xxs unpacks what ggml wrote bit for bit", "[iq3_xxs]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<iq3_xxs>(shared);
}

}  // namespace
