#include <nibble/kernel/interleaved_row_products.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

/// In tasks of 32 weight rows, and in tasks that start and end within a group.
template <class Architecture, class Codec, class Value>
void check_interleaved_rows(std::size_t m, std::size_t k) {
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
              kernel::multiply_interleaved_rows<Architecture, Codec>(
                  w, {first + n, std::min(task_rows, count - n)}, x.tile(row), part);
            }
          }
        });
  }
}

/// Every number of rows of a tile, and two tiles.
template <class Architecture, class Codec, class Value>
void check_interleaved_tiles() {
  for (std::size_t m = 1; m <= kernel::lane_row_tile_rows<Architecture, Codec, Value>() + 1; ++m) {
    for (const std::size_t k : {1U, 31U, 32U, 33U, 545U})
      check_interleaved_rows<Architecture, Codec, Value>(m, k);
  }
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

/// Products of a part of a weight's rows, on their own and among the others: the same bits.
template <class Architecture, class Codec, class Value>
void check_groups_on_their_own(std::size_t k) {
  constexpr std::size_t n = 43;
  constexpr std::size_t m = 3;
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
    kernel::multiply_interleaved_rows<Architecture, Codec>(
        rows, {0, count}, prepared.tile(0), kernel::product_output{y.data(), count, nullptr});
    return y;
  };
  const std::vector<float> all = products_of(w);
  for (std::size_t first = 0; first < n; first += 8) {
    for (const std::size_t count : {std::size_t{8}, std::size_t{16}, n - first}) {
      if (count > n - first) continue;
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
