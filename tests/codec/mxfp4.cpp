#include <nibble/codec/mxfp4.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <codec/ggml_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::mxfp4;

// Exponent 129: 2^(129 - 127) = 4 times E2M1's 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
constexpr const char* golden_mxfp4_block = "81 f0e1d2c3b4a5968778695a4b3c2d1e0f";
constexpr std::array<float, 32> golden_mxfp4_values = {
    0.0F,  2.0F,  4.0F,   6.0F,   8.0F,   12.0F,  16.0F,  24.0F,  0.0F,  -2.0F, -4.0F,
    -6.0F, -8.0F, -12.0F, -16.0F, -24.0F, -24.0F, -16.0F, -12.0F, -8.0F, -6.0F, -4.0F,
    -2.0F, 0.0F,  24.0F,  16.0F,  12.0F,  8.0F,   6.0F,   4.0F,   2.0F,  0.0F};

TEST_CASE("a mxfp4 block written by hand unpacks to its values", "[mxfp4]") {
  nibble_test::require_unpacks_to<mxfp4>(nibble_test::from_hex(golden_mxfp4_block),
                                         [](std::size_t j) { return golden_mxfp4_values[j]; });
}

TEST_CASE("mxfp4 scales are powers of two down to f32's subnormals", "[mxfp4]") {
  for (int exponent = 0; exponent < 256; ++exponent) {
    mxfp4::block block{};
    block.exponent = static_cast<std::uint8_t>(exponent);
    block.codes.fill(0x12);  // 2 and 1
    std::array<float, 32> values{};
    mxfp4::unpack(block, values);
    CAPTURE(exponent);
    CHECK(values[16] == std::ldexp(1.0F, exponent - 128));
    CHECK(values[0] == std::ldexp(1.0F, exponent - 127));
  }
}

TEST_CASE("mxfp4 blocks of any bytes unpack as ggml's formula says", "[mxfp4]") {
  nibble_test::require_unpacks_any_bytes<mxfp4>();
}

TEST_CASE("mxfp4 unpacks what ggml wrote bit for bit", "[mxfp4]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  nibble_test::require_unpacks_ggml_fixture<mxfp4>(shared, "mxfp4");
}

}  // namespace
