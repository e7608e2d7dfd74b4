#include <nibble/kernel/activations.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using kernel::activation_layout;
using kernel::activation_order;

constexpr std::array layouts = {activation_layout{activation_order::natural, 1},
                                activation_layout{activation_order::even_then_odd, 1},
                                activation_layout{activation_order::crossed_pairs, 1},
                                activation_layout{activation_order::natural, 2},
                                activation_layout{activation_order::even_then_odd, 2},
                                activation_layout{activation_order::natural, 8}};

/// One prepared row in memory of its own.
template <class Architecture, class Value>
struct prepared_row {
  explicit prepared_row(const std::vector<float>& x, const activation_layout& layout = {})
      : memory(kernel::prepared_row_bytes<Value>(x.size()) + 64) {
    auto* start = memory.data();
    while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
    row = kernel::place_activations<Value>(start, 1, 1, x.size());
    kernel::prepare_row<Architecture>(x.data(), x.size(), layout, 0, row);
  }
  std::vector<std::byte> memory;
  kernel::prepared_activations<Value> row;
};

/// Where element i of block b is put.
std::size_t place_of(std::size_t b, std::size_t i, const activation_layout& layout) {
  std::size_t place = i;
  if (layout.order == activation_order::even_then_odd) place = i / 2 + (i % 2 == 0 ? 0 : 16);
  if (layout.order == activation_order::crossed_pairs && i % 4 == 1) place = i + 1;
  if (layout.order == activation_order::crossed_pairs && i % 4 == 2) place = i - 1;
  if (layout.joined_blocks != 2) return b * 32 + place;
  return b / 2 * 64 + place / 16 * 32 + b % 2 * 16 + place % 16;
}

template <class Architecture, class Value>
void require_codes_within_half_a_step(const std::vector<float>& x, const activation_layout& layout) {
  const prepared_row<Architecture, Value> prepared(x, layout);
  REQUIRE(prepared.row.row_blocks % kernel::padding_blocks == 0);
  REQUIRE(prepared.row.row_blocks * 32 >= x.size());
  for (std::size_t b = 0; b < prepared.row.row_blocks; ++b) {
    const auto step = static_cast<double>(prepared.row.scales[b]);
    const auto most = static_cast<double>(std::numeric_limits<Value>::max());
    // x * (1 / step) is rounded twice to f32, and so off by most * 2^-23 where it is largest.
    const double half = 0.5 + most * 0x1p-22;
    long sum = 0;
    std::array<long, 2> half_sums{};
    double largest = 0.0;
    for (std::size_t i = 0; i < 32; ++i) {
      const double value = b * 32 + i < x.size() ? static_cast<double>(x[b * 32 + i]) : 0.0;
      const long code = prepared.row.values[place_of(b, i, layout)];
      sum += code;
      half_sums[kernel::place_of(i, layout.order) / 16] += code;
      largest = std::max(largest, std::fabs(value));
      if (!(std::fabs(value - step * static_cast<double>(code)) <= step * half)) {
        FAIL("block " << b << " element " << i << ": " << value << " as " << code << " of " << step);
      }
    }
    if (!(std::fabs(step * most - largest) <= 1e-6 * largest)) FAIL("step of block " << b);
    const double expected = step * static_cast<double>(sum);
    if (!(std::fabs(static_cast<double>(prepared.row.sums[b]) - expected) <=
          1e-6 * std::fabs(expected))) {
      FAIL("sum of block " << b);
    }
    for (std::size_t i = 0; i < 2; ++i) {
      const double half_sum = step * static_cast<double>(half_sums[i]);
      if (!(std::fabs(static_cast<double>(prepared.row.half_sums[2 * b + i]) - half_sum) <=
            1e-6 * std::fabs(half_sum))) {
        FAIL("sum of half " << i << " of block " << b);
      }
    }
  }
}

template <class Architecture>
void check_codes() {
  for (const std::size_t cols : {1U, 31U, 32U, 33U, 511U, 512U, 513U, 1000U}) {
    for (const auto& layout : layouts) {
      for (const auto& x : {nibble_test::gaussian(cols, 3, 1.0F), nibble_test::heavy_tailed(cols, 4),
                            nibble_test::mixed_magnitudes(cols, 5), std::vector<float>(cols)}) {
        require_codes_within_half_a_step<Architecture, std::int8_t>(x, layout);
        require_codes_within_half_a_step<Architecture, std::int16_t>(x, layout);
      }
    }
  }
}

TEST_CASE("codes of activations lie within half a step of them", "[activations]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_codes<Architecture>(); });
}

TEST_CASE("activations of exact products are kept, in the order asked for", "[activations]") {
  for (const std::size_t cols : {1U, 33U, 512U, 700U}) {
    const auto x = nibble_test::gaussian(cols, 9, 1.0F);
    for (const auto& layout : layouts) {
      const prepared_row<simd::best_architecture, float> prepared(x, layout);
      for (std::size_t b = 0; b < prepared.row.row_blocks; ++b) {
        double sum = 0.0;
        double magnitudes = 0.0;
        for (std::size_t i = 0; i < 32; ++i) {
          const float value = b * 32 + i < cols ? x[b * 32 + i] : 0.0F;
          if (prepared.row.values[place_of(b, i, layout)] != value) FAIL("element " << b * 32 + i);
          sum += static_cast<double>(value);
          magnitudes += std::fabs(static_cast<double>(value));
        }
        CHECK(std::fabs(static_cast<double>(prepared.row.sums[b]) - sum) <= 32 * 0x1p-24 * magnitudes);
      }
    }
  }
}

TEST_CASE("blocks that cannot be coded say so in their step", "[activations]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -infinity}) {
    auto x = nibble_test::gaussian(96, 2, 1.0F);
    x[40] = bad;
    const prepared_row<simd::best_architecture, std::int8_t> prepared(x);
    CHECK(std::isnan(prepared.row.scales[1]));
    CHECK(std::isnan(prepared.row.sums[1]));
    CHECK((std::isnan(prepared.row.half_sums[2]) && std::isnan(prepared.row.half_sums[3])));
    CHECK(std::isfinite(prepared.row.scales[0]));
    CHECK(std::isfinite(prepared.row.scales[2]));
  }
  // Too small for their step to have a reciprocal: zeros.
  const prepared_row<simd::best_architecture, std::int16_t> prepared(std::vector<float>(32, 1e-38F));
  CHECK(prepared.row.scales[0] == 0.0F);
  CHECK(std::all_of(prepared.row.values, prepared.row.values + 32,
                    [](std::int16_t code) { return code == 0; }));
}

TEST_CASE("rows of activations lie by tiles, each as if it were alone", "[activations]") {
  constexpr std::size_t cols = 700;
  for (const std::size_t rows : {1U, 2U, 5U, 9U}) {
    for (const std::size_t most : {1U, 4U, 8U}) {
      for (const auto& layout : layouts) {
        std::vector<std::byte> memory(rows * kernel::prepared_row_bytes<std::int8_t>(cols) + 64);
        auto* start = memory.data();
        while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
        const auto all = kernel::place_activations<std::int8_t>(start, rows, most, cols);
        for (std::size_t m = rows; m-- > 0;) {
          const auto x = nibble_test::gaussian(cols, static_cast<std::uint32_t>(m), 1.0F);
          kernel::prepare_row<simd::best_architecture>(x.data(), cols, layout, m, all);
        }
        const std::size_t unit = 32 * layout.joined_blocks;
        std::size_t tile = 0;
        for (std::size_t m = 0; m < rows; ++m) {
          if (m == tile + all.tile_rows(tile)) tile = m;
          const auto x = nibble_test::gaussian(cols, static_cast<std::uint32_t>(m), 1.0F);
          const prepared_row<simd::best_architecture, std::int8_t> alone(x, layout);
          const auto found = all.tile(tile);
          for (std::size_t i = 0; i < all.row_blocks * 32; ++i) {
            const std::size_t at = (i / unit * all.tile_rows(tile) + m - tile) * unit + i % unit;
            if (found.values[at] != alone.row.values[i]) FAIL("row " << m << " code " << i);
          }
          for (std::size_t b = 0; b < all.row_blocks; ++b) {
            const std::size_t at = (m - tile) * found.row_blocks + b;
            const bool has_sums = found.sums[at] == alone.row.sums[b] &&
                                  found.half_sums[2 * at] == alone.row.half_sums[2 * b] &&
                                  found.half_sums[2 * at + 1] == alone.row.half_sums[2 * b + 1];
            if (found.scales[at] != alone.row.scales[b] || !has_sums) {
              FAIL("row " << m << " block " << b);
            }
          }
        }
      }
    }
  }
  SUCCEED("every row");
}

}  // namespace
