#include <nibble/codec/q1_0.hpp>

#include <array>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
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

TEST_CASE("q1_0 errs as ggml's quantizer does", "[q1_0]") {
  nibble_test::require_packs_no_worse<q1_0>(
      true, [](std::span<const float> values) { return nibble_test::plain_sign_error(values); },
      1.0001);
}

TEST_CASE("the spare codes of a short q1_0 block are 0 whatever was there before", "[q1_0]") {
  nibble_test::require_spare_codes_are_zero<q1_0>();
}

TEST_CASE("q1_0 packs values that it can hold to themselves", "[q1_0]") {
  nibble_test::require_keeps_exact_values<q1_0>(nibble_test::from_hex(packed_q1_0_block.bytes));
}

TEST_CASE("q1_0 refuses a mean that a float16 scale cannot hold", "[q1_0]") {
  q1_0::block block;
  using nibble::pack_status;
  CHECK(q1_0::pack(std::array{65519.0F, -65519.0F}, block) == pack_status::packed);
  CHECK(q1_0::pack(std::array{120000.0F, 1.0F}, block) == pack_status::packed);
  CHECK(q1_0::pack(std::array{65521.0F, -65521.0F}, block) == pack_status::scale_overflow);
  CHECK(q1_0::pack(std::array{-3e38F, 3e38F}, block) == pack_status::scale_overflow);
}

TEST_CASE("q1_0 unpacks what ggml wrote bit for bit", "[q1_0]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_low_bit_fixture<q1_0>(shared);
}

}  // namespace
