#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include <nibble/compute/block_source.hpp>
#include <nibble/compute/row_source.hpp>

namespace nibble {

/// Where the rows of a weight lie in another convention: a permutation of them. Whole rows move, so that
/// blocks that run along rows move with them, bit for bit.
class row_order {
 public:
  /// Every row in its place.
  row_order() noexcept = default;

  /// Of q and k, `heads` heads of an even number of rows: elements that turn together stand half a head
  /// apart in the stored rows, as Hugging Face's classes have them, and are neighbours afterwards, as
  /// GGUF's llama has them. Source: LlamaModel.permute in llama.cpp's conversion/llama.py.
  [[nodiscard]] static row_order halves_to_neighbours(std::uint64_t rows,
                                                      std::uint64_t heads) noexcept {
    return {kind::halves_to_neighbours, rows / heads, 0, 0};
  }
  /// The other way.
  [[nodiscard]] static row_order neighbours_to_halves(std::uint64_t rows,
                                                      std::uint64_t heads) noexcept {
    return {kind::neighbours_to_halves, rows / heads, 0, 0};
  }
  /// Of q, k and v in one matrix: each group of the stored rows holds the heads of q that share a head of
  /// k and v, then these two, as Falcon's class has them; afterwards all of q comes first, then all of k
  /// and of v. Source: FalconModel.modify_tensors in llama.cpp's conversion/falcon.py.
  [[nodiscard]] static row_order groups_to_parts(std::uint64_t head_rows, std::uint64_t heads,
                                                 std::uint64_t key_value_heads) noexcept {
    return {kind::groups_to_parts, head_rows, heads, key_value_heads};
  }
  /// The other way.
  [[nodiscard]] static row_order parts_to_groups(std::uint64_t head_rows, std::uint64_t heads,
                                                 std::uint64_t key_value_heads) noexcept {
    return {kind::parts_to_groups, head_rows, heads, key_value_heads};
  }

  /// Whether every row stays in its place.
  [[nodiscard]] bool keeps_order() const noexcept { return kind_ == kind::as_stored; }

  /// The stored row that comes to stand at `row`.
  [[nodiscard]] std::uint64_t source_of(std::uint64_t row) const noexcept {
    const std::uint64_t head = head_rows_ == 0 ? 0 : row / head_rows_;
    const std::uint64_t within = head_rows_ == 0 ? row : row % head_rows_;
    const std::uint64_t half = head_rows_ / 2;
    switch (kind_) {
      case kind::as_stored: break;
      case kind::halves_to_neighbours: return head * head_rows_ + within % 2 * half + within / 2;
      case kind::neighbours_to_halves: return head * head_rows_ + within % half * 2 + within / half;
      case kind::groups_to_parts: return head_in_groups(head) * head_rows_ + within;
      case kind::parts_to_groups: return head_in_parts(head) * head_rows_ + within;
    }
    return row;
  }

 private:
  enum class kind : unsigned char {
    as_stored,
    halves_to_neighbours,
    neighbours_to_halves,
    groups_to_parts,
    parts_to_groups
  };

  row_order(kind which, std::uint64_t head_rows, std::uint64_t heads,
            std::uint64_t key_value_heads) noexcept
      : kind_(which), head_rows_(head_rows), heads_(heads), key_value_heads_(key_value_heads) {}

  /// Where head `head` of q, k and v one after the other is among groups.
  [[nodiscard]] std::uint64_t head_in_groups(std::uint64_t head) const noexcept {
    const std::uint64_t shared = heads_ / key_value_heads_;
    const std::uint64_t group_heads = shared + 2;
    if (head < heads_) return head / shared * group_heads + head % shared;
    const std::uint64_t of_values = head - heads_ < key_value_heads_ ? 0 : 1;
    const std::uint64_t group = head - heads_ - of_values * key_value_heads_;
    return group * group_heads + shared + of_values;
  }
  /// Where head `head` of the groups is among q, k and v one after the other.
  [[nodiscard]] std::uint64_t head_in_parts(std::uint64_t head) const noexcept {
    const std::uint64_t shared = heads_ / key_value_heads_;
    const std::uint64_t group = head / (shared + 2);
    const std::uint64_t within = head % (shared + 2);
    if (within < shared) return group * shared + within;
    return heads_ + (within - shared) * key_value_heads_ + group;
  }

  kind kind_ = kind::as_stored;
  std::uint64_t head_rows_ = 0;
  std::uint64_t heads_ = 0;
  std::uint64_t key_value_heads_ = 0;
};

/// Rows of `stored`, each of `cols` elements, in another order.
[[nodiscard]] inline row_source reordered_rows(row_source stored, std::uint64_t cols, row_order order) {
  if (order.keeps_order()) return stored;
  return [stored = std::move(stored), cols, order](std::uint64_t first_row, std::uint64_t row_count,
                                                   std::span<float> values) {
    const auto elements = static_cast<std::size_t>(cols);
    for (std::uint64_t i = 0; i < row_count; ++i) {
      stored(order.source_of(first_row + i), 1,
             values.subspan(static_cast<std::size_t>(i) * elements, elements));
    }
  };
}

/// Blocks of `stored`, `row_blocks` of `block_bytes` to a row, with the rows in another order.
[[nodiscard]] inline block_source reordered_blocks(block_source stored, std::uint64_t row_blocks,
                                                   std::uint64_t block_bytes, row_order order) {
  if (order.keeps_order()) return stored;
  return [stored = std::move(stored), row_blocks, block_bytes, order](std::uint64_t first_block,
                                                                      std::span<std::byte> blocks) {
    while (!blocks.empty()) {
      const std::uint64_t row = first_block / row_blocks;
      const std::uint64_t skipped = first_block % row_blocks;
      const std::uint64_t count = std::min(row_blocks - skipped, blocks.size() / block_bytes);
      const auto bytes = static_cast<std::size_t>(count * block_bytes);
      stored(order.source_of(row) * row_blocks + skipped, blocks.first(bytes));
      blocks = blocks.subspan(bytes);
      first_block += count;
    }
  };
}

/// Rows of several matrices of `part_rows` rows and `cols` columns, one matrix after the other.
[[nodiscard]] inline row_source joined_rows(std::vector<row_source> parts, std::uint64_t part_rows,
                                            std::uint64_t cols) {
  if (parts.size() == 1) return std::move(parts.front());
  return [parts = std::move(parts), part_rows, cols](std::uint64_t first_row, std::uint64_t row_count,
                                                     std::span<float> values) {
    while (row_count != 0) {
      const std::uint64_t within = first_row % part_rows;
      const std::uint64_t count = std::min(part_rows - within, row_count);
      const auto elements = static_cast<std::size_t>(count * cols);
      parts[static_cast<std::size_t>(first_row / part_rows)](within, count, values.first(elements));
      values = values.subspan(elements);
      first_row += count;
      row_count -= count;
    }
  };
}

/// Blocks of several tensors of `part_blocks` blocks of `block_bytes`, one tensor after the other.
[[nodiscard]] inline block_source joined_blocks(std::vector<block_source> parts,
                                                std::uint64_t part_blocks, std::uint64_t block_bytes) {
  if (parts.size() == 1) return std::move(parts.front());
  return [parts = std::move(parts), part_blocks, block_bytes](std::uint64_t first_block,
                                                              std::span<std::byte> blocks) {
    while (!blocks.empty()) {
      const std::uint64_t within = first_block % part_blocks;
      const std::uint64_t count = std::min(part_blocks - within, blocks.size() / block_bytes);
      const auto bytes = static_cast<std::size_t>(count * block_bytes);
      parts[static_cast<std::size_t>(first_block / part_blocks)](within, blocks.first(bytes));
      blocks = blocks.subspan(bytes);
      first_block += count;
    }
  };
}

/// Elements of a matrix's transpose. `stored` holds `rows` x `cols` elements of `element_bytes` each,
/// row-major, and must outlive the source; an element is a block.
[[nodiscard]] inline block_source transposed_elements(std::span<const std::byte> stored,
                                                      std::uint64_t rows, std::uint64_t cols,
                                                      std::uint64_t element_bytes) {
  return [stored, rows = static_cast<std::size_t>(rows), cols = static_cast<std::size_t>(cols),
          bytes = static_cast<std::size_t>(element_bytes)](std::uint64_t first_element,
                                                           std::span<std::byte> elements) {
    const auto first = static_cast<std::size_t>(first_element);
    const std::size_t end = first + elements.size() / bytes;
    // A row of the result is a column of the stored matrix. Stored rows are read along as many columns as
    // are asked for, so that each line of memory is read once.
    const std::size_t first_col = first / rows;
    const std::size_t end_col = (end + rows - 1) / rows;
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t col = first_col; col < end_col; ++col) {
        const std::size_t at = col * rows + row;
        if (at < first || at >= end) continue;
        std::memcpy(&elements[(at - first) * bytes], &stored[(row * cols + col) * bytes], bytes);
      }
    }
  };
}

/// Values of `stored` with `added` added to each, in f32.
[[nodiscard]] inline row_source rows_plus(row_source stored, float added) {
  return [stored = std::move(stored), added](std::uint64_t first_row, std::uint64_t row_count,
                                             std::span<float> values) {
    stored(first_row, row_count, values);
    for (float& value : values) value += added;
  };
}

}  // namespace nibble
