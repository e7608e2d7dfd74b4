#pragma once

// No loops: names for the parts of a weight that loops are given, so that a first row cannot be passed
// for a count of blocks.

#include <cstddef>
#include <cstdint>

#include <nibble/core/architecture.hpp>
#include <nibble/core/tensor_view.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows first .. first + count of a weight.
struct row_range {
  std::uint64_t first;
  std::size_t count;
};

/// Blocks first .. first + count of a row.
struct block_range {
  std::size_t first;
  std::size_t count;
};

/// Columns first .. first + count of a row.
struct column_range {
  std::size_t first;
  std::size_t count;
};

/// Some blocks of some rows of a weight.
struct weight_slice {
  const tensor_view& weight;
  row_range rows;
  block_range blocks;
};

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
