#include <nibble/codec/apr_q4.hpp>

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

using nibble::apr_q4;
using nibble::pack_status;
using nibble::packing_rule;
using nibble_test::binary16;
using nibble_test::bytes_of;
using nibble_test::independent_decoder;

// scale -0.5; codes 2j and 2j + 1 share byte j; x = -0.5 (q - 8) by hand.
constexpr const char* golden_apr_q4_block = "00b8 92705e3c1af8d6b492705e3c1af8d6b4";
constexpr std::array<float, 32> golden_apr_q4_values = {
    3.0F,  -0.5F, 4.0F,  0.5F, -3.0F, 1.5F,  -2.0F, 2.5F,  -1.0F, 3.5F,  0.0F,
    -3.5F, 1.0F,  -2.5F, 2.0F, -1.5F, 3.0F,  -0.5F, 4.0F,  0.5F,  -3.0F, 1.5F,
    -2.0F, 2.5F,  -1.0F, 3.5F, 0.0F,  -3.5F, 1.0F,  -2.5F, 2.0F,  -1.5F};

TEST_CASE("an apr_q4 block written by hand unpacks to its values", "[apr_q4]") {
  const auto stored = nibble_test::from_hex(golden_apr_q4_block);
  std::array<float, 32> values{};
  apr_q4::unpack(nibble_test::block_from<apr_q4::block>(stored), values);
  CHECK(values == golden_apr_q4_values);
}

TEST_CASE("apr_q4 blocks of any scale unpack as format/README.md says, signed zeros included",
          "[apr_q4]") {
  const auto codes = nibble_test::random_bytes(16 * 0x10000, 5);
  std::size_t counted_as_zero = 0;
  for (std::uint32_t scale = 0; scale < 0x10000U; ++scale) {
    apr_q4::block block;
    block.scale = {static_cast<std::uint16_t>(scale)};
    for (std::size_t j = 0; j < 16; ++j)
      block.codes[j] = std::to_integer<std::uint8_t>(codes[scale * 16 + j]);
    std::array<float, 32> values{};
    const std::size_t count = scale % 33;
    apr_q4::unpack(block, std::span(values).first(count));
    const auto stored = bytes_of(block);
    const independent_decoder expected("apr_q4", stored, 32);
    for (std::size_t j = 0; j < count; ++j) {
      if (!nibble_test::is_same_float(values[j], expected(0, j))) {
        FAIL(fmt::format("scale {:04x}, element {}: {} instead of {}", scale, j, values[j],
                         expected(0, j)));
      }
    }
    counted_as_zero += apr_q4::scale(block) == 0.0F ? 1U : 0U;
  }
  // Subnormals and zeros, infinities and NaNs, of both signs.
  CHECK(counted_as_zero == 2 * (1024 + 1024));
}

TEST_CASE("a scale that counts as zero gives its codes' sign to the zeros", "[apr_q4]") {
  for (const std::uint32_t scale :
       {0x0000U, 0x0001U, 0x03FFU, 0x83FFU, 0x8000U, 0x7C00U, 0xFC00U, 0x7E00U}) {
    apr_q4::block block;
    block.scale = {static_cast<std::uint16_t>(scale)};
    block.codes.fill(0x97);  // codes 7 and 9
    std::array<float, 2> values = {1.0F, 1.0F};
    apr_q4::unpack(block, values);
    CAPTURE(scale);
    CHECK((values[0] == 0.0F && std::signbit(values[0])));
    CHECK((values[1] == 0.0F && !std::signbit(values[1])));
  }
}

/// The rule of fixtures/README.md, with the rounding spelt out: codes of one block, and their scale.
std::vector<std::byte> reference_block(std::span<const float> values) {
  float largest = 0.0F;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  const float scale = largest == 0.0F ? 1.0F : largest / 7.0F;
  std::array<int, 32> codes{};
  for (std::size_t j = 0; j < values.size(); ++j) {
    // Over a scale that underflowed, 0 / 0 is no number of steps: Rust turns that NaN into 0.
    const auto steps = static_cast<double>(values[j] == 0.0F ? 0.0F : values[j] / scale);
    const double away_from_zero = std::copysign(std::floor(std::fabs(steps) + 0.5), steps);
    codes[j] = static_cast<int>(std::fmin(std::fmax(away_from_zero, -8.0), 7.0)) + 8;
  }
  const std::uint16_t stored = nibble_test::nearest_code(binary16, static_cast<double>(scale));
  std::vector<std::byte> bytes = {static_cast<std::byte>(stored % 256),
                                  static_cast<std::byte>(stored / 256)};
  for (std::size_t j = 0; j < 32; j += 2)
    bytes.push_back(static_cast<std::byte>(codes[j] + 16 * codes[j + 1]));
  return bytes;
}

/// What the block packs to, or nothing where it is refused.
std::string packed_hex(std::span<const float> values, packing_rule rule) {
  apr_q4::block block;
  block.codes.fill(0xA5);
  if (apr_q4::pack(values, block, rule) != pack_status::packed) return "refused";
  return nibble_test::to_hex(bytes_of(block));
}

TEST_CASE("the reference rule packs a block to the bytes worked out by hand", "[apr_q4]") {
  // Largest 3.5, so steps of 0.5; halves go away from zero; nineteen spare codes.
  const std::vector<float> values = {3.5F, -3.5F,  0.25F, -0.25F, 0.24F, -0.24F, 0.75F,
                                     1.0F, -1.25F, 0.0F,  -0.0F,  3.3F,  -3.3F};
  CHECK(packed_hex(values, packing_rule::reference) == "00381f7988aa85f801000000000000000000");
  CHECK(packed_hex(std::vector<float>(32, 0.0F), packing_rule::reference) ==
        "003c88888888888888888888888888888888");
  CHECK(packed_hex(std::vector<float>(3, -0.0F), packing_rule::best) ==
        "003c88080000000000000000000000000000");
}

TEST_CASE("the reference rule is the one of the fixtures' README for every distribution", "[apr_q4]") {
  std::size_t blocks = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (std::size_t count = 1; count <= 32; count += at == 0 ? 1 : 31) {
        const auto values = std::span(of.values).subspan(at, count);
        const auto expected = reference_block(values);
        if (packed_hex(values, packing_rule::reference) != nibble_test::to_hex(expected)) {
          FAIL(fmt::format("{}: block at {} of {}: {} instead of {}", of.name, at, count,
                           packed_hex(values, packing_rule::reference), nibble_test::to_hex(expected)));
        }
        ++blocks;
      }
    }
  }
  CHECK(blocks > 500);
}

TEST_CASE("a zero beside values whose scale underflows f32 is coded as zero", "[apr_q4]") {
  // 3 * 2^-149 / 7 rounds to 0, and 0 / 0 must not reach an integer.
  const std::vector<float> values = {0x3p-149F, 0.0F, -0x3p-149F, -0.0F};
  CHECK(packed_hex(values, packing_rule::reference) == "00008f80" + std::string(28, '0'));
}

double squared_error(std::span<const float> values, const std::vector<std::byte>& block) {
  const independent_decoder decoded("apr_q4", block, 32);
  double sum = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double difference = static_cast<double>(values[j]) - static_cast<double>(decoded(0, j));
    sum += difference * difference;
  }
  return sum;
}

TEST_CASE("the best rule never errs more than the reference and usually less", "[apr_q4]") {
  std::size_t blocks = 0;
  double gaussian_best = 0.0;
  double gaussian_reference = 0.0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (std::size_t count = 1; count <= 32; count += at == 0 ? 1 : 31) {
        const auto values = std::span(of.values).subspan(at, count);
        apr_q4::block best;
        apr_q4::block reference;
        REQUIRE(apr_q4::pack(values, best, packing_rule::best) == pack_status::packed);
        REQUIRE(apr_q4::pack(values, reference, packing_rule::reference) == pack_status::packed);
        const double best_error = squared_error(values, bytes_of(best));
        const double reference_error = squared_error(values, bytes_of(reference));
        // The library weighs differences rounded to f32: each is right to 2^-24.
        if (!(best_error <= reference_error * (1.0 + 0x1p-22))) {
          FAIL(fmt::format("{}: block at {} of {}: {} against {}", of.name, at, count, best_error,
                           reference_error));
        }
        if (of.name == "gaussian" && count == 32) {
          gaussian_best += best_error;
          gaussian_reference += reference_error;
        }
        ++blocks;
      }
    }
  }
  CHECK(blocks > 500);
  CHECK(gaussian_best < 0.9 * gaussian_reference);
}

TEST_CASE("under either rule an element within the grid errs by half a step", "[apr_q4]") {
  std::size_t elements = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
      for (std::size_t at = 0; at < of.values.size(); at += 32) {
        const auto values = std::span(of.values).subspan(at, 32);
        apr_q4::block block;
        REQUIRE(apr_q4::pack(values, block, rule) == pack_status::packed);
        const double scale = nibble_test::value_of(binary16, block.scale.bits);
        const double step = std::fabs(scale);
        // The reference codes by the scale before it is rounded to float16: up to 8 steps, each off by
        // 2^-11. Below the normal range it loses everything, which is its own affair.
        if (step < 0x1p-14 && rule == packing_rule::reference) continue;
        REQUIRE(step >= 0x1p-14);
        const double slack = rule == packing_rule::best ? 0x1p-19 : 8 * 0x1p-11;
        const auto stored = bytes_of(block);
        const independent_decoder decoded("apr_q4", stored, 32);
        for (std::size_t j = 0; j < 32; ++j) {
          const auto x = static_cast<double>(values[j]);
          const double steps = x / scale;
          if (steps < -8.5 || steps > 7.5) continue;
          const double error = std::fabs(x - static_cast<double>(decoded(0, j)));
          if (!(error <= step * (0.5 + slack))) {
            FAIL(fmt::format("{}: element {}: {} errs by {} of a step", of.name, at + j, x,
                             error / step));
          }
          ++elements;
        }
      }
    }
  }
  CHECK(elements > 15000);
}

TEST_CASE("the best scale is a normal float16 that keeps every finite value finite", "[apr_q4]") {
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      const auto values = std::span(of.values).subspan(at, 32);
      apr_q4::block block;
      REQUIRE(apr_q4::pack(values, block, packing_rule::best) == pack_status::packed);
      const double scale = std::fabs(nibble_test::value_of(binary16, block.scale.bits));
      float largest = 0.0F;
      for (const float value : values) largest = std::max(largest, std::fabs(value));
      if (!(scale >= 0x1p-14 && scale <= 65504.0)) FAIL(of.name << ": scale " << scale);
      if (largest == 0.0F) continue;
      // The search starts 4.75 to 9.25 steps from zero, and what is fitted lies near.
      const double steps = static_cast<double>(largest) / scale;
      if (scale > 0x1p-14 && !(steps > 4.5 && steps < 10.0)) FAIL(of.name << ": " << steps << " steps");
    }
  }
  // Near the far end, where rungs of the ladder overflow.
  std::vector<float> values = nibble_test::gaussian(32, 3, 1e5F);
  values[7] = 458528.0F;
  apr_q4::block block;
  REQUIRE(apr_q4::pack(values, block, packing_rule::best) == pack_status::packed);
  CHECK(nibble::is_finite(block.scale));
}

TEST_CASE("spare codes of a short apr_q4 block are 0", "[apr_q4]") {
  const auto values = nibble_test::gaussian(32, 8);
  for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
    for (std::size_t count = 1; count <= 32; ++count) {
      apr_q4::block block;
      block.codes.fill(0xA5);
      REQUIRE(apr_q4::pack(std::span(values).first(count), block, rule) == pack_status::packed);
      for (std::size_t j = count; j < 32; ++j) {
        CHECK((j % 2 == 0 ? block.codes[j / 2] % 16 : block.codes[j / 2] / 16) == 0);
      }
    }
  }
}

TEST_CASE("apr_q4 refuses values whose scale float16 cannot hold", "[apr_q4]") {
  // The scale rounds to infinity from 65520 on: 7 * 65520 = 458640.
  for (const packing_rule rule : {packing_rule::best, packing_rule::reference}) {
    CHECK(packed_hex(std::vector<float>{458639.0F, 1.0F}, rule) != "refused");
    CHECK(packed_hex(std::vector<float>{458640.0F, 1.0F}, rule) == "refused");
    CHECK(packed_hex(std::vector<float>{1.0F, -458640.0F}, rule) == "refused");
    CHECK(packed_hex(std::vector<float>{std::numeric_limits<float>::max()}, rule) == "refused");
  }
}

TEST_CASE("the reference implementation's own q4 bytes are decoded to its values and packed again",
          "[apr_q4]") {
  NIBBLE_REQUIRE_SHARED_OR_PASS_BY(shared);
  std::size_t packed = 0;
  for (const std::string file : {"q4.apr", "edge.apr"}) {
    for (const auto& tensor : nibble_test::read_apr_fixture(shared, file)) {
      if (tensor.dtype != "q4") continue;
      INFO(file << ": " << tensor.name);
      REQUIRE(tensor.bytes.size() == (tensor.source.size() + 31) / 32 * 18);
      std::vector<float> decoded(tensor.source.size());
      for (std::size_t at = 0; at < decoded.size(); at += 32) {
        const std::size_t count = std::min<std::size_t>(32, decoded.size() - at);
        const auto stored = std::span(tensor.bytes).subspan(at / 32 * 18, 18);
        apr_q4::unpack(nibble_test::block_from<apr_q4::block>(stored),
                       std::span(decoded).subspan(at, count));
        const auto values = std::span(tensor.source).subspan(at, count);
        if (!std::ranges::all_of(values, [](float x) { return std::isfinite(x); })) continue;
        const std::string hex = packed_hex(values, packing_rule::reference);
        // An infinite scale, which the reference writes down, is refused here.
        if (hex == "refused" && stored[0] == std::byte{0x00} && stored[1] == std::byte{0x7C}) continue;
        if (hex != nibble_test::to_hex(stored)) FAIL("block at " << at << ": " << hex);
        ++packed;
      }
      REQUIRE(tensor.values.size() <= decoded.size());
      CHECK(nibble_test::first_difference(std::span(decoded).first(tensor.values.size()),
                                          tensor.values) == -1);
    }
  }
  CHECK(packed > 17280);
}

}  // namespace
