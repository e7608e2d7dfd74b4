#include <nibble/kernel/bfloat16_panel.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/guarded_memory.hpp>
#include <support/random_values.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;
using nibble::bfloat16;
using nibble::encoding;
using nibble::tensor_view;
using nibble_test::guarded_memory;
using nibble_test::placed;

using column_pair = std::array<bfloat16, 2>;

/// The stored bits, whatever they are, pair by pair in lanes, and zeros in lanes without a row and behind
/// the last column. Nothing is read beside the weight.
template <class Architecture>
void check_bfloat16_panels_filled() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t rows = 2 * width - 3;
  for (const std::size_t cols : {1U, 2U, 15U, 16U, 17U, 31U, 32U, 33U, 64U, 77U, 100U}) {
    const guarded_memory<std::byte> stored(rows * cols * 2, placed::against_the_page_behind);
    const auto bits = nibble_test::random_bytes(rows * cols * 2, static_cast<std::uint32_t>(cols));
    std::ranges::copy(bits, stored.span().begin());
    const tensor_view whole("w", encoding::bf16, {rows, cols}, stored.span());
    const auto expected = [&](std::size_t row, std::size_t col) {
      std::uint16_t value = 0;
      std::memcpy(&value, bits.data() + (row * cols + col) * 2, 2);
      return value;
    };
    const auto check = [&](const tensor_view& w, std::size_t skipped_cols) {
      const auto count_of = static_cast<std::size_t>(w.cols());
      for (const std::size_t first : {std::size_t{0}, std::min<std::size_t>(16, count_of - 1)}) {
        const std::size_t count = count_of - first;
        const std::size_t steps = (count + 2 * width - 1) / (2 * width) * width;
        for (const std::size_t first_row : {std::size_t{0}, width}) {
          const std::size_t lanes = std::min(width, rows - first_row);
          std::vector<kernel::bfloat16_pair> panel(steps * (width + 1), -1);
          kernel::fill_panel<Architecture>(kernel::bfloat16_panel_source{}, w, {first_row, lanes},
                                           {first, count}, {panel.data(), width + 1});
          for (std::size_t i = 0; i < steps * width; ++i) {
            const std::size_t lane = i % width;
            const std::size_t col = i / width * 2;
            const auto found = std::bit_cast<column_pair>(panel[i / width * (width + 1) + lane]);
            for (const std::size_t half : {0U, 1U}) {
              const bool is_there = lane < lanes && col + half < count;
              const std::uint16_t wanted =
                  is_there ? expected(first_row + lane, skipped_cols + first + col + half)
                           : std::uint16_t{0};
              if (found[half].bits != wanted) {
                FAIL("K " << cols << " row " << first_row + lane << " column " << first + col + half);
              }
            }
          }
          for (std::size_t step = 0; step < steps; ++step) {
            if (panel[step * (width + 1) + width] != -1) FAIL("wrote beside the panel");
          }
        }
      }
    };
    check(whole, 0);
    if (cols > 8) check(whole.columns(5, cols - 8), 5);
  }
}

TEST_CASE("a panel of bf16 holds stored rows in its lanes, two columns a step", "[bfloat16_panel]") {
  nibble_test::for_every_architecture(
      []<class Architecture>(Architecture) { check_bfloat16_panels_filled<Architecture>(); });
  SUCCEED("every number of columns");
}

TEST_CASE("activations are rounded to the nearest finite bf16", "[bfloat16_panel]") {
  constexpr float largest = std::numeric_limits<float>::max();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  auto x = nibble_test::mixed_magnitudes(200, 5);
  x[0] = largest;
  x[1] = -largest;
  x[64] = infinity;
  x[65] = -infinity;
  x[66] = std::numeric_limits<float>::quiet_NaN();
  x[67] = std::bit_cast<float>(0x7F7F8000U);  // half way to infinity
  x[68] = std::bit_cast<float>(0x7F7F7FFFU);
  const auto check = [&]<class Architecture>(Architecture) {
    for (const std::size_t count : {1U, 2U, 63U, 64U, 65U, 69U, 128U, 199U, 200U}) {
      std::vector<kernel::bfloat16_pair> pairs((count + 1) / 2 + 1, -1);
      kernel::round_to_pairs<Architecture>(x.data(), count, pairs.data());
      CHECK(pairs.back() == -1);
      for (std::size_t i = 0; i < count; ++i) {
        bfloat16 wanted = nibble::to_bfloat16(x[i]);
        if (std::isfinite(x[i]) && !std::isfinite(nibble::to_float32(wanted))) {
          wanted.bits = x[i] > 0.0F ? 0x7F7F : 0xFF7F;
        }
        if (std::bit_cast<column_pair>(pairs[i / 2])[i % 2] != wanted)
          FAIL("number " << i << " of " << count);
      }
      if (count % 2 != 0) CHECK(std::bit_cast<column_pair>(pairs[count / 2])[1].bits == 0);
    }
  };
  nibble_test::for_every_architecture(check);
}

}  // namespace
