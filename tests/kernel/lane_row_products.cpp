#include <nibble/kernel/lane_row_products.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include <kernel/kernel_products.hpp>
#include <simd/every_architecture.hpp>
#include <support/catch.hpp>
#include <support/compiled_kernels.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace {

namespace kernel = nibble::kernel;
namespace simd = nibble::simd;

/// In tasks of 32 weight rows, and in tasks that start and end within a vector.
template <class Architecture, class Codec, class Value>
void check_lane_rows(std::size_t m, std::size_t k) {
  for (const std::size_t task_rows : {std::size_t{32}, std::size_t{5}}) {
    nibble_test::require_kernel_products<Architecture, Codec, Value>(
        m, k, kernel::lane_row_layout<Codec, Value>(),
        kernel::lane_row_tile_rows<Architecture, Codec, Value>(),
        [m, task_rows](const auto& w, std::uint64_t first, std::size_t count, const auto&,
                       const auto& x, const auto& y) {
          for (std::size_t n = 0; n < count; n += task_rows) {
            for (std::size_t row = 0; row < m; row += x.tile_rows(row)) {
              kernel::product_output part = y;
              part.y += row * y.stride_elements;
              kernel::multiply_lane_rows<Architecture, Codec>(
                  w, {first + n, std::min(task_rows, count - n)}, x.tile(row), part);
            }
          }
        });
  }
}

/// Every number of rows of a tile, and two tiles.
template <class Architecture, class Codec, class Value>
void check_lane_row_tiles(std::initializer_list<std::size_t> lengths) {
  for (std::size_t m = 1; m <= kernel::lane_row_tile_rows<Architecture, Codec, Value>() + 1; ++m) {
    for (const std::size_t k : lengths) check_lane_rows<Architecture, Codec, Value>(m, k);
  }
}

template <class Architecture, class Value, class... Codecs>
void check_lane_rows_of(std::initializer_list<std::size_t> lengths) {
  (check_lane_row_tiles<Architecture, Codecs, Value>(lengths), ...);
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
  constexpr std::size_t n = 39;
  constexpr std::size_t m =
      std::min<std::size_t>(3, kernel::lane_row_tile_rows<Architecture, Codec, Value>());
  const auto bytes = nibble_test::finite_stored_bytes(Codec::encoding, n, k, 5);
  const nibble::tensor_view w("w", Codec::encoding, {n, k}, bytes);
  const auto x = nibble_test::gaussian(m * k, 9, 1.0F);
  std::vector<std::byte> memory(m * kernel::prepared_row_bytes<Value>(k) + 64);
  auto* start = memory.data();
  while (reinterpret_cast<std::uintptr_t>(start) % 64 != 0) ++start;
  const auto prepared = kernel::place_activations<Value>(start, m, 4, k);
  for (std::size_t i = 0; i < m; ++i) {
    kernel::prepare_row<Architecture>(x.data() + i * k, k, kernel::lane_row_layout<Codec, Value>(), i,
                                      prepared);
  }
  const auto products_of = [&](const nibble::tensor_view& rows) {
    const auto count = static_cast<std::size_t>(rows.rows());
    std::vector<float> y(m * count);
    kernel::multiply_lane_rows<Architecture, Codec>(rows, {0, count}, prepared.tile(0),
                                                    kernel::product_output{y.data(), count, nullptr});
    return y;
  };
  const std::vector<float> all = products_of(w);
  for (const std::size_t first : {0U, 1U, 20U}) {
    for (const std::size_t count : {1U, 2U, 7U, 8U, 15U, 16U, 17U}) {
      const std::vector<float> some = products_of(w.rows(first, count));
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < count; ++j) {
          if (some[i * count + j] != all[i * n + first + j]) {
            FAIL(nibble::to_string(Codec::encoding)
                 << " K " << k << " row " << first + j << " of " << count);
          }
        }
      }
    }
  }
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
