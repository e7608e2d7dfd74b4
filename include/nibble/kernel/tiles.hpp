#pragma once

// Loop nest of every product: for each tile of rows of activations, one function that was compiled for
// the tile's number of rows. A count that is known when compiling keeps all sums in registers.

#include <array>
#include <cstddef>
#include <utility>

#include <nibble/core/architecture.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Whether all registers together hold 64 floats, as those of SSE do. A tile of many rows has most of its
/// sums in memory then: tiles are smaller, which is less than half of the code. Not measured.
template <class Architecture>
inline constexpr bool has_few_registers =
    simd::lanes<Architecture>* simd::vector_registers<Architecture> < 128;

/// Some rows of activations that are multiplied together.
struct row_tile {
  std::size_t first;
  std::size_t rows;
};

/// Rows of the tile that starts at row m of `rows`. All tiles have about the same size, at most
/// max_tile_rows.
[[nodiscard]] constexpr std::size_t tile_rows_at(std::size_t m, std::size_t rows,
                                                 std::size_t max_tile_rows) noexcept {
  const std::size_t tiles_left = (rows - m + max_tile_rows - 1) / max_tile_rows;
  return (rows - m + tiles_left - 1) / tiles_left;
}

/// Calls body(first, tile_rows) for every tile of `rows` rows, in order.
template <class Body>
constexpr void for_each_tile(std::size_t rows, std::size_t max_tile_rows, Body&& body) {
  for (std::size_t m = 0; m < rows;) {
    const std::size_t tile_rows = tile_rows_at(m, rows, max_tile_rows);
    body(m, tile_rows);
    m += tile_rows;
  }
}

/// The tile that holds row `row`.
[[nodiscard]] constexpr row_tile tile_of_row(std::size_t row, std::size_t rows,
                                             std::size_t max_tile_rows) noexcept {
  row_tile tile{0, tile_rows_at(0, rows, max_tile_rows)};
  while (tile.first + tile.rows <= row) {
    tile.first += tile.rows;
    tile.rows = tile_rows_at(tile.first, rows, max_tile_rows);
  }
  return tile;
}

/// The tile with the number `tile`.
[[nodiscard]] constexpr row_tile tile_by_number(std::size_t tile, std::size_t rows,
                                                std::size_t max_tile_rows) noexcept {
  std::size_t first = 0;
  for (; tile != 0; --tile) first += tile_rows_at(first, rows, max_tile_rows);
  return {first, tile_rows_at(first, rows, max_tile_rows)};
}

/// The function for a tile of `rows` rows, 1 to MaxRows. Make is a lambda that captures nothing:
/// Make{}.template operator()<Rows>() is the function for Rows rows.
template <class Function, std::size_t MaxRows, class Make>
[[nodiscard]] Function choose_by_rows(std::size_t rows, Make) noexcept {
  return [rows]<std::size_t... I>(std::index_sequence<I...>) {
    constexpr std::array<Function, MaxRows> functions = {Make{}.template operator()<I + 1>()...};
    return functions[rows - 1];
  }
  (std::make_index_sequence<MaxRows>{});
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
