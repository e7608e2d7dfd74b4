#include <nibble/kernel/super_block_products.hpp>

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <kernel/kernel_products.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// What products of super-blocks are computed with; where there are none of the best architecture's, the
/// portable operations again.
using best_super_blocks = std::conditional_t<
    simd::has_super_block_operations<simd::integer_architecture<simd::best_architecture>>,
    simd::integer_architecture<simd::best_architecture>, simd::portable>;

/// Products of x as prepared with all weight rows of a range, tile by tile.
template <class Architecture, class Codec>
void multiply_super_block_tiles(const nibble::tensor_view& w, kernel::row_range rows,
                                const kernel::prepared_activations<std::int8_t>& x,
                                const kernel::product_output& y) {
  for (std::size_t row = 0; row < x.rows; row += x.tile_rows(row)) {
    kernel::product_output part = y;
    part.y += row * y.stride_elements;
    kernel::multiply_super_blocks<Architecture, Codec>(w, rows, x.tile(row), part);
  }
}

/// Of one tile of m rows, and of several.
template <class Architecture, class Codec>
void check_super_blocks() {
  const auto check = [](std::size_t m, std::size_t k, std::size_t most) {
    nibble_test::require_kernel_products<Architecture, Codec, std::int8_t>(
        m, k, kernel::super_block_layout, most,
        [](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& x,
           const auto& y) {
          multiply_super_block_tiles<Architecture, Codec>(w, {first, count}, x, y);
        });
  };
  for (std::size_t m = 1; m <= kernel::super_block_tile_rows; ++m) {
    for (const std::size_t k : {1U, 16U, 96U, 255U, 256U, 545U, 4127U}) {
      for (const std::size_t most : {m, m / 2 + 1}) check(m, k, most);
    }
  }
  // One row in two passes.
  check(1, (kernel::super_block_pass + 1) * simd::super_block_codes, 1);
}

template <class Architecture>
void check_super_blocks_of_all() {
  check_super_blocks<Architecture, nibble::q2_k>();
  check_super_blocks<Architecture, nibble::q3_k>();
  check_super_blocks<Architecture, nibble::q4_k>();
  check_super_blocks<Architecture, nibble::q5_k>();
  check_super_blocks<Architecture, nibble::q6_k>();
}

TEST_CASE("products of super-blocks of every number of rows lie within their bound",
          "[super_block_products]") {
  SECTION("best architecture") { check_super_blocks_of_all<best_super_blocks>(); }
  SECTION("portable") { check_super_blocks_of_all<simd::portable>(); }
  SUCCEED("every number of rows");
}

TEST_CASE("products of super-blocks are there for k-quants alone", "[super_block_products]") {
  using nibble::q2_k, nibble::q3_k, nibble::q4_k, nibble::q5_k, nibble::q6_k;
  static_assert(kernel::is_super_block_codec<q2_k>() && kernel::is_super_block_codec<q3_k>());
  static_assert(kernel::is_super_block_codec<q4_k>() && kernel::is_super_block_codec<q5_k>());
  static_assert(kernel::is_super_block_codec<q6_k>());
  // Four products with values of its table do not fit 16 bits.
  static_assert(!kernel::is_super_block_codec<nibble::iq4_xs>());
  static_assert(!kernel::is_super_block_codec<nibble::q5_0>());
  static_assert(!kernel::is_super_block_codec<nibble::q8>());
  static_assert(!kernel::is_super_block_codec<nibble::f16>());
  SUCCEED("checked when compiling");
}

/// Activations of some rows, prepared.
class prepared_rows {
 public:
  template <class Architecture>
  prepared_rows(Architecture, const std::vector<float>& x, std::size_t rows, std::size_t k)
      : memory_(rows * kernel::prepared_row_bytes<std::int8_t>(k) + 64) {
    auto* start = memory_.data();
    while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
    prepared_ = kernel::place_activations<std::int8_t>(start, rows, kernel::super_block_tile_rows, k);
    for (std::size_t m = 0; m < rows; ++m) {
      kernel::prepare_row<Architecture>(x.data() + m * k, k, kernel::super_block_layout, m, prepared_);
    }
  }
  [[nodiscard]] const kernel::prepared_activations<std::int8_t>& get() const { return prepared_; }

 private:
  std::vector<std::byte> memory_;
  kernel::prepared_activations<std::int8_t> prepared_{};
};

/// A row of blocks that are all alike.
template <class Block>
std::vector<std::byte> row_of(const Block& block, std::size_t k) {
  std::vector<std::byte> bytes(k / 256 * sizeof(block));
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(block)) {
    std::memcpy(bytes.data() + at, &block, sizeof(block));
  }
  return bytes;
}

/// Codes of one value, the same number for all sub-blocks: every sum is as far from zero as it can be.
template <class Architecture>
void require_furthest_sums(int code, int number, float activation) {
  constexpr std::size_t k = 4096;
  nibble::q6_k::block block{};
  block.lows.fill(static_cast<std::uint8_t>(code % 16 * 17));
  block.highs.fill(static_cast<std::uint8_t>(code / 16 * 0x55));
  block.sub_blocks.fill(static_cast<std::int8_t>(number));
  block.scale = nibble::to_float16(0.5F);
  const auto bytes = row_of(block, k);
  const nibble::tensor_view w("w", nibble::encoding::q6_k, {1, k}, bytes);
  const prepared_rows x(Architecture{}, std::vector<float>(k, activation), 1, k);
  float y = 0.0F;
  multiply_super_block_tiles<Architecture, nibble::q6_k>(w, {0, 1}, x.get(), {&y, 1, nullptr});
  const double expected = 4096 * 0.5 * number * (code - 32) * static_cast<double>(activation);
  if (!(std::fabs(static_cast<double>(y) - expected) <= std::fabs(expected) * 0x1p-18)) {
    FAIL("code " << code << " number " << number << ": " << y << " instead of " << expected);
  }
}

/// The largest codes, scales and mins of q5_k, whose quads are the largest of those with mins.
template <class Architecture>
void require_furthest_mins(float activation) {
  constexpr std::size_t k = 1024;
  nibble::q5_k::block block{};
  const std::vector<std::byte> all(sizeof(block), std::byte{0xFF});
  std::memcpy(&block, all.data(), sizeof(block));
  block.scale = nibble::to_float16(1.0F);
  block.min = nibble::to_float16(2.0F);
  const auto bytes = row_of(block, k);
  const nibble::tensor_view w("w", nibble::encoding::q5_k, {1, k}, bytes);
  const prepared_rows x(Architecture{}, std::vector<float>(k, activation), 1, k);
  float y = 0.0F;
  multiply_super_block_tiles<Architecture, nibble::q5_k>(w, {0, 1}, x.get(), {&y, 1, nullptr});
  const double expected = 1024.0 * (63 * 31 - 2 * 63) * static_cast<double>(activation);
  if (!(std::fabs(static_cast<double>(y) - expected) <= std::fabs(expected) * 0x1p-18)) {
    FAIL("q5_k: " << y << " instead of " << expected);
  }
}

TEST_CASE("sums of super-blocks with the largest codes, numbers and activations do not overflow",
          "[super_block_products]") {
  const auto check = []<class Architecture>(Architecture) {
    for (const float activation : {1.0F, -1.0F, 1e-30F, 1e25F}) {
      for (const int code : {0, 63}) {
        for (const int number : {-128, 127}) {
          require_furthest_sums<Architecture>(code, number, activation);
        }
      }
      require_furthest_mins<Architecture>(activation);
    }
  };
  check(best_super_blocks{});
  check(simd::portable{});
  SUCCEED("every end");
}

/// Activations near f32's largest number times weights so small that the product is finite.
template <class Architecture, class Codec>
void require_large_activations() {
  constexpr std::size_t k = 2048;
  auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, 3, k, 7);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(typename Codec::block)) {
    typename Codec::block block;
    std::memcpy(&block, bytes.data() + at, sizeof(block));
    block.scale = nibble::to_float16(0x1p-24F);
    if constexpr (Codec::has_min) block.min = nibble::to_float16(0x1p-24F);
    std::memcpy(bytes.data() + at, &block, sizeof(block));
  }
  const nibble::tensor_view w("w", Codec::encoding, {3, k}, bytes);
  auto x = nibble_test::gaussian(k, 11, 1.0F);
  std::array<std::array<float, 3>, 2> y{};
  for (const float factor : {1.0F, 0x1p124F}) {
    std::vector<float> scaled = x;
    for (float& each : scaled) each *= factor;
    const prepared_rows prepared(Architecture{}, scaled, 1, k);
    multiply_super_block_tiles<Architecture, Codec>(w, {0, 3}, prepared.get(),
                                                    {y[factor == 1.0F ? 0 : 1].data(), 3, nullptr});
  }
  for (std::size_t n = 0; n < 3; ++n) {
    CHECK(std::isfinite(y[1][n]));
    // Scaling by a power of two changes no bit but those of exponents.
    CHECK(y[1][n] == y[0][n] * 0x1p124F);
  }
}

TEST_CASE("activations near f32's largest number have finite products with super-blocks",
          "[super_block_products]") {
  require_large_activations<best_super_blocks, nibble::q6_k>();
  require_large_activations<best_super_blocks, nibble::q2_k>();
  require_large_activations<simd::portable, nibble::q3_k>();
  require_large_activations<simd::portable, nibble::q4_k>();
}

TEST_CASE(
    "a row of x has the same products with super-blocks alone and among others, and NaN is its own",
    "[super_block_products]") {
  // So few columns that tiles of any number of rows take them in one pass.
  constexpr std::size_t k = kernel::super_block_pass / kernel::super_block_tile_rows * 256;
  constexpr std::size_t n = 5;
  const auto bytes = nibble_test::finite_stored_bytes(nibble::encoding::q6_k, n, k, 3);
  const nibble::tensor_view w("w", nibble::encoding::q6_k, {n, k}, bytes);
  for (std::size_t rows = 2; rows <= 11; ++rows) {
    auto x = nibble_test::gaussian(rows * k, static_cast<std::uint32_t>(rows), 1.0F);
    x[k + 700] = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> y(rows * n);
    const prepared_rows all(best_super_blocks{}, x, rows, k);
    multiply_super_block_tiles<best_super_blocks, nibble::q6_k>(w, {0, n}, all.get(),
                                                                {y.data(), n, nullptr});
    for (std::size_t m = 0; m < rows; ++m) {
      const std::vector<float> own(x.begin() + static_cast<std::ptrdiff_t>(m * k),
                                   x.begin() + static_cast<std::ptrdiff_t>((m + 1) * k));
      std::array<float, n> alone{};
      const prepared_rows one(best_super_blocks{}, own, 1, k);
      multiply_super_block_tiles<best_super_blocks, nibble::q6_k>(w, {0, n}, one.get(),
                                                                  {alone.data(), n, nullptr});
      for (std::size_t i = 0; i < n; ++i) {
        const float among = y[m * n + i];
        CHECK(std::isnan(alone[i]) == (m == 1));
        CHECK((m == 1 ? std::isnan(among) : among == alone[i]));
      }
    }
  }
}

}  // namespace
