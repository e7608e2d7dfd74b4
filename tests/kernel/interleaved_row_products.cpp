#include <nibble/kernel/interleaved_row_products.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <kernel/lane_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// Calls the kernel under test.
template <class Architecture, class Codec>
constexpr auto multiply_interleaved =
    [](const auto& w, kernel::row_range rows, const auto& x, const auto& y) {
      kernel::multiply_interleaved_rows<Architecture, Codec>(w, rows, x, y);
    };

template <class Architecture, class Codec, class Value>
void check_interleaved_tiles() {
  nibble_test::require_lane_products<Architecture, Codec, Value>(
      {1, 31, 32, 33, 545}, multiply_interleaved<Architecture, Codec>);
}

TEST_CASE("products of interleaved rows of every number of rows lie within their bound",
          "[interleaved_row_products]") {
  using nibble::q4_r8, nibble::q8_r8;
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_interleaved_tiles<Architecture, q4_r8, float>();
    check_interleaved_tiles<Architecture, q8_r8, float>();
    using integers = simd::integer_architecture<Architecture>;
    check_interleaved_tiles<integers, q4_r8, std::int16_t>();
    check_interleaved_tiles<integers, q8_r8, std::int16_t>();
    check_interleaved_tiles<integers, q4_r8, std::int8_t>();
    if constexpr (simd::multiplies_any_byte<integers>)
      check_interleaved_tiles<integers, q8_r8, std::int8_t>();
  });
  SUCCEED("every number of rows");
}

/// Products of groups of a weight's rows, on their own and among the others: the same bits.
template <class Architecture, class Codec, class Value>
void check_groups_on_their_own(std::size_t k) {
  constexpr std::size_t n = 43;
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  for (std::size_t first = 0; first < n; first += 8) {
    for (const std::size_t count : {std::size_t{8}, std::size_t{16}, n - first}) {
      if (count <= n - first) parts.emplace_back(first, count);
    }
  }
  nibble_test::require_parts_multiply_alike<Architecture, Codec, Value>(
      n, k, parts, multiply_interleaved<Architecture, Codec>);
}

TEST_CASE("a row's products do not depend on the group that it lies in", "[interleaved_row_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    using integers = simd::integer_architecture<Architecture>;
    for (const std::size_t k : {32U, 545U}) {
      check_groups_on_their_own<Architecture, nibble::q4_r8, float>(k);
      check_groups_on_their_own<integers, nibble::q4_r8, std::int8_t>(k);
      check_groups_on_their_own<integers, nibble::q8_r8, std::int16_t>(k);
    }
  });
  SUCCEED("every part");
}

}  // namespace
