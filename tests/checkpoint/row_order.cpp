#include <nibble/checkpoint/row_order.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <support/catch.hpp>

using nibble::row_order;

namespace {

/// numpy's w.reshape(heads, 2, rows / heads / 2).swapaxes(1, 2).reshape(rows), of the numbers of rows.
std::vector<std::uint64_t> permuted(std::uint64_t rows, std::uint64_t heads) {
  const std::uint64_t half = rows / heads / 2;
  std::vector<std::uint64_t> order;
  for (std::uint64_t head = 0; head < heads; ++head) {
    for (std::uint64_t i = 0; i < half; ++i) {
      for (std::uint64_t side = 0; side < 2; ++side) order.push_back((head * 2 + side) * half + i);
    }
  }
  return order;
}

/// conversion/falcon.py, head by head: the groups' heads of q, then their heads of k, then those of v.
std::vector<std::uint64_t> falcon_parts(std::uint64_t head_rows, std::uint64_t heads,
                                        std::uint64_t key_value_heads) {
  const std::uint64_t group = heads / key_value_heads + 2;
  std::vector<std::uint64_t> order;
  const auto add_head = [&](std::uint64_t head) {
    for (std::uint64_t i = 0; i < head_rows; ++i) order.push_back(head * head_rows + i);
  };
  for (std::uint64_t g = 0; g < key_value_heads; ++g) {
    for (std::uint64_t i = 0; i + 2 < group; ++i) add_head(g * group + i);
  }
  for (std::uint64_t g = 0; g < key_value_heads; ++g) add_head(g * group + group - 2);
  for (std::uint64_t g = 0; g < key_value_heads; ++g) add_head(g * group + group - 1);
  return order;
}

std::vector<std::uint64_t> order_of(const row_order& order, std::uint64_t rows) {
  std::vector<std::uint64_t> sources;
  for (std::uint64_t row = 0; row < rows; ++row) sources.push_back(order.source_of(row));
  return sources;
}

/// Applying `forward` and then `back` puts every row where it was.
void check_inverse(const row_order& forward, const row_order& back, std::uint64_t rows) {
  for (std::uint64_t row = 0; row < rows; ++row) {
    CAPTURE(row);
    CHECK(forward.source_of(back.source_of(row)) == row);
  }
}

/// A matrix of numbers that no two elements share.
std::vector<float> counted(std::size_t elements) {
  std::vector<float> values(elements);
  for (std::size_t i = 0; i < elements; ++i) values[i] = static_cast<float>(i);
  return values;
}

nibble::row_source rows_in(const std::vector<float>& values, std::size_t cols) {
  return [&values, cols](std::uint64_t first, std::uint64_t count, std::span<float> to) {
    REQUIRE(to.size() == count * cols);
    std::memcpy(to.data(), &values[static_cast<std::size_t>(first) * cols], to.size_bytes());
  };
}

nibble::block_source blocks_in(const std::vector<float>& values, std::size_t block_bytes) {
  return [&values, block_bytes](std::uint64_t first, std::span<std::byte> to) {
    const auto bytes = std::as_bytes(std::span(values));
    const auto from = bytes.subspan(static_cast<std::size_t>(first) * block_bytes, to.size());
    std::memcpy(to.data(), from.data(), to.size());
  };
}

}  // namespace

TEST_CASE("rows of heads are permuted as llama.cpp's converter does it, and back", "[row_order]") {
  for (const auto& [rows, heads] : {std::pair<std::uint64_t, std::uint64_t>{8, 1},
                                    {8, 2},
                                    {64, 8},
                                    {6, 1},
                                    {30, 5},
                                    {2, 1},
                                    {576, 9}}) {
    CAPTURE(rows, heads);
    const row_order order = row_order::halves_to_neighbours(rows, heads);
    CHECK(order_of(order, rows) == permuted(rows, heads));
    check_inverse(order, row_order::neighbours_to_halves(rows, heads), rows);
    CHECK_FALSE(order.keeps_order());
  }
  CHECK(row_order().keeps_order());
  CHECK(row_order().source_of(7) == 7);
}

TEST_CASE("groups of q, k and v are taken apart as llama.cpp's converter does it, and back",
          "[row_order]") {
  for (const auto& [head_rows, heads, key_value_heads] :
       {std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>{4, 6, 1},
        {3, 8, 2},
        {2, 4, 4},
        {1, 71, 1},
        {5, 1, 1}}) {
    CAPTURE(head_rows, heads, key_value_heads);
    const std::uint64_t rows = head_rows * (heads + 2 * key_value_heads);
    const row_order order = row_order::groups_to_parts(head_rows, heads, key_value_heads);
    CHECK(order_of(order, rows) == falcon_parts(head_rows, heads, key_value_heads));
    check_inverse(order, row_order::parts_to_groups(head_rows, heads, key_value_heads), rows);
  }
}

TEST_CASE("rows and blocks come in the order asked for, whatever part is asked for", "[row_order]") {
  constexpr std::size_t rows = 12;
  constexpr std::size_t cols = 6;
  const std::vector<float> values = counted(rows * cols);
  const row_order order = row_order::halves_to_neighbours(rows, 2);
  std::vector<float> expected(values.size());
  for (std::size_t row = 0; row < rows; ++row) {
    const auto source = static_cast<std::size_t>(order.source_of(row));
    for (std::size_t col = 0; col < cols; ++col)
      expected[row * cols + col] = values[source * cols + col];
  }

  const nibble::row_source moved = nibble::reordered_rows(rows_in(values, cols), cols, order);
  for (std::size_t first = 0; first < rows; ++first) {
    for (std::size_t count = 0; first + count <= rows; ++count) {
      std::vector<float> part(count * cols);
      moved(first, count, part);
      CHECK(std::equal(part.begin(), part.end(), expected.begin() + static_cast<long>(first * cols)));
    }
  }
  // Three blocks of two elements to a row.
  const nibble::block_source blocks = nibble::reordered_blocks(blocks_in(values, 8), 3, 8, order);
  for (std::size_t first = 0; first < rows * 3; ++first) {
    for (std::size_t count = 0; first + count <= rows * 3; ++count) {
      std::vector<float> part(count * 2);
      blocks(first, std::as_writable_bytes(std::span(part)));
      CHECK(std::equal(part.begin(), part.end(), expected.begin() + static_cast<long>(first * 2)));
    }
  }
}

TEST_CASE("matrices one after the other are read across their ends", "[row_order]") {
  constexpr std::size_t cols = 4;
  constexpr std::size_t part_rows = 3;
  const std::vector<float> all = counted(5 * part_rows * cols);
  std::vector<std::vector<float>> stored;
  for (std::size_t i = 0; i < 5; ++i) {
    const auto begin = all.begin() + static_cast<long>(i * part_rows * cols);
    stored.emplace_back(begin, begin + part_rows * cols);
  }
  std::vector<nibble::row_source> row_parts;
  std::vector<nibble::block_source> block_parts;
  for (const std::vector<float>& each : stored) {
    row_parts.push_back(rows_in(each, cols));
    block_parts.push_back(blocks_in(each, 8));
  }
  const nibble::row_source rows = nibble::joined_rows(row_parts, part_rows, cols);
  const nibble::block_source blocks = nibble::joined_blocks(block_parts, part_rows * 2, 8);
  for (std::size_t first = 0; first < 15; ++first) {
    for (std::size_t count = 0; first + count <= 15; ++count) {
      std::vector<float> part(count * cols);
      rows(first, count, part);
      CHECK(std::equal(part.begin(), part.end(), all.begin() + static_cast<long>(first * cols)));
      std::fill(part.begin(), part.end(), -1.0F);
      blocks(first * 2, std::as_writable_bytes(std::span(part)));
      CHECK(std::equal(part.begin(), part.end(), all.begin() + static_cast<long>(first * cols)));
    }
  }
}

TEST_CASE("a matrix is transposed element by element, whatever part is asked for", "[row_order]") {
  constexpr std::size_t rows = 5;
  constexpr std::size_t cols = 7;
  const std::vector<float> values = counted(rows * cols);
  std::vector<float> expected;
  for (std::size_t col = 0; col < cols; ++col) {
    for (std::size_t row = 0; row < rows; ++row) expected.push_back(values[row * cols + col]);
  }
  const nibble::block_source elements =
      nibble::transposed_elements(std::as_bytes(std::span(values)), rows, cols, sizeof(float));
  for (std::size_t first = 0; first < expected.size(); ++first) {
    for (std::size_t count = 0; first + count <= expected.size(); ++count) {
      std::vector<float> part(count);
      elements(first, std::as_writable_bytes(std::span(part)));
      CHECK(std::equal(part.begin(), part.end(), expected.begin() + static_cast<long>(first)));
    }
  }
  const nibble::row_source more = nibble::rows_plus(rows_in(values, cols), 1.0F);
  std::vector<float> part(2 * cols);
  more(3, 2, part);
  for (std::size_t i = 0; i < part.size(); ++i) CHECK(part[i] == values[3 * cols + i] + 1.0F);
}
