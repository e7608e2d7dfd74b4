#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/codec/block_packing.hpp>
#include <nibble/codec/codecs.hpp>
#include <nibble/codec/pack_status.hpp>
#include <nibble/codec/packing_search.hpp>
#include <nibble/codec/recode.hpp>
#include <nibble/codec/scale_refit.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/pack_blocks.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/shape.hpp>
#include <nibble/core/text.hpp>

namespace nibble {

/// What packing with error feedback knows of the inputs of a weight of n columns, all of it in the order
/// in which columns are rounded.
///
/// With H = E[x x^T] the second moments of the inputs x, rounding a row w to q costs the output
/// (w - q) H (w - q)^T. Damping, a number added to H's diagonal, keeps it from being singular.
struct error_feedback {
  /// Columns in the order in which they are rounded. Those of one block come one after the other.
  std::vector<std::uint32_t> order{};
  /// H with damping, [n, n], row and column i for column order[i].
  std::vector<float> moments{};
  /// U, upper triangular, with H^-1 = U^T U, [n, n]: what U lacks below its diagonal is 0.
  std::vector<float> factor{};
  /// Passes in which every block's scale and min, and then every code of a row, is chosen once more,
  /// given all others; they end where the row's cost no longer falls.
  unsigned refinements = 4;
};

/// Columns in the order in which error feedback rounds them: as they lie, or those that count most first
/// ("act-order"), block by block and within a block. `importance` has a number for each column.
[[nodiscard]] inline std::vector<std::uint32_t> feedback_order(std::span<const float> importance,
                                                               std::size_t block_elements,
                                                               bool by_importance) {
  std::vector<std::uint32_t> order(importance.size());
  std::iota(order.begin(), order.end(), 0U);
  if (!by_importance) return order;
  std::vector<double> of_block(importance.size() / block_elements + 1);
  for (std::size_t i = 0; i < importance.size(); ++i) {
    of_block[i / block_elements] += static_cast<double>(importance[i]);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const std::size_t block_a = a / block_elements;
    const std::size_t block_b = b / block_elements;
    if (block_a == block_b) return importance[a] > importance[b];
    if (of_block[block_a] != of_block[block_b]) return of_block[block_a] > of_block[block_b];
    return block_a < block_b;
  });
  return order;
}

inline namespace NIBBLE_ARCHITECTURE {

/// Whether rows of so many columns can be packed so with error feedback: into blocks that lie on a grid
/// of scale and min, and that hold values of one row.
[[nodiscard]] inline bool takes_error_feedback(encoding which, std::uint64_t cols) {
  const encoding_description& row = describe(which);
  if (!row.has_blocks() || !is_packable(which)) return false;
  if (row.blocks_run_along == block_run::tensor && cols % row.block_elements != 0) return false;
  bool is_affine = false;
  visit_codec(which, {}, [&]<Codec Codec>(Codec) { is_affine = AffineCodec<Codec>; });
  return is_affine;
}

namespace feedback {

/// a -= factor * b
inline void subtract_scaled(float factor, const float* b, float* a, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) a[i] -= factor * b[i];
}

/// Packs one row after the other; its buffers are used again.
template <AffineCodec Codec>
class row_packer {
 public:
  /// `with` outlives it; `name` is for messages.
  row_packer(const error_feedback& with, std::string_view name)
      : with_(with), name_(name), columns_(with.order.size()) {
    values_.resize(columns_);
    codes_.resize(columns_);
    rounded_.resize(columns_);
    errors_.resize(columns_);
    gradient_.resize(columns_);
    blocks_.resize(static_cast<std::size_t>(divide_round_up(columns_, Codec::block_elements)));
    block_values_.resize(Codec::block_elements);
    block_importance_.resize(Codec::block_elements);
  }

  /// `to` has a row's bytes. Throws not_representable.
  void pack(std::span<const float> row, std::span<std::byte> to) {
    for (std::size_t i = 0; i < columns_; ++i) values_[i] = row[with_.order[i]];
    for (std::size_t first = 0; first < columns_;) {
      const std::size_t block = with_.order[first] / Codec::block_elements;
      const std::size_t count =
          std::min(columns_ - block * Codec::block_elements, Codec::block_elements);
      round_block(block, first, count);
      first += count;
    }
    refine(row);
    store(to);
  }

 private:
  /// Chooses the scales of the values as they are now, rounds them one by one, and lets those that come
  /// later make up for what rounding changed.
  void round_block(std::size_t block, std::size_t first, std::size_t count) {
    const std::size_t first_column = block * Codec::block_elements;
    for (std::size_t i = first; i < first + count; ++i) {
      const std::size_t at = with_.order[i] - first_column;
      // What an error here costs after later columns have made up for it: 1 / U[i, i]^2.
      const float diagonal = with_.factor[i * columns_ + i];
      block_values_[at] = values_[i];
      block_importance_[at] = 1.0F / (diagonal * diagonal);
    }
    const std::span<const float> block_values(block_values_.data(), count);
    const packed_blocks packed =
        kernel::picked_pack_blocks({.which = Codec::encoding,
                                    .values = block_values,
                                    .importance = std::span(block_importance_).first(count),
                                    .search = packing_search::best},
                                   std::as_writable_bytes(std::span(blocks_).subspan(block, 1)).data());
    if (packed.status != pack_status::packed) {
      throw error(error_code::not_representable,
                  {.tensor = std::string(name_),
                   .field = join_text({"columns from ", first_column}),
                   .found = "values too far apart",
                   .expected = join_text({"a block that ", to_string(Codec::encoding), " can hold"})});
    }
    for (std::size_t i = first; i < first + count; ++i) {
      const affine_grid grid = grid_of_element<Codec>(blocks_[block], with_.order[i] - first_column);
      codes_[i] = grid.code_of(values_[i]);
      rounded_[i] = grid.value_of(codes_[i]);
      const float* const u = &with_.factor[i * columns_];
      errors_[i] = (values_[i] - rounded_[i]) / u[i];
      subtract_scaled(errors_[i], u + i + 1, &values_[i] + 1, first + count - i - 1);
    }
    const std::size_t end = first + count;
    for (std::size_t i = first; i < end; ++i) {
      subtract_scaled(errors_[i], &with_.factor[i * columns_] + end, values_.data() + end,
                      columns_ - end);
    }
  }

  /// Chooses scales and codes once more, each given all others, pass by pass, as long as the row's cost
  /// falls. Codes come last, so that they are the best ones under the scales.
  void refine(std::span<const float> row) {
    double least = cost_of(row);
    for (unsigned pass = 0; pass < with_.refinements; ++pass) {
      kept_blocks_ = blocks_;
      kept_rounded_ = rounded_;
      const bool has_scales_changed = refit_scales();
      if (!move_codes() && !has_scales_changed) return;
      const double cost = cost_of(row);
      if (!(cost < least)) {
        blocks_ = kept_blocks_;
        rounded_ = kept_rounded_;
        return;
      }
      least = cost;
    }
  }

  /// (w - q) H (w - q)^T as it is now; makes the gradient anew.
  [[nodiscard]] double cost_of(std::span<const float> row) {
    std::fill(gradient_.begin(), gradient_.end(), 0.0F);
    for (std::size_t i = 0; i < columns_; ++i) {
      const float off = rounded_[i] - row[with_.order[i]];
      subtract_scaled(off, &with_.moments[i * columns_], gradient_.data(), columns_);
    }
    double cost = 0.0;
    for (std::size_t i = 0; i < columns_; ++i) {
      const double off = static_cast<double>(row[with_.order[i]]) - static_cast<double>(rounded_[i]);
      cost += off * static_cast<double>(gradient_[i]);
    }
    return cost;
  }

  /// Moves each code to where the row's cost is least while all else stays. Whether one moved.
  bool move_codes() {
    bool has_moved = false;
    for (std::size_t i = 0; i < columns_; ++i) {
      const float* const h = &with_.moments[i * columns_];
      if (!(h[i] > 0.0F)) continue;
      const std::size_t column = with_.order[i];
      const std::size_t block = column / Codec::block_elements;
      const affine_grid grid =
          grid_of_element<Codec>(blocks_[block], column - block * Codec::block_elements);
      const std::int32_t code = grid.code_of(rounded_[i] + gradient_[i] / h[i]);
      const float moved = grid.value_of(code);
      if (moved == rounded_[i]) continue;
      subtract_scaled(moved - rounded_[i], h, gradient_.data(), columns_);
      codes_[i] = code;
      rounded_[i] = moved;
      has_moved = true;
    }
    return has_moved;
  }

  /// Gives each block the scale and min with which the row's cost is least while all else stays, as
  /// least squares under H says and float16 allows. Whether one changed.
  bool refit_scales() {
    bool has_changed = false;
    for (std::size_t first = 0; first < columns_;) {
      const std::size_t block = with_.order[first] / Codec::block_elements;
      const std::size_t count =
          std::min(columns_ - block * Codec::block_elements, Codec::block_elements);
      has_changed = refit_block(block, first, count) || has_changed;
      first += count;
    }
    return has_changed;
  }

  bool refit_block(std::size_t block, std::size_t first, std::size_t count) {
    const std::size_t first_column = block * Codec::block_elements;
    const float* const gradient = &gradient_[first];
    const auto h_from = [&](std::size_t i) { return &with_.moments[(first + i) * columns_ + first]; };
    for (std::size_t i = 0; i < count; ++i) {
      slopes_[i] = slopes_of_element<Codec>(blocks_[block], with_.order[first + i] - first_column,
                                            codes_[first + i]);
    }
    scale_error error{};
    for (std::size_t i = 0; i < count; ++i) {
      const float* const h = h_from(i);
      float by_scale = 0.0F;
      float by_min = 0.0F;
      for (std::size_t j = 0; j < count; ++j) {
        by_scale += h[j] * slopes_[j].of_scale;
        by_min += h[j] * slopes_[j].of_min;
      }
      const auto of_scale = static_cast<double>(slopes_[i].of_scale);
      const auto of_min = static_cast<double>(slopes_[i].of_min);
      error.scale_square += of_scale * static_cast<double>(by_scale);
      error.scale_by_min += of_scale * static_cast<double>(by_min);
      error.min_square += of_min * static_cast<double>(by_min);
      error.scale_slope += of_scale * static_cast<double>(gradient[i]);
      error.min_slope += of_min * static_cast<double>(gradient[i]);
    }
    typename Codec::block changed = blocks_[block];
    if (!refit_scale_and_min<Codec>(error, changed)) return false;
    // What the change does to the cost, of the values that are stored.
    for (std::size_t i = 0; i < count; ++i) {
      const affine_grid grid = grid_of_element<Codec>(changed, with_.order[first + i] - first_column);
      block_values_[i] = grid.value_of(codes_[first + i]);
      errors_[i] = block_values_[i] - rounded_[first + i];
    }
    double change = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      const float* const h = h_from(i);
      float by_change = 0.0F;
      for (std::size_t j = 0; j < count; ++j) by_change += h[j] * errors_[j];
      change += static_cast<double>(errors_[i]) *
                (static_cast<double>(by_change) - 2.0 * static_cast<double>(gradient[i]));
    }
    if (!(change < 0.0)) return false;
    blocks_[block] = changed;
    for (std::size_t i = 0; i < count; ++i) {
      rounded_[first + i] = block_values_[i];
      subtract_scaled(errors_[i], &with_.moments[(first + i) * columns_], gradient_.data(), columns_);
    }
    return true;
  }

  /// Puts the codes into the blocks, and the blocks into `to`.
  void store(std::span<std::byte> to) {
    std::vector<float>& in_order = gradient_;
    for (std::size_t i = 0; i < columns_; ++i) in_order[with_.order[i]] = rounded_[i];
    for (std::size_t block = 0; block < blocks_.size(); ++block) {
      const std::size_t first = block * Codec::block_elements;
      const std::size_t count = std::min(columns_ - first, Codec::block_elements);
      recode<Codec>(std::span<const float>(in_order).subspan(first, count), blocks_[block]);
      std::memcpy(to.data() + block * sizeof(typename Codec::block), &blocks_[block],
                  sizeof(typename Codec::block));
    }
  }

  const error_feedback& with_;
  std::string_view name_;
  std::size_t columns_;
  std::vector<float> values_;  ///< of the row, as rounding has changed them
  std::vector<std::int32_t> codes_;
  std::vector<float> rounded_;   ///< what the codes stand for
  std::vector<float> errors_;    ///< of the block at hand, over U's diagonal
  std::vector<float> gradient_;  ///< H (w - q)
  std::vector<typename Codec::block> blocks_;
  std::vector<float> block_values_;
  std::vector<float> block_importance_;
  std::array<scale_slopes, Codec::block_elements> slopes_;
  std::vector<typename Codec::block> kept_blocks_;  ///< as they were before a pass
  std::vector<float> kept_rounded_;
};

}  // namespace feedback

/// Packs a matrix, row-major and of `dimensions`, into `to`, as quantize() does and into as many bytes,
/// so that the error of its products with inputs like those of `with` is small rather than that of its
/// values: columns are rounded one after the other, and what rounding one changes of the output is made
/// up for by those that come later (GPTQ). A block's scales are chosen from the values as they are when
/// the block is reached, with the importance that later columns leave. Then each block's scale and min
/// are fitted to its codes by least squares, and each code is moved to where the output's error is
/// least, given all others; no such pass leaves a row with more error than it had.
///
/// Bytes do not depend on the executor. They may differ between machines where compilers fuse products
/// and sums otherwise.
///
/// Throws invalid_argument (sizes), unsupported_encoding (not takes_error_feedback()), not_representable.
/// The template parameter is no choice (core/architecture.hpp).
///
/// Source: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for
/// Generative Pre-trained Transformers", 2023, algorithm 1.
template <std::same_as<this_architecture> Architecture = this_architecture>
void quantize_with_feedback(encoding which, const shape& dimensions, std::span<const float> values,
                            std::span<std::byte> to, const error_feedback& with,
                            executor* executor = nullptr, std::string_view name = {}) {
  const auto cols = static_cast<std::size_t>(dimensions.cols());
  const auto rows = static_cast<std::size_t>(dimensions.rows());
  const auto needed = stored_bytes(which, dimensions);
  if (values.size() != dimensions.elements() || !needed || *needed != to.size() ||
      with.order.size() != cols || with.factor.size() != cols * cols ||
      with.moments.size() != cols * cols) {
    throw error(
        error_code::invalid_argument,
        {.tensor = std::string(name),
         .field = "sizes",
         .found = join_text({values.size(), " values, ", to.size(), " bytes, ", with.order.size(),
                             " columns in order, ", with.factor.size(), " and ", with.moments.size(),
                             " of their moments"}),
         .expected = join_text({"those of ", to_string(which), " of ", dimensions.to_string()})});
  }
  if (!takes_error_feedback(which, cols)) {
    throw error(error_code::unsupported_encoding,
                {.tensor = std::string(name),
                 .field = "encoding",
                 .found = std::string(to_string(which)),
                 .expected = "blocks of a row with scale or scale and min"});
  }
  if (rows == 0 || cols == 0) return;
  visit_codec(which, name, [&]<Codec Codec>(Codec) {
    if constexpr (AffineCodec<Codec>) {
      constexpr std::size_t task_rows = 16;
      const std::size_t row_bytes = to.size() / rows;
      run_tasks(executor, (rows + task_rows - 1) / task_rows, [&](std::size_t task) {
        feedback::row_packer<Codec> packer(with, name);
        for (std::size_t row = task * task_rows; row < std::min(rows, (task + 1) * task_rows); ++row) {
          packer.pack(values.subspan(row * cols, cols), to.subspan(row * row_bytes, row_bytes));
        }
      });
    }
  });
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
