#include <nibble/codec/iq4_xs.hpp>

#include <cstddef>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq4_xs;

// scale 1. Part 0: s 33 = 1 + 2 * 16; part 5: s 55 = 7 + 3 * 16; the others 0, which is -32. Element 5
// has code 8 for 1, element 170 code 15 for 113, element 180 code 13 for 69, the others 0 for -127.
TEST_CASE("a iq4_xs block written by hand unpacks to its values", "[iq4_xs]") {
  const auto block = nibble_test::sparse_block<iq4_xs>(
      {{1, 0x3C}, {2, 0x02}, {3, 0x0C}, {4, 0x01}, {6, 0x70}, {13, 0x08}, {98, 0x0F}, {92, 0xD0}});
  nibble_test::require_unpacks_to<iq4_xs>(block, [](std::size_t j) {
    if (j == 5) return 1;
    if (j == 170) return 23 * 113;
    if (j == 180) return 23 * 69;
    return j / 32 == 0 ? -127 : j / 32 == 5 ? 23 * -127 : -32 * -127;
  });
}

TEST_CASE("iq4_xs blocks of any bytes unpack as ggml's formula says", "[iq4_xs]") {
  nibble_test::require_unpacks_any_bytes<iq4_xs>();
}

TEST_CASE("iq4_xs unpacks what ggml wrote bit for bit", "[iq4_xs]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<iq4_xs>(shared, "iq4_xs");
}

}  // namespace
