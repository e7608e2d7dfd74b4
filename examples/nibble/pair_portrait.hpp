#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <tuple>
#include <vector>

#include "code_positions.hpp"
#include "compared_tensors.hpp"
#include "tensor_comparison.hpp"
#include "value_spread.hpp"

namespace nibble_command {

/// How far a few neighbouring values of a row are from their reference.
struct block_error {
  /// As many values as share a scale in most encodings; a row's last ones may be fewer.
  static constexpr std::uint64_t block_elements = 32;

  std::uint64_t row = 0;
  std::uint64_t column = 0;  ///< of its first value
  std::uint64_t elements = 0;
  double squared_error = 0.0;  ///< summed; infinite where one value is
  double max_abs_error = 0.0;

  [[nodiscard]] double rmse() const noexcept {
    return std::sqrt(squared_error / static_cast<double>(elements));
  }
  /// Whether it comes first where the worst do.
  [[nodiscard]] bool is_worse_than(const block_error& other) const noexcept {
    const double own_rmse = rmse();
    const double other_rmse = other.rmse();
    if (own_rmse != other_rmse) return own_rmse > other_rmse;
    return std::tie(row, column) < std::tie(other.row, other.column);
  }
};

/// What is drawn of a pair of tensors beside its errors.
struct pair_portrait {
  static constexpr std::size_t most_blocks = 3;

  range_counts values{};  ///< of the packed tensor, over the range of the reference's
  std::optional<code_positions> positions{};  ///< of the reference's values among the codes
  std::vector<block_error> worst{};           ///< blocks with the largest RMSE above 0, the worst first

  void add(const block_error& block) {
    if (!(block.squared_error > 0.0)) return;
    if (worst.size() == most_blocks && !block.is_worse_than(worst.back())) return;
    const auto place =
        std::upper_bound(worst.begin(), worst.end(), block,
                         [](const block_error& a, const block_error& b) { return a.is_worse_than(b); });
    worst.insert(place, block);
    if (worst.size() > most_blocks) worst.pop_back();
  }
  /// Joins what is known of other rows of the same pair.
  pair_portrait& operator+=(const pair_portrait& next) {
    values += next.values;
    if (positions && next.positions) *positions += *next.positions;
    for (const block_error& block : next.worst) add(block);
    return *this;
  }
};

/// A portrait of nothing yet, over the range of the reference's values.
[[nodiscard]] inline pair_portrait blank_portrait(const tensor_pair& pair, const range_counts& range) {
  pair_portrait blank;
  blank.values = range.emptied();
  const nibble::tensor_view* const packed = pair.other->stored;
  if (packed != nullptr && packed->composed() == nullptr && packed->has_encoding()) {
    const auto codes = evenly_spaced_codes(packed->encoding());
    if (codes) blank.positions.emplace(*codes);
  }
  return blank;
}

/// Adds the blocks of one row.
inline void add_blocks_of_row(std::uint64_t row, std::span<const double> reference,
                              std::span<const double> other, pair_portrait& to) {
  for (std::size_t first = 0; first < reference.size(); first += block_error::block_elements) {
    block_error block{
        .row = row,
        .column = first,
        .elements = std::min<std::uint64_t>(block_error::block_elements, reference.size() - first)};
    for (std::size_t i = first; i < first + block.elements; ++i) {
      const double difference = std::fabs(reference[i] - other[i]);
      if (std::isfinite(difference)) {
        block.squared_error += difference * difference;
        block.max_abs_error = std::max(block.max_abs_error, difference);
      } else if (reference[i] != other[i] && !(std::isnan(reference[i]) && std::isnan(other[i]))) {
        block.squared_error = block.max_abs_error = std::numeric_limits<double>::infinity();
      }
    }
    to.add(block);
  }
}

/// Draws the portraits of all pairs, whose ranges are `ranges`. What is counted does not depend on the
/// threads: whole numbers are summed, and blocks have an order.
[[nodiscard]] inline std::vector<pair_portrait> portraits_of(const comparison& files,
                                                             std::span<const range_counts> ranges,
                                                             unsigned threads) {
  std::vector<pair_portrait> portraits;
  for (std::size_t i = 0; i < files.pairs.size(); ++i) {
    portraits.push_back(blank_portrait(files.pairs[i], ranges[i]));
  }
  const std::vector<pair_rows> parts = parts_of(files.pairs);
  std::mutex guard;
  run_on_parts(files.pairs, parts, "looking at blocks", threads, [&](std::size_t i) {
    const tensor_pair& pair = files.pairs[parts[i].pair];
    pair_portrait seen = blank_portrait(pair, ranges[parts[i].pair]);
    for_rows_of_pair(pair, parts[i],
                     [&](std::uint64_t first_row, std::uint64_t row_count,
                         std::span<const double> reference, std::span<const double> other) {
                       for (const double value : other) seen.values.add(value);
                       if (seen.positions) {
                         add_positions(*pair.other->stored, first_row, row_count, reference,
                                       *seen.positions);
                       }
                       const auto cols = static_cast<std::size_t>(pair.reference->shape.cols());
                       for (std::size_t row = 0; row < row_count; ++row) {
                         add_blocks_of_row(first_row + row, reference.subspan(row * cols, cols),
                                           other.subspan(row * cols, cols), seen);
                       }
                     });
    const std::lock_guard lock(guard);
    portraits[parts[i].pair] += seen;
  });
  return portraits;
}

}  // namespace nibble_command
