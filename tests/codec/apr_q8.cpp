#include <nibble/codec/apr_q8.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <codec/apr_fixture.hpp>
#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <support/catch.hpp>

namespace {

using nibble::apr_q8;
using nibble::packing_rule;

std::vector<std::int8_t> coded(std::span<const float> values, float scale, packing_rule rule) {
  std::vector<std::int8_t> codes(values.size(), 99);
  apr_q8::code(values, scale, rule, codes);
  return codes;
}

/// Scale and codes as they are stored.
std::vector<std::byte> stored(float scale, std::span<const std::int8_t> codes) {
  std::vector<std::byte> bytes = nibble_test::bytes_of(apr_q8::header{scale});
  for (const std::int8_t code : codes) bytes.push_back(static_cast<std::byte>(code));
  return bytes;
}

TEST_CASE("apr_q8 codes written by hand unpack to their values and pack to their bytes", "[apr_q8]") {
  // scale 0.125; 127 -127 0 1 -1 64 -64 100 -101
  const auto golden = nibble_test::from_hex("0000003e 7f810001ff40c0649b");
  const std::vector<float> values = {15.875F, -15.875F, 0.0F,  0.125F,  -0.125F,
                                     8.0F,    -8.0F,    12.5F, -12.625F};
  std::vector<std::int8_t> codes;
  for (const std::byte byte : std::span(golden).subspan(4))
    codes.push_back(std::to_integer<std::int8_t>(byte));
  std::vector<float> decoded(values.size());
  apr_q8::unpack(nibble_test::block_from<apr_q8::header>(golden).scale, codes, decoded);
  CHECK(decoded == values);

  const float scale = apr_q8::reference_scale(apr_q8::largest_magnitude(values));
  CHECK(scale == 0.125F);
  for (const packing_rule rule : {packing_rule::reference, packing_rule::best}) {
    CHECK(nibble_test::to_hex(stored(scale, coded(values, scale, rule))) ==
          nibble_test::to_hex(golden));
  }
}

TEST_CASE("every code times any scale is rounded once", "[apr_q8]") {
  std::vector<std::int8_t> codes;
  for (int code = -128; code < 128; ++code) codes.push_back(static_cast<std::int8_t>(code));
  for (const float scale :
       {0.1F, -0.3F, 1e-45F, 3e38F, 0.0F, -0.0F, 1e-39F, HUGE_VALF, std::nanf("")}) {
    const auto bytes = stored(scale, codes);
    const auto expected = nibble_test::independent_decoder("apr_q8", bytes, codes.size()).rows(0, 1);
    std::vector<float> values(codes.size());
    apr_q8::unpack(scale, codes, values);
    CAPTURE(scale);
    CHECK(nibble_test::first_difference(values, expected) == -1);
  }
}

TEST_CASE("the largest magnitude is found wherever it stands", "[apr_q8]") {
  CHECK(apr_q8::largest_magnitude({}) == 0.0F);
  for (std::size_t count = 1; count <= 70; ++count) {
    auto values = nibble_test::gaussian(count, 3);
    for (std::size_t at = 0; at < count; ++at) {
      const float before = values[at];
      values[at] = at % 2 == 0 ? -7.0F : 7.0F;
      if (apr_q8::largest_magnitude(values) != 7.0F) FAIL(fmt::format("element {} of {}", at, count));
      values[at] = before;
    }
  }
}

TEST_CASE("the reference's scale is a 127th of the largest, or 1 where all are zero", "[apr_q8]") {
  CHECK(apr_q8::reference_scale(0.0F) == 1.0F);
  CHECK(apr_q8::reference_scale(127.0F) == 1.0F);
  CHECK(apr_q8::reference_scale(1.0F) == 1.0F / 127.0F);
  CHECK(apr_q8::reference_scale(0x1p-149F) == 0.0F);
}

TEST_CASE("the reference rule rounds halves away from zero and clamps", "[apr_q8]") {
  const std::vector<float> values = {0.5F,         -0.5F,   1.5F,    -1.5F,  0.49999997F,
                                     -0.49999997F, 126.5F,  -126.5F, 127.0F, -127.0F,
                                     130.0F,       -130.0F, 0.0F,    -0.0F,  1e38F};
  const std::vector<std::int8_t> expected = {1,   -1,   2,   -2,   0, 0, 127, -127,
                                             127, -127, 127, -127, 0, 0, 127};
  CHECK(coded(values, 1.0F, packing_rule::reference) == expected);
  // A scale that underflowed: the reference's x / 0 is clamped, and its 0 / 0 becomes 0.
  const std::vector<float> tiny = {0x1p-149F, -0x1p-149F, 0.0F, -0.0F};
  CHECK(coded(tiny, 0.0F, packing_rule::reference) == std::vector<std::int8_t>{127, -127, 0, 0});
}

TEST_CASE("either rule codes to the nearest of -127..127", "[apr_q8]") {
  std::size_t elements = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    const float largest = apr_q8::largest_magnitude(of.values);
    for (const float scale : apr_q8::candidate_scales(largest)) {
      for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
        const auto codes = coded(of.values, scale, rule);
        for (std::size_t i = 0; i < codes.size(); ++i) {
          const double steps = static_cast<double>(of.values[i]) / static_cast<double>(scale);
          const double nearest = std::fmin(std::fmax(steps, -127.0), 127.0);
          // f32 rounds the quotient, and once more where it adds 127.5.
          if (!(std::fabs(nearest - codes[i]) <= 0.5 + 0x1p-15)) {
            FAIL(fmt::format("{}: element {}: {} steps coded as {}", of.name, i, steps, codes[i]));
          }
          ++elements;
        }
      }
    }
  }
  CHECK(elements > 100000);
}

TEST_CASE("candidates begin with the reference's scale and grow tighter, none of them zero",
          "[apr_q8]") {
  for (const float largest : {1.0F, 0.02F, 3.7e5F, 1e-30F, 0x1p-149F, 0x50p-149F, 3e38F}) {
    const auto scales = apr_q8::candidate_scales(largest);
    CAPTURE(largest);
    const float reference = apr_q8::reference_scale(largest);
    CHECK(scales[0] == std::max(reference, 0x1p-149F));
    for (std::size_t i = 1; i < scales.size(); ++i) CHECK(scales[i] <= scales[i - 1]);
    CHECK(scales.back() > 0.0F);
    if (largest > 1e-30F) CHECK(scales.back() == reference * 0.3125F);
  }
}

TEST_CASE("no candidate turns the largest finite value into infinity", "[apr_q8]") {
  // FLT_MAX / 127 rounds up, and 127 times that is beyond f32.
  const float highest = std::numeric_limits<float>::max();
  for (const float largest : {highest, std::nextafter(highest, 0.0F), 3.4e38F, 1e38F}) {
    for (const float scale : apr_q8::candidate_scales(largest)) {
      CAPTURE(largest, scale);
      CHECK(std::isfinite(scale * 127.0F));
    }
  }
}

TEST_CASE("squared errors are those of the codes that would be stored", "[apr_q8]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{7}, std::size_t{8}, std::size_t{9}, of.values.size()}) {
      if (count > of.values.size()) continue;
      const auto values = std::span(of.values).first(count);
      const auto scales = apr_q8::candidate_scales(apr_q8::largest_magnitude(values));
      apr_q8::squared_errors errors;
      errors.fill(1.0);  // it adds to what is there
      apr_q8::add_squared_errors(values, scales, errors);
      for (std::size_t i = 0; i < scales.size(); ++i) {
        const auto codes = coded(values, scales[i], packing_rule::best);
        double expected = 0.0;
        for (std::size_t j = 0; j < count; ++j) {
          const double decoded = static_cast<double>(scales[i]) * codes[j];
          const double difference = static_cast<double>(values[j]) - decoded;
          expected += difference * difference;
        }
        const double found = errors[i] - 1.0;
        // Differences rounded to f32, sums in double, the 1 that was there.
        if (!(std::fabs(found - expected) <= expected * 0x1p-22 + 1e-15 * (1.0 + expected))) {
          FAIL(fmt::format("{}: {} of scale {}: {} instead of {}", of.name, count, scales[i], found,
                           expected));
        }
      }
    }
  }
  SUCCEED("every distribution");
}

TEST_CASE("the reference implementation's own q8 bytes are decoded to its values and packed again",
          "[apr_q8]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  std::size_t packed = 0;
  for (const std::string file : {"q8.apr", "edge.apr"}) {
    for (const auto& tensor : nibble_test::read_apr_fixture(shared, file)) {
      if (tensor.dtype != "q8" || tensor.bytes.empty()) continue;
      INFO(file << ": " << tensor.name);
      REQUIRE(tensor.bytes.size() == 4 + tensor.source.size());
      const float scale = nibble_test::block_from<apr_q8::header>(tensor.bytes).scale;
      std::vector<std::int8_t> codes;
      for (const std::byte byte : std::span(tensor.bytes).subspan(4)) {
        codes.push_back(std::to_integer<std::int8_t>(byte));
      }
      std::vector<float> decoded(codes.size());
      apr_q8::unpack(scale, codes, decoded);
      REQUIRE(tensor.has_values);
      REQUIRE(tensor.values.size() <= decoded.size());
      CHECK(nibble_test::first_difference(std::span(decoded).first(tensor.values.size()),
                                          tensor.values) == -1);

      if (!std::ranges::all_of(tensor.source, [](float x) { return std::isfinite(x); })) continue;
      const float own_scale = apr_q8::reference_scale(apr_q8::largest_magnitude(tensor.source));
      const auto own = stored(own_scale, coded(tensor.source, own_scale, packing_rule::reference));
      CHECK((own == tensor.bytes));
      ++packed;
    }
  }
  CHECK(packed >= 10);
}

}  // namespace
