#include <nibble/codec/q4_1.hpp>

#include <array>
#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/min_max_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q4_1;

// scale 0.5, min -3; code j in the low nibble of byte j, code j + 16 in its high one.
constexpr const char* golden_q4_1_block = "0038 00c2 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_q4_1_values = {
    -3.0F, -2.5F, -2.0F, -1.5F, -1.0F, -0.5F, 0.0F,  0.5F,  1.0F,  1.5F, 2.0F,
    2.5F,  3.0F,  3.5F,  4.0F,  4.5F,  4.5F,  4.0F,  3.5F,  3.0F,  2.5F, 2.0F,
    1.5F,  1.0F,  0.5F,  0.0F,  -0.5F, -1.0F, -1.5F, -2.0F, -2.5F, -3.0F};

TEST_CASE("a q4_1 block written by hand unpacks to its values", "[q4_1]") {
  nibble_test::require_unpacks_to<q4_1>(nibble_test::from_hex(golden_q4_1_block),
                                        [](std::size_t j) { return golden_q4_1_values[j]; });
}

TEST_CASE("q4_1 blocks of any bytes unpack as ggml's formula says", "[q4_1]") {
  nibble_test::require_unpacks_any_bytes<q4_1>();
}

TEST_CASE("q4_1 errs no more than the plain quantizer, and less on a bell curve", "[q4_1]") {
  nibble_test::require_packs_no_worse<q4_1>(
      true, [](std::span<const float> values) { return nibble_test::plain_offset_error(values, 15); });
}

TEST_CASE("the spare codes of a short q4_1 block are 0 whatever was there before", "[q4_1]") {
  nibble_test::require_spare_codes_are_zero<q4_1>();
}

TEST_CASE("q4_1 packs values that it can hold to themselves", "[q4_1]") {
  nibble_test::require_keeps_exact_values<q4_1>(nibble_test::from_hex(golden_q4_1_block));
}

TEST_CASE("q4_1 refuses what a float16 scale or min cannot hold", "[q4_1]") {
  nibble_test::require_refuses_beyond_float16<q4_1>(15.0F);
}

TEST_CASE("q4_1 unpacks what ggml wrote bit for bit", "[q4_1]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q4_1>(shared, "q4_1");
}

}  // namespace
