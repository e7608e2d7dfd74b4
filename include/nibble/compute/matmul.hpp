#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// How the activations are treated.
enum class matmul_mode : std::uint8_t {
  exact,  ///< as f32: the result of multiplying by the dequantized weights, to f32 rounding
};

/// What matmul may be told.
struct matmul_options {
  matmul_mode mode = matmul_mode::exact;
  executor* on = nullptr;  ///< null: the calling thread
};

inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Weight rows expanded together, and the elements of each: a panel of 64 KiB, which the second-level
/// cache holds while all activations pass over it.
inline constexpr std::size_t panel_rows = 16;
inline constexpr std::size_t panel_cols = 1024;

/// y[m][n] (+)= sum over k of x[m][k] * panel[n][k] for Rows activations and Cols weights. Panel rows
/// lie panel_cols apart and are zero from `count` to the next whole vector; x rows end at `count`, and
/// their last partial vector is read through `tails`, zero-padded.
template <class Architecture, std::size_t Rows, std::size_t Cols>
void multiply_tile(const float* x, std::size_t x_stride, const float* tails, const float* panel,
                   std::size_t count, float* y, std::size_t y_stride, bool add) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  std::array<std::array<floats, Cols>, Rows> sums;
  for (auto& row : sums) row.fill(floats(0.0F));
  std::size_t k = 0;
  const auto step = [&](const float* from, std::size_t from_stride) {
    std::array<floats, Cols> weights;
    for (std::size_t n = 0; n < Cols; ++n) {
      weights[n] = simd::load<Architecture>(panel + n * panel_cols + k);
    }
    for (std::size_t m = 0; m < Rows; ++m) {
      const floats activation = simd::load<Architecture>(from + m * from_stride);
      for (std::size_t n = 0; n < Cols; ++n) sums[m][n] = fma(activation, weights[n], sums[m][n]);
    }
  };
  for (; k + width <= count; k += width) step(x + k, x_stride);
  if (k < count) step(tails, width);
  for (std::size_t m = 0; m < Rows; ++m) {
    for (std::size_t n = 0; n < Cols; ++n) {
      std::array<float, width> lanes;
      sums[m][n].store_unaligned(lanes.data());
      for (std::size_t half = width / 2; half != 0; half /= 2) {
        for (std::size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
      }
      float& to = y[m * y_stride + n];
      to = add ? to + lanes[0] : lanes[0];
    }
  }
}

/// The products of all M activations with one task's weight rows: first_row .. first_row + row_count,
/// at most panel_rows of them.
template <class Architecture, Codec Codec>
void multiply_panel(const tensor_view& weights, std::uint64_t first_row, std::size_t row_count,
                    const float* x, std::size_t x_rows, float* y, std::span<float> panel) noexcept {
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t tile_rows = 4;
  constexpr std::size_t tile_cols = 2;
  const auto cols = static_cast<std::size_t>(weights.cols());
  const auto y_stride = static_cast<std::size_t>(weights.rows());
  y += first_row;
  for (std::size_t k = 0; k < cols; k += panel_cols) {
    const std::size_t count = std::min(panel_cols, cols - k);
    const std::size_t padded = (count + width - 1) / width * width;
    for (std::size_t n = 0; n < row_count; ++n) {
      const auto [run, first] = position_of_row<Codec>(weights, first_row + n);
      float* const row = panel.data() + n * panel_cols;
      decode_run<Architecture, Codec>(run, first + k, count, row);
      std::fill(row + count, row + padded, 0.0F);
    }
    for (std::size_t m = 0; m < x_rows; m += tile_rows) {
      const std::size_t rows = std::min(tile_rows, x_rows - m);
      const float* const from = x + m * cols + k;
      std::array<float, tile_rows * width> tails{};
      const std::size_t tail = count % width;
      for (std::size_t i = 0; i < rows; ++i) {
        std::copy_n(from + i * cols + count - tail, tail, tails.data() + i * width);
      }
      const auto multiply = [&]<std::size_t Rows, std::size_t Cols>(std::size_t m_at,
                                                                    std::size_t n_at) {
        multiply_tile<Architecture, Rows, Cols>(from + m_at * cols, cols, tails.data() + m_at * width,
                                                panel.data() + n_at * panel_cols, count,
                                                y + (m + m_at) * y_stride + n_at, y_stride, k != 0);
      };
      std::size_t n = 0;
      for (; n + tile_cols <= row_count; n += tile_cols) {
        if (rows == tile_rows) {
          multiply.template operator()<tile_rows, tile_cols>(0, n);
        } else {
          for (std::size_t i = 0; i < rows; ++i) multiply.template operator()<1, tile_cols>(i, n);
        }
      }
      if (n < row_count) {
        for (std::size_t i = 0; i < rows; ++i) multiply.template operator()<1, 1>(i, n);
      }
    }
  }
}

}  // namespace kernel

/// y[M x N] = x[M x K] * w[N x K]^T, all row-major: w is [outputs, inputs], x one row an input vector,
/// y one row its outputs.
///
/// K is w.cols(), N w.rows(), M follows from the sizes of x and y; any of them may be 0 or 1, and K
/// need not be a multiple of a block. The spans do not overlap each other or the weight, and need no
/// alignment beyond their type's. The weight is expanded a panel at a time, in 64 KiB for each task
/// that runs.
///
/// exact: |y - y'| <= (K + 2) * 2^-24 * sum |x_k w_k| against the real product y' of x and the
/// dequantized weights (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), to first order
/// and barring underflow, for finite numbers. The same bits for every executor; they may differ between
/// instruction sets.
///
/// Throws unsupported_encoding, invalid_argument (sizes).
template <class Architecture = default_architecture>
void matmul(const tensor_view& w, std::span<const float> x, std::span<float> y,
            const matmul_options& options = {}) {
  const encoding which = w.encoding();
  const std::uint64_t inputs = w.cols();
  const std::uint64_t outputs = w.rows();
  std::uint64_t x_rows = 0;
  if (inputs != 0) {
    x_rows = x.size() / inputs;
  } else if (outputs != 0) {
    x_rows = y.size() / outputs;
  }
  const auto x_elements = checked_multiply(x_rows, inputs);
  const auto y_elements = checked_multiply(x_rows, outputs);
  if (x_elements != x.size() || y_elements != y.size()) {
    throw error(error_code::invalid_argument,
                {.tensor = std::string(w.name()),
                 .field = "sizes of x and y",
                 .found = fmt::format("{} and {}", x.size(), y.size()),
                 .expected = fmt::format("M x {} and M x {}", inputs, outputs)});
  }
  if (y.empty()) return;
  if (inputs == 0) {
    std::ranges::fill(y, 0.0F);
    return;
  }
  if constexpr (PickedAtRunTime<Architecture>) {
    require_codec(which, w.name());
    Architecture::kernels().matmul(w, x, y, options);
  } else {
    const auto tasks = static_cast<std::size_t>(divide_round_up(outputs, kernel::panel_rows));
    visit_codec(which, w.name(), [&]<Codec Codec>(Codec) {
      run_tasks(options.on, tasks, [&](std::size_t task) {
        const std::uint64_t first_row = task * kernel::panel_rows;
        const auto rows =
            static_cast<std::size_t>(std::min<std::uint64_t>(kernel::panel_rows, outputs - first_row));
        std::vector<float> panel(rows * kernel::panel_cols);
        kernel::multiply_panel<Architecture, Codec>(w, first_row, rows, x.data(),
                                                    static_cast<std::size_t>(x_rows), y.data(), panel);
      });
    });
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
