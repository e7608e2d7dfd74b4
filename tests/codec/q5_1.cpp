#include <nibble/codec/q5_1.hpp>

#include <array>
#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/min_max_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q5_1;

// scale 0.25, min 1; the fifth bits of codes 0..7 and 16..23 are set.
constexpr const char* golden_q5_1_block = "0034 003c ff00ff00 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_q5_1_values = {
    5.0F,  5.25F, 5.5F,  5.75F, 6.0F,  6.25F, 6.5F,  6.75F, 3.0F,  3.25F, 3.5F,
    3.75F, 4.0F,  4.25F, 4.5F,  4.75F, 8.75F, 8.5F,  8.25F, 8.0F,  7.75F, 7.5F,
    7.25F, 7.0F,  2.75F, 2.5F,  2.25F, 2.0F,  1.75F, 1.5F,  1.25F, 1.0F};

TEST_CASE("a q5_1 block written by hand unpacks to its values", "[q5_1]") {
  nibble_test::require_unpacks_to<q5_1>(nibble_test::from_hex(golden_q5_1_block),
                                        [](std::size_t j) { return golden_q5_1_values[j]; });
}

TEST_CASE("q5_1 blocks of any bytes unpack as ggml's formula says", "[q5_1]") {
  nibble_test::require_unpacks_any_bytes<q5_1>();
}

TEST_CASE("q5_1 errs no more than the plain quantizer, and less on a bell curve", "[q5_1]") {
  nibble_test::require_packs_no_worse<q5_1>(
      true, [](std::span<const float> values) { return nibble_test::plain_offset_error(values, 31); });
}

TEST_CASE("the spare codes of a short q5_1 block are 0 whatever was there before", "[q5_1]") {
  nibble_test::require_spare_codes_are_zero<q5_1>();
}

TEST_CASE("q5_1 packs values that it can hold to themselves", "[q5_1]") {
  nibble_test::require_keeps_exact_values<q5_1>(nibble_test::from_hex(golden_q5_1_block));
}

TEST_CASE("q5_1 refuses what a float16 scale or min cannot hold", "[q5_1]") {
  nibble_test::require_refuses_beyond_float16<q5_1>(31.0F);
}

TEST_CASE("q5_1 unpacks what ggml wrote bit for bit", "[q5_1]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q5_1>(shared, "q5_1");
}

}  // namespace
