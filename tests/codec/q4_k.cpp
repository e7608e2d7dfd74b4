#include <nibble/codec/q4_k.hpp>

#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q4_k;

// scale and min 1. Part 0: s 2 and m 3; part 5: s 33 = 1 + 2 * 16, m 18 = 2 + 1 * 16; the others 0.
// Element 0 has code 5, element 163 code 15.
TEST_CASE("a q4_k block written by hand unpacks to its values", "[q4_k]") {
  const auto block = nibble_test::sparse_block<q4_k>({{1, 0x3C},
                                                      {3, 0x3C},
                                                      {4, 0x02},
                                                      {5, 0x80},
                                                      {8, 0x03},
                                                      {9, 0x40},
                                                      {13, 0x21},
                                                      {16, 0x75},
                                                      {83, 0xF0}});
  nibble_test::require_unpacks_to<q4_k>(block, [](std::size_t j) {
    if (j == 0) return 2 * 5 - 3;
    if (j == 163) return 33 * 15 - 18;
    return j / 32 == 0 ? -3 : j / 32 == 5 ? -18 : 0;
  });
}

TEST_CASE("q4_k blocks of any bytes unpack as ggml's formula says", "[q4_k]") {
  nibble_test::require_unpacks_any_bytes<q4_k>();
}

TEST_CASE("q4_k errs no more than the plain quantizer, and less on a bell curve", "[q4_k]") {
  nibble_test::require_packs_no_worse<q4_k>(false, [](std::span<const float> values) {
    return nibble_test::plain_offset_sub_blocks_error(values, 15);
  });
}

TEST_CASE("the spare codes of a short q4_k block are 0 whatever was there before", "[q4_k]") {
  nibble_test::require_spare_codes_are_zero<q4_k>();
}

TEST_CASE("q4_k refuses what float16 scales and mins cannot hold", "[q4_k]") {
  nibble_test::require_refuses_far_parts<q4_k>(15.0F);
}

TEST_CASE("q4_k unpacks what ggml wrote bit for bit", "[q4_k]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q4_k>(shared, "q4_K");
}

}  // namespace
