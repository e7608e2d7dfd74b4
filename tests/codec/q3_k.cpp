#include <nibble/codec/q3_k.hpp>

#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q3_k;

// scale 1. Part 0: s 33 = 1 + 2 * 16; part 13: s 50 = 2 + 3 * 16; the others 0, which is -32. Codes
// count from -4: element 5 has 3 + 4, element 210 has 2 + 4, the others 0.
TEST_CASE("a q3_k block written by hand unpacks to its values", "[q3_k]") {
  const auto block = nibble_test::sparse_block<q3_k>({{5, 0x01},
                                                      {18, 0x40},
                                                      {37, 0x03},
                                                      {82, 0x20},
                                                      {96, 0x01},
                                                      {101, 0x20},
                                                      {104, 0x02},
                                                      {105, 0xC0},
                                                      {109, 0x3C}});
  nibble_test::require_unpacks_to<q3_k>(block, [](std::size_t j) {
    if (j == 5) return 1 * 3;
    if (j == 210) return 18 * 2;
    return j / 16 == 0 ? 1 * -4 : j / 16 == 13 ? 18 * -4 : -32 * -4;
  });
}

TEST_CASE("q3_k blocks of any bytes unpack as ggml's formula says", "[q3_k]") {
  nibble_test::require_unpacks_any_bytes<q3_k>();
}

TEST_CASE("q3_k errs no more than the plain quantizer, and less on a bell curve", "[q3_k]") {
  nibble_test::require_packs_no_worse<q3_k>(false, [](std::span<const float> values) {
    return nibble_test::plain_signed_parts_error(values, -4, -32.0);
  });
}

TEST_CASE("the spare codes of a short q3_k block are 0 whatever was there before", "[q3_k]") {
  nibble_test::require_spare_codes_are_zero<q3_k>();
}

TEST_CASE("q3_k refuses what a float16 scale cannot hold", "[q3_k]") {
  nibble_test::require_refuses_far_values<q3_k>(60000.0F * 128.0F, 72000.0F * 128.0F);
}

TEST_CASE("q3_k unpacks what ggml wrote bit for bit", "[q3_k]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q3_k>(shared, "q3_K");
}

}  // namespace
