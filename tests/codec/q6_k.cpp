#include <nibble/codec/q6_k.hpp>

#include <cstddef>
#include <span>

#include <codec/ggml_blocks.hpp>
#include <codec/packing_against_reference.hpp>
#include <support/catch.hpp>

namespace {

using nibble::q6_k;

// scale 0.5. Part 0: s 3; part 13: s -128; the others 0. Codes count from -32: element 5 has
// 15 + 3 * 16, element 210 has 9 + 2 * 16, the others 0.
TEST_CASE("a q6_k block written by hand unpacks to its values", "[q6_k]") {
  const auto block = nibble_test::sparse_block<q6_k>(
      {{5, 0x0F}, {82, 0x90}, {133, 0x03}, {178, 0x20}, {192, 0x03}, {205, 0x80}, {209, 0x38}});
  nibble_test::require_unpacks_to<q6_k>(block, [](std::size_t j) {
    if (j == 5) return 1.5 * 31;
    if (j == 210) return -64.0 * 9;
    return j / 16 == 0 ? 1.5 * -32 : j / 16 == 13 ? -64.0 * -32 : 0.0;
  });
}

TEST_CASE("q6_k blocks of any bytes unpack as ggml's formula says", "[q6_k]") {
  nibble_test::require_unpacks_any_bytes<q6_k>();
}

TEST_CASE("q6_k errs no more than the plain quantizer, and less on a bell curve", "[q6_k]") {
  nibble_test::require_packs_no_worse<q6_k>(false, [](std::span<const float> values) {
    return nibble_test::plain_signed_parts_error(values);
  });
}

TEST_CASE("the spare codes of a short q6_k block are 0 whatever was there before", "[q6_k]") {
  nibble_test::require_spare_codes_are_zero<q6_k>();
}

TEST_CASE("q6_k refuses what a float16 scale cannot hold", "[q6_k]") {
  nibble_test::require_refuses_far_values<q6_k>(60000.0F * 4096.0F, 72000.0F * 4096.0F);
}

TEST_CASE("q6_k unpacks what ggml wrote bit for bit", "[q6_k]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<q6_k>(shared, "q6_K");
}

}  // namespace
