#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/lane_row_products.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/weight_slice.hpp>

#include <kernel/kernel_products.hpp>
#include <support/catch.hpp>
#include <support/random_values.hpp>
#include <support/stored_tensors.hpp>

namespace nibble_test {

/// Holds products of rows a lane each, multiply(weight, rows, tile, output), within their bound: for every
/// number of rows of a tile and two tiles, in tasks of 32 weight rows and in tasks that start and end
/// within a vector.
template <class Architecture, class Codec, class Value, class Multiply>
void require_lane_products(std::initializer_list<std::size_t> lengths, const Multiply& multiply) {
  namespace kernel = nibble::kernel;
  constexpr std::size_t tile_rows = kernel::lane_row_tile_rows<Architecture, Codec, Value>();
  const auto check = [&](std::size_t m, std::size_t k, std::size_t task_rows) {
    require_kernel_products<Architecture, Codec, Value>(
        m, k, kernel::lane_row_layout<Codec, Value>(), tile_rows,
        [&](const auto& w, std::uint64_t first, std::size_t count, const auto&, const auto& x,
            const auto& y) {
          for (std::size_t n = 0; n < count; n += task_rows) {
            for (std::size_t row = 0; row < m; row += x.tile_rows(row)) {
              kernel::product_output part = y;
              part.y += row * y.stride_elements;
              multiply(w, kernel::row_range{first + n, std::min(task_rows, count - n)}, x.tile(row),
                       part);
            }
          }
        });
  };
  for (std::size_t m = 1; m <= tile_rows + 1; ++m) {
    for (const std::size_t k : lengths) {
      check(m, k, 32);
      check(m, k, 5);
    }
  }
}

/// Holds products of parts of n weight rows, {first, count}, on their own to those of all: the same bits.
template <class Architecture, class Codec, class Value, class Multiply>
void require_parts_multiply_alike(std::size_t n, std::size_t k,
                                  const std::vector<std::pair<std::size_t, std::size_t>>& parts,
                                  const Multiply& multiply) {
  namespace kernel = nibble::kernel;
  constexpr std::size_t m =
      std::min<std::size_t>(3, kernel::lane_row_tile_rows<Architecture, Codec, Value>());
  const auto bytes = finite_stored_bytes(Codec::encoding, n, k, 5);
  const nibble::tensor_view w("w", Codec::encoding, {n, k}, bytes);
  const auto x = gaussian(m * k, 9, 1.0F);
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
    multiply(rows, kernel::row_range{0, count}, prepared.tile(0),
             kernel::product_output{y.data(), count, nullptr});
    return y;
  };
  const std::vector<float> all = products_of(w);
  for (const auto& [first, count] : parts) {
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

}  // namespace nibble_test
