#include <nibble/codec/nvfp4.hpp>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::nvfp4;

// A block that ggml packed from Gaussian weights, and what ggml decodes it to.
const nibble_test::golden_block packed_nvfp4_block{
    "05030404920a2dbb0be0f220ec6fddf475bfcf00c75fabb50a499ac9203c3cab256bc57e",
    {0.009765625F, -0.009765625F, -0.029296875F, -0.0146484375F, -0.0146484375F, 0.0F, 0.009765625F,
     0.0F},
    0xBBAA15D3};
// As above, of random bytes.
const nibble_test::golden_block random_nvfp4_block{
    "4152b2de3c023769e156e77e3d3c7618e56b1da6559d613cab588a3f97964cfb72e2226d",
    {-4.5F, 2.25F, 13.5F, -1.125F, 1.125F, 9.0F, 13.5F, -9.0F},
    0xF8BC4C93};

TEST_CASE("nvfp4 blocks of ggml unpack to ggml's values", "[nvfp4]") {
  nibble_test::require_unpacks_golden_block<nvfp4>(packed_nvfp4_block);
  nibble_test::require_unpacks_golden_block<nvfp4>(random_nvfp4_block);
}

TEST_CASE("nvfp4 blocks of any bytes unpack as ggml's formula says", "[nvfp4]") {
  nibble_test::require_unpacks_any_bytes<nvfp4>();
}

TEST_CASE("nvfp4 unpacks what ggml wrote bit for bit", "[nvfp4]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<nvfp4>(shared);
}

}  // namespace
