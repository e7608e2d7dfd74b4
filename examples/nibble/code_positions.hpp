#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nibble/core/encoding.hpp>
#include <nibble/core/tensor_view.hpp>

#include "block_scales.hpp"

namespace nibble_command {

/// The codes of an encoding whose values are code * scale + min.
struct code_range {
  int first;
  int last;
};

/// The codes of `which`, or nothing where its values are not evenly spaced, or its blocks do not tell their
/// scales.
[[nodiscard]] inline std::optional<code_range> evenly_spaced_codes(nibble::encoding which) {
  using nibble::encoding;
  switch (which) {
    case encoding::q8:
    case encoding::q4:
    case encoding::q8_r8:
    case encoding::q4_r8:
    case encoding::apr_q8:
    case encoding::apr_q4:
    case encoding::q4_0:
    case encoding::q4_1:
    case encoding::q5_0:
    case encoding::q5_1:
    case encoding::q8_0:
    case encoding::q2_k:
    case encoding::q3_k:
    case encoding::q4_k:
    case encoding::q5_k:
    case encoding::q6_k: break;
    default: return std::nullopt;
  }
  const nibble::encoding_description& how = nibble::describe(which);
  const int codes = 1 << how.code_bits;
  return how.has_min ? code_range{0, codes - 1} : code_range{-codes / 2, codes / 2 - 1};
}

/// Where values lie among the codes of their blocks, (value - min) / scale, counted in parts of a code or of
/// several codes; a code is the middle of its part.
class code_positions {
 public:
  explicit code_positions(code_range codes) : codes_(codes) {
    const int count = codes.last - codes.first + 1;
    step_ = count <= 8 ? 0.125 : count <= 16 ? 0.25 : count <= 32 ? 0.5 : count <= 64 ? 1.0 : 4.0;
    // Parts of less than a code reach one code beyond the last, others one part.
    from_ = step_ < 1.0 ? codes.first - 1.0 - step_ / 2.0 : codes.first - 0.5 - step_;
    const double parts = step_ < 1.0 ? (count + 1) / step_ + 1.0 : count / step_ + 2.0;
    counts_.resize(static_cast<std::size_t>(parts));
  }

  /// Counts a value whose block has this scale, and this min or 0.
  void add(double value, float scale, float min) noexcept {
    if (!std::isfinite(value)) return;
    const double position = (value - static_cast<double>(min)) / static_cast<double>(scale);
    if (!std::isfinite(position)) {
      ++without_scale_;
      return;
    }
    const double part = std::floor((position - from_) / step_);
    if (part < 0.0) {
      ++below_;
    } else if (part >= static_cast<double>(counts_.size())) {
      ++above_;
    } else {
      ++counts_[static_cast<std::size_t>(part)];
    }
  }
  /// Joins counts of the same codes.
  code_positions& operator+=(const code_positions& next) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += next.counts_[i];
    below_ += next.below_;
    above_ += next.above_;
    without_scale_ += next.without_scale_;
    return *this;
  }

  [[nodiscard]] code_range codes() const noexcept { return codes_; }
  /// Where the first part starts, and how wide each is, in codes.
  [[nodiscard]] double from() const noexcept { return from_; }
  [[nodiscard]] double step() const noexcept { return step_; }
  [[nodiscard]] std::uint64_t below() const noexcept { return below_; }
  [[nodiscard]] std::uint64_t above() const noexcept { return above_; }
  /// Values of blocks whose scale is 0.
  [[nodiscard]] std::uint64_t without_scale() const noexcept { return without_scale_; }
  [[nodiscard]] const std::vector<std::uint64_t>& counts() const noexcept { return counts_; }

 private:
  code_range codes_;
  double step_ = 0.0;
  double from_ = 0.0;
  std::uint64_t below_ = 0;
  std::uint64_t above_ = 0;
  std::uint64_t without_scale_ = 0;
  std::vector<std::uint64_t> counts_;
};

/// Counts where `values`, of rows of the matrix that `packed` codes, lie among its codes.
inline void add_positions(const nibble::tensor_view& packed, std::uint64_t first_row,
                          std::uint64_t row_count, std::span<const double> values, code_positions& to) {
  const nibble::encoding_description& how = nibble::describe(packed.encoding());
  const std::uint64_t cols = packed.cols();
  const std::uint64_t block = how.block_cols();
  const bool is_along_rows = how.blocks_run_along != nibble::block_run::tensor;
  const std::uint64_t row_blocks = (cols + block - 1) / block;
  const std::uint64_t first_element = first_row * cols;
  const std::uint64_t first_block = is_along_rows ? first_row * row_blocks : first_element / block;
  const std::uint64_t end_block = is_along_rows
                                      ? first_block + row_count * row_blocks
                                      : (first_element + row_count * cols + block - 1) / block;
  const auto known = scales_of(packed, first_block, end_block - first_block);
  if (!known || known->scales.empty()) return;
  const bool has_one_scale = how.header_bytes != 0;
  const std::uint64_t shared_elements =
      has_one_scale ? 1 : (end_block - first_block) * block / known->scales.size();
  for (std::uint64_t row = 0; row < row_count; ++row) {
    const std::uint64_t start =
        is_along_rows ? row * row_blocks * block : first_element - first_block * block + row * cols;
    for (std::uint64_t col = 0; col < cols; ++col) {
      const auto at = static_cast<std::size_t>(has_one_scale ? 0 : (start + col) / shared_elements);
      to.add(values[static_cast<std::size_t>(row * cols + col)], known->scales[at],
             known->mins.empty() ? 0.0F : known->mins[at]);
    }
  }
}

}  // namespace nibble_command
