#include <nibble/kernel/lane_row_products.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <utility>
#include <vector>

#include <kernel/lane_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/random_values.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// Calls the kernel under test.
template <class Architecture, class Codec>
constexpr auto multiply_lanes =
    [](const auto& w, kernel::row_range rows, const auto& x, const auto& y) {
      kernel::multiply_lane_rows<Architecture, Codec>(w, rows, x, y);
    };

template <class Architecture, class Value, class... Codecs>
void check_lane_rows_of(std::initializer_list<std::size_t> lengths) {
  (nibble_test::require_lane_products<Architecture, Codecs, Value>(
       lengths, multiply_lanes<Architecture, Codecs>),
   ...);
}

TEST_CASE("lane-row products of every number of rows lie within their bound", "[lane_row_products]") {
  using nibble::apr_q4, nibble::q4, nibble::q4_0, nibble::q4_1, nibble::q8, nibble::q8_0;
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_lane_rows_of<Architecture, float, q4, q8, q4_0, q4_1, q8_0>({1, 33, 544, 545});
    check_lane_rows_of<Architecture, float, apr_q4>({32, 544});
    using integers = simd::integer_architecture<Architecture>;
    check_lane_rows_of<integers, std::int16_t, q4, q8, q4_0, q4_1, q8_0>({1, 33, 544, 545, 608});
    check_lane_rows_of<integers, std::int8_t, q4, q4_0, q4_1>({1, 33, 544, 545, 608});
    check_lane_rows_of<integers, std::int8_t, apr_q4>({32, 544});
    if constexpr (simd::multiplies_any_byte<integers>) {
      check_lane_rows_of<integers, std::int8_t, q8, q8_0>({1, 33, 544, 545});
    }
  });
  SUCCEED("every number of rows");
}

/// Products of a part of a weight's rows, on their own and among the others: the same bits.
template <class Architecture, class Codec, class Value>
void check_rows_on_their_own(std::size_t k) {
  std::vector<std::pair<std::size_t, std::size_t>> parts;
  for (const std::size_t first : {0U, 1U, 20U}) {
    for (const std::size_t count : {1U, 2U, 7U, 8U, 15U, 16U, 17U}) parts.emplace_back(first, count);
  }
  nibble_test::require_parts_multiply_alike<Architecture, Codec, Value>(
      39, k, parts, multiply_lanes<Architecture, Codec>);
}

TEST_CASE("a row's products do not depend on how many rows the weight has", "[lane_row_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    using integers = simd::integer_architecture<Architecture>;
    for (const std::size_t k : {32U, 288U, 545U}) {
      check_rows_on_their_own<Architecture, nibble::q4, float>(k);
      check_rows_on_their_own<Architecture, nibble::q8_0, float>(k);
      check_rows_on_their_own<integers, nibble::q4, std::int8_t>(k);
      check_rows_on_their_own<integers, nibble::q8, std::int16_t>(k);
    }
  });
  SUCCEED("every part");
}

/// Words of rows that end where the memory does.
template <class Architecture, std::size_t Bytes>
void check_lane_words() {
  constexpr std::size_t width = simd::lanes<Architecture>;
  for (const std::size_t row_bytes : {Bytes, Bytes + 1, std::size_t{360}}) {
    const auto bytes = nibble_test::random_bytes((width - 1) * row_bytes + Bytes, 7);
    const auto words = kernel::load_lane_words<Architecture, Bytes>(bytes.data(), row_bytes);
    REQUIRE(words.size() == Bytes / 4);
    for (std::size_t word = 0; word < words.size(); ++word) {
      std::array<std::int32_t, width> lanes;
      words[word].store_unaligned(lanes.data());
      for (std::size_t row = 0; row < width; ++row) {
        std::int32_t expected = 0;
        std::memcpy(&expected, bytes.data() + row * row_bytes + 4 * word, sizeof(expected));
        if (lanes[row] != expected) FAIL("word " << word << " of row " << row);
      }
    }
  }
}

TEST_CASE("the words of a unit come from every row, and nothing behind it is read",
          "[lane_row_products]") {
  nibble_test::for_every_architecture([]<class Architecture>(Architecture) {
    check_lane_words<Architecture, 16>();
    check_lane_words<Architecture, 20>();
    check_lane_words<Architecture, 32>();
    check_lane_words<Architecture, 36>();
    check_lane_words<Architecture, 40>();
  });
}

}  // namespace
