#include <nibble/codec/q2_k.hpp>

#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q2_k;

// scale 1, min 2. Part 0: s 2 and m 3; part 13: s 15 and m 5; the others 0. Element 1 has code 2,
// element 210, in bits 4 and 5 of byte 32 + 18, code 3.
TEST_CASE("a q2_k block written by hand unpacks to its values", "[q2_k]") {
  const auto block = nibble_test::sparse_block<q2_k>(
      {{0, 0x32}, {13, 0x5F}, {17, 0x02}, {66, 0x30}, {81, 0x3C}, {83, 0x40}});
  nibble_test::require_unpacks_to<q2_k>(block, [](std::size_t j) {
    if (j == 1) return 2 * 2 - 2 * 3;
    if (j == 210) return 15 * 3 - 2 * 5;
    return j / 16 == 0 ? -2 * 3 : j / 16 == 13 ? -2 * 5 : 0;
  });
}

TEST_CASE("q2_k blocks of any bytes unpack as ggml's formula says", "[q2_k]") {
  nibble_test::require_unpacks_any_bytes<q2_k>();
}

TEST_CASE("q2_k errs no more than the plain quantizer, and less on a bell curve", "[q2_k]") {
  nibble_test::require_packs_no_worse<q2_k>(false, [](std::span<const float> values) {
    return nibble_test::plain_offset_sub_blocks_error(values, 3, 16, 15.0);
  });
}

TEST_CASE("the spare codes of a short q2_k block are 0 whatever was there before", "[q2_k]") {
  nibble_test::require_spare_codes_are_zero<q2_k>();
}

TEST_CASE("q2_k refuses what float16 scale and min cannot hold", "[q2_k]") {
  nibble_test::require_refuses_far_parts<q2_k>(3.0F, 15.0F);
}

TEST_CASE("q2_k unpacks what ggml wrote bit for bit", "[q2_k]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q2_k>(shared, "q2_K");
}

}  // namespace
