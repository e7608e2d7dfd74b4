#include <nibble/codec/q4.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <codec/block_distributions.hpp>
#include <codec/hex_bytes.hpp>
#include <codec/independent_decoder.hpp>
#include <codec/min_max_blocks.hpp>
#include <support/catch.hpp>

namespace {

using nibble::pack_status;
using nibble::q4;

// scale 0.5, min -3; code j in the low nibble of byte j, code j + 16 in its high one.
constexpr const char* golden_q4_block = "0038 00c2 136ab1085fa6fd449be23980d72e75cc";
constexpr std::array<float, 32> golden_q4_values = {
    -1.5F, 2.0F,  -2.5F, 1.0F,  4.5F,  0.0F,  3.5F, -1.0F, 2.5F,  -2.0F, 1.5F,
    -3.0F, 0.5F,  4.0F,  -0.5F, 3.0F,  -2.5F, 0.0F, 2.5F,  -3.0F, -0.5F, 2.0F,
    4.5F,  -1.0F, 1.5F,  4.0F,  -1.5F, 1.0F,  3.5F, -2.0F, 0.5F,  3.0F};

TEST_CASE("a q4 block written by hand unpacks to its values and packs to its bytes", "[q4]") {
  const auto stored = nibble_test::from_hex(golden_q4_block);
  std::array<float, 32> values{};
  q4::unpack(nibble_test::block_from<q4::block>(stored), values);
  CHECK(values == golden_q4_values);

  q4::block packed;
  REQUIRE(q4::pack(golden_q4_values, packed) == pack_status::packed);
  CHECK(nibble_test::to_hex(nibble_test::bytes_of(packed)) == nibble_test::to_hex(stored));
}

TEST_CASE("q4 blocks of any bytes unpack as format/README.md says", "[q4]") {
  nibble_test::require_unpacks_as_documented<q4>("q4");
}

TEST_CASE("a q4 element on the grid errs by no more than half a step and what rounding costs", "[q4]") {
  nibble_test::require_errors_within<q4>("q4", 0x1p-18);
}

/// What coding changes, squared and summed.
double squared_error(std::span<const float> values, const q4::block& block) {
  const auto stored = nibble_test::bytes_of(block);
  const nibble_test::independent_decoder decoded("q4", stored, 32);
  double sum = 0.0;
  for (std::size_t j = 0; j < values.size(); ++j) {
    const double difference = static_cast<double>(values[j]) - static_cast<double>(decoded(0, j));
    sum += difference * difference;
  }
  return sum;
}

TEST_CASE("q4 never errs more than on the grid from lowest to highest value, and usually less",
          "[q4]") {
  std::size_t better = 0;
  std::size_t blocks = 0;
  for (const auto& of : nibble_test::block_distributions()) {
    for (std::size_t at = 0; at < of.values.size(); at += 32) {
      for (const std::size_t count : {1U, 2U, 5U, 31U, 32U}) {
        const auto values = std::span(of.values).subspan(at, count);
        q4::block chosen;
        REQUIRE(q4::pack(values, chosen) == pack_status::packed);
        const nibble::min_max_grid grid(values, 15);
        q4::block plain;
        plain.scale = grid.scale;
        plain.min = grid.min;
        std::array<std::uint8_t, 32> codes{};
        grid.code(values, codes);
        for (std::size_t j = 0; j < 16; ++j) {
          plain.codes[j] = static_cast<std::uint8_t>(codes[j] + 16 * codes[j + 16]);
        }
        const double error = squared_error(values, chosen);
        const double plain_error = squared_error(values, plain);
        // The search weighs differences that f32 rounded twice: by 2^-24 each, and by 2^-24 of the
        // value.
        double roundings = 0.0;
        for (const float x : values)
          roundings += 0x1p-46 * static_cast<double>(x) * static_cast<double>(x);
        if (!(error <= plain_error * (1.0 + 0x1p-20) + roundings)) {
          FAIL(fmt::format("{}: block at {} of {}: {} against {}", of.name, at, count, error,
                           plain_error));
        }
        if (of.name == "gaussian" && count == 32) {
          ++blocks;
          better += error < plain_error * 0.999 ? 1U : 0U;
        }
      }
    }
  }
  CHECK(better > blocks / 2);
}

TEST_CASE("the spare codes of a short q4 block are 0 whatever was there before", "[q4]") {
  const auto values = nibble_test::gaussian(32, 7);
  for (std::size_t count = 1; count <= 32; ++count) {
    q4::block block;
    block.codes.fill(0xA5);
    REQUIRE(q4::pack(std::span(values).first(count), block) == pack_status::packed);
    for (std::size_t j = 0; j < 16; ++j) {
      if (j >= count) CHECK(block.codes[j] % 16 == 0);
      if (j + 16 >= count) CHECK(block.codes[j] / 16 == 0);
    }
  }
}

TEST_CASE("q4 refuses what a float16 scale or min cannot hold", "[q4]") {
  nibble_test::require_refuses_beyond_float16<q4>(15.0F);
}

}  // namespace
