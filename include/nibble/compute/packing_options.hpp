#pragma once

#include <span>

#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>

namespace nibble {

/// How the values of a tensor are packed: what of its bytes is up to the packer.
struct packing_options {
  packing_rule rule = packing_rule::best;        ///< how scales are chosen
  packing_search search = packing_search::fast;  ///< how long to look for them
  /// What each column counts in the squared error that packing minimises: the mean square of the input
  /// that the column is multiplied by, say. As many numbers as columns, finite and not negative; or m
  /// times as many for a weight of m stacked matrices (rows divisible by m), one such list a matrix.
  /// None: every column counts alike; so do those of a block whose numbers are all 0. Borrowed.
  ///
  /// Plain floats, and packing_rule::reference, leave it and `search` aside.
  std::span<const float> column_importance{};
};

}  // namespace nibble
