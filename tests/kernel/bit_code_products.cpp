#include <nibble/kernel/bit_code_products.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// Products of x as prepared with all weight rows of a range, tile by tile.
template <class Architecture, class Codec, class Value>
void multiply_tiles(const nibble::tensor_view& w, kernel::row_range rows,
                    const kernel::prepared_activations<Value>& x, const kernel::product_output& y) {
  for (std::size_t row = 0; row < x.rows; row += x.tile_rows(row)) {
    kernel::product_output part = y;
    part.y += row * y.stride_elements;
    kernel::multiply_bit_codes<Architecture, Codec>(w, rows, x.tile(row), part);
  }
}

/// Of one tile of m rows, and of several.
template <class Architecture, class Codec, class Value>
void check_bit_codes() {
  if constexpr (kernel::has_code_products<Architecture, Codec, Value>()) {
    for (std::size_t m = 1; m <= kernel::bit_code_tile_rows<Architecture>; ++m) {
      for (const std::size_t k : {1U, 16U, 96U, 255U, 256U, 545U, 4127U}) {
        if (!nibble_test::multiplies_rows_of<Architecture>(k, m,
                                                           kernel::bit_code_tile_rows<Architecture>)) {
          continue;
        }
        for (const std::size_t most : {m, m / 2 + 1}) {
          nibble_test::require_kernel_products<Architecture, Codec, Value>(
              m, k, {}, most,
              [](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& x,
                 const auto& y) {
                multiply_tiles<Architecture, Codec>(w, {first, count}, x, y);
              });
        }
      }
    }
  }
}

template <class Architecture, class... Codecs>
void check_bit_codes_of() {
  (check_bit_codes<Architecture, Codecs, std::int8_t>(), ...);
  (check_bit_codes<Architecture, Codecs, std::int16_t>(), ...);
}

TEST_CASE("products of bit codes of every number of rows lie within their bound",
          "[bit_code_products]") {
  using nibble::iq4_nl, nibble::iq4_xs, nibble::q5_0, nibble::q5_1;
  using nibble::q2_k, nibble::q3_k, nibble::q4_k, nibble::q5_k, nibble::q6_k;
  SECTION("best architecture") {
    check_bit_codes_of<simd::block_architecture<simd::best_architecture>, q2_k, q3_k, q4_k, q5_k, q6_k,
                       iq4_xs>();
  }
  SECTION("portable") {
    check_bit_codes_of<simd::portable, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_xs, iq4_nl, q5_0, q5_1>();
  }
  SECTION("emulated widths") {
    nibble_test::for_emulated_widths([]<class Architecture>(Architecture) {
      check_bit_codes_of<simd::block_architecture<Architecture>, q2_k, q6_k, q5_1>();
    });
  }
  SUCCEED("every number of rows");
}

/// A row of blocks of q6_k that are all alike: codes of one value, and the same number for all
/// sub-blocks, so that every sum is as far from zero as it can be.
template <class Architecture, class Value>
void require_extremes(int code, int number, float activation) {
  constexpr std::size_t k = 4096;
  nibble::q6_k::block block{};
  block.lows.fill(static_cast<std::uint8_t>(code % 16 * 17));
  block.highs.fill(static_cast<std::uint8_t>(code / 16 * 0x55));
  block.sub_blocks.fill(static_cast<std::int8_t>(number));
  block.scale = nibble::to_float16(0.5F);
  std::vector<std::byte> bytes(k / 256 * sizeof(block));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(block)) {
    std::memcpy(bytes.data() + at, &block, sizeof(block));
  }
  const nibble::tensor_view w("w", nibble::encoding::q6_k, {1, k}, bytes);
  const std::vector<float> x(k, activation);
  std::vector<std::byte> memory(kernel::prepared_row_bytes<Value>(k) + 64);
  auto* start = memory.data();
  while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
  const auto prepared = kernel::place_activations<Value>(start, 1, 1, k);
  kernel::prepare_row<Architecture>(x.data(), k, {}, 0, prepared);
  float y = 0.0F;
  multiply_tiles<Architecture, nibble::q6_k, Value>(w, {0, 1}, prepared, {&y, 1, nullptr});
  const double expected =
      static_cast<double>(k) * 0.5 * number * (code - 32) * static_cast<double>(activation);
  // What |scale * code| and |scale * 32| come to, rounded as often as there are blocks.
  const double parts = static_cast<double>(k) * 0.5 * std::abs(number) * 96.0;
  if (!(std::fabs(static_cast<double>(y) - expected) <= parts * 0x1p-16)) {
    FAIL("code " << code << " number " << number << ": " << y << " instead of " << expected);
  }
}

TEST_CASE("sums of the largest codes, numbers and activations do not overflow", "[bit_code_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    using blocks = simd::block_architecture<Architecture>;
    for (const int code : {0, 63}) {
      for (const int number : {-128, 127}) {
        for (const float activation : {1.0F, -1.0F}) {
          require_extremes<blocks, std::int8_t>(code, number, activation);
          require_extremes<blocks, std::int16_t>(code, number, activation);
        }
      }
    }
  });
  SUCCEED("every end");
}

}  // namespace
