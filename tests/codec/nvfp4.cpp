#include <nibble/codec/nvfp4.hpp>

#include <cmath>
#include <cstdint>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
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

TEST_CASE("nvfp4 errs no more than ggml's quantizer, and less on a bell curve", "[nvfp4]") {
  nibble_test::require_packs_no_worse<nvfp4>(
      true, [](std::span<const float> values) { return nibble_test::plain_nvfp4_error(values); }, 0.8,
      2688.0);
}

TEST_CASE("the spare codes of a short nvfp4 block are 0 whatever was there before", "[nvfp4]") {
  nibble_test::require_spare_codes_are_zero<nvfp4>();
}

TEST_CASE("nvfp4 packs values that it can hold to themselves", "[nvfp4]") {
  nibble_test::require_keeps_exact_values<nvfp4>(nibble_test::from_hex(packed_nvfp4_block.bytes));
}

TEST_CASE("nvfp4 refuses what an E4M3 scale cannot hold", "[nvfp4]") {
  // 6 times 464, halfway to the scale that there is not.
  nibble_test::require_refuses_far_values<nvfp4>(2783.9F, 2784.1F);
}

TEST_CASE("nvfp4 reads every scale, whatever its sign bit", "[nvfp4]") {
  for (int stored = 0; stored < 256; ++stored) {
    const int exponent = stored / 8 % 16;
    const int mantissa = stored % 8;
    float expected = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -10)
                                   : std::ldexp(1.0F + static_cast<float>(mantissa) / 8, exponent - 8);
    if (stored == 0x7F) expected = 0.0F;
    CAPTURE(stored);
    CHECK(nvfp4::half_scale(static_cast<std::uint8_t>(stored)) == expected);
  }
}

TEST_CASE("nvfp4 unpacks what ggml wrote bit for bit", "[nvfp4]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<nvfp4>(shared);
}

}  // namespace
