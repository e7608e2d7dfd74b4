#include <nibble/codec/q5_k.hpp>

#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q5_k;

// scale and min 1. Part 0: s 2 and m 3; part 5: s 33 = 1 + 2 * 16, m 18 = 2 + 1 * 16; the others 0.
// Element 0 has code 5 + 16, element 163 code 15 + 16.
TEST_CASE("a q5_k block written by hand unpacks to its values", "[q5_k]") {
  const auto block = nibble_test::sparse_block<q5_k>({{1, 0x3C},
                                                      {3, 0x3C},
                                                      {4, 0x02},
                                                      {5, 0x80},
                                                      {8, 0x03},
                                                      {9, 0x40},
                                                      {13, 0x21},
                                                      {16, 0x01},
                                                      {19, 0x20},
                                                      {48, 0x75},
                                                      {115, 0xF0}});
  nibble_test::require_unpacks_to<q5_k>(block, [](std::size_t j) {
    if (j == 0) return 2 * 21 - 3;
    if (j == 163) return 33 * 31 - 18;
    return j / 32 == 0 ? -3 : j / 32 == 5 ? -18 : 0;
  });
}

TEST_CASE("q5_k blocks of any bytes unpack as ggml's formula says", "[q5_k]") {
  nibble_test::require_unpacks_any_bytes<q5_k>();
}

TEST_CASE("q5_k errs no more than the plain quantizer, and less on a bell curve", "[q5_k]") {
  nibble_test::require_packs_no_worse<q5_k>(false, [](std::span<const float> values) {
    return nibble_test::plain_offset_sub_blocks_error(values, 31);
  });
}

TEST_CASE("the spare codes of a short q5_k block are 0 whatever was there before", "[q5_k]") {
  nibble_test::require_spare_codes_are_zero<q5_k>();
}

TEST_CASE("q5_k refuses what float16 scales and mins cannot hold", "[q5_k]") {
  nibble_test::require_refuses_far_parts<q5_k>(31.0F);
}

TEST_CASE("q5_k unpacks what ggml wrote bit for bit", "[q5_k]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q5_k>(shared, "q5_K");
}

}  // namespace
