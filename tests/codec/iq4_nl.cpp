#include <nibble/codec/iq4_nl.hpp>

#include <array>
#include <cstddef>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::iq4_nl;

// scale 2; codes 0..15 and back.
constexpr const char* golden_iq4_nl_block = "0040 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_iq4_nl_values = {
    -254.0F, -208.0F, -166.0F, -130.0F, -98.0F, -70.0F, -44.0F,  -20.0F,  2.0F,    26.0F,  50.0F,
    76.0F,   106.0F,  138.0F,  178.0F,  226.0F, 226.0F, 178.0F,  138.0F,  106.0F,  76.0F,  50.0F,
    26.0F,   2.0F,    -20.0F,  -44.0F,  -70.0F, -98.0F, -130.0F, -166.0F, -208.0F, -254.0F};

TEST_CASE("a iq4_nl block written by hand unpacks to its values", "[iq4_nl]") {
  nibble_test::require_unpacks_to<iq4_nl>(nibble_test::from_hex(golden_iq4_nl_block),
                                          [](std::size_t j) { return golden_iq4_nl_values[j]; });
}

TEST_CASE("iq4_nl blocks of any bytes unpack as ggml's formula says", "[iq4_nl]") {
  nibble_test::require_unpacks_any_bytes<iq4_nl>();
}

TEST_CASE("iq4_nl unpacks what ggml wrote bit for bit", "[iq4_nl]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<iq4_nl>(shared, "iq4_nl");
}

}  // namespace
