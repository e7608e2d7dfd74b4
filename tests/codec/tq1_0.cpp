#include <nibble/codec/tq1_0.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::tq1_0;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_tq1_0_block{
    "80d234807d7a807680a980d5808976808081812bd58080762b81806464808081839b8080808080d280808180"
    "8080807f7f7f7f7f292c",
    {0.0F, 0.06500244F, -0.06500244F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F},
    0x634707B3};
// As above, of random bytes under a finite scale.
const nibble_test::golden_block random_tq1_0_block{
    "dd47650e9907afff0d0b980138f35745acef7f5c9b337ced6a9dd2187bdbcb42a35814c645928e16c4d40d07"
    "46788f510c0d2b2c3d30",
    {0.13244629F, -0.13244629F, 0.0F, -0.13244629F, 0.0F, -0.13244629F, 0.13244629F, 0.13244629F},
    0x42DD28E7};

TEST_CASE("tq1_0 blocks of ggml unpack to ggml's values", "[tq1_0]") {
  nibble_test::require_unpacks_golden_block<tq1_0>(packed_tq1_0_block);
  nibble_test::require_unpacks_golden_block<tq1_0>(random_tq1_0_block);
}

TEST_CASE("tq1_0 blocks of any bytes unpack as ggml's formula says", "[tq1_0]") {
  nibble_test::require_unpacks_any_bytes<tq1_0>();
}

TEST_CASE("tq1_0 unpacks what ggml wrote bit for bit", "[tq1_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<tq1_0>(shared);
}

}  // namespace
