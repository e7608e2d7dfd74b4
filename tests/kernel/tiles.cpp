#include <nibble/kernel/tiles.hpp>

#include <algorithm>
#include <cstddef>

#include <support/catch.hpp>

namespace {

namespace kernel = nibble::kernel;

TEST_CASE("tiles share rows evenly and leave none out", "[tiles]") {
  for (const std::size_t most : {1U, 4U, 6U, 12U}) {
    for (std::size_t rows = 1; rows <= 40; ++rows) {
      std::size_t done = 0;
      std::size_t least = most;
      std::size_t largest = 0;
      while (done < rows) {
        const std::size_t tile = kernel::tile_rows_at(done, rows, most);
        least = std::min(least, tile);
        largest = std::max(largest, tile);
        done += tile;
      }
      if (done != rows || largest > most || largest - least > 1) FAIL(rows << " rows by " << most);
    }
  }
  SUCCEED("every number of rows");
}

TEST_CASE("every way to name a tile names the same one", "[tiles]") {
  for (const std::size_t most : {1U, 4U, 6U, 12U}) {
    for (std::size_t rows = 0; rows <= 40; ++rows) {
      std::size_t done = 0;
      std::size_t number = 0;
      kernel::for_each_tile(rows, most, [&](std::size_t first, std::size_t tile_rows) {
        CHECK(first == done);
        CHECK(tile_rows == kernel::tile_rows_at(done, rows, most));
        const kernel::row_tile by_number = kernel::tile_by_number(number, rows, most);
        CHECK((by_number.first == first && by_number.rows == tile_rows));
        for (std::size_t row = first; row < first + tile_rows; ++row) {
          const kernel::row_tile by_row = kernel::tile_of_row(row, rows, most);
          CHECK((by_row.first == first && by_row.rows == tile_rows));
        }
        done += tile_rows;
        ++number;
      });
      CHECK(done == rows);
    }
  }
}

template <std::size_t Rows>
std::size_t rows_of() {
  return Rows;
}

TEST_CASE("a tile's function is the one that was compiled for its rows", "[tiles]") {
  for (std::size_t rows = 1; rows <= 15; ++rows) {
    const auto function = kernel::choose_by_rows<std::size_t (*)(), 15>(
        rows, []<std::size_t Rows>() { return &rows_of<Rows>; });
    CHECK(function() == rows);
  }
}

}  // namespace
