#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/float_panel_products.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/repacked_weight.hpp>
#include <nibble/kernel/small_batch_products.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What matmul may be told.
struct matmul_options {
  matmul_mode mode = matmul_mode::exact;
  executor* on = nullptr;             ///< null: the calling thread
  std::span<const float> bias{};      ///< added to every row of y: one for each output, or none
  std::size_t x_stride_elements = 0;  ///< from one row of x to the next; 0: rows lie end to end
  std::size_t y_stride_elements = 0;  ///< the same for y
  /// Memory to work in, matmul_scratch_bytes() of it: nothing is allocated then. Empty: it is
  /// allocated.
  std::span<std::byte> scratch{};
};

/// One of several weights that are multiplied with the same activations.
struct matmul_product {
  const tensor_view& w;
  std::span<float> y;
  std::span<const float> bias{};
  std::size_t y_stride_elements = 0;  ///< 0: rows lie end to end
  /// Made from w by repack(), or null: in its mode products are taken from it.
  const repacked_weight* repacked = nullptr;
};

/// A product whose sizes have been proved to agree, as the doors hand it to the kernels.
struct proved_product {
  const tensor_view& w;
  const float* x;
  std::size_t x_stride_elements;
  std::size_t x_rows;
  float* y;
  std::size_t y_stride_elements;
  const float* bias;                ///< or null
  const repacked_weight* repacked;  ///< or null
};

/// The most that matmul works in besides stack: prepared activations.
inline constexpr std::size_t max_matmul_scratch_bytes = std::size_t{1} << 20U;

inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Rows of activations from which panels beat products with the blocks in place. Measured: a panel
/// costs a pass over its weights, which pays from here on; of numbers, that have to be transposed and
/// not just unpacked, later.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr std::size_t least_panel_rows() noexcept {
  if constexpr (std::same_as<Value, float>) return PlainCodec<Codec> ? 40 : 16;
  return std::same_as<Value, std::int8_t> ? 13 : 16;
}
/// The most rows of f32 that any encoding has row products of.
inline constexpr std::size_t most_float_rows = least_panel_rows<f32, float>() - 1;

/// Multiplications that are worth handing over to another thread.
inline constexpr std::uint64_t least_task_products = 1U << 18U;

/// Weight rows a task: enough work to be worth handing over, and whole panels.
[[nodiscard]] inline std::uint64_t rows_per_task(std::uint64_t cols, std::size_t x_rows) noexcept {
  constexpr std::uint64_t unit = 32;
  const std::uint64_t a_row = std::max<std::uint64_t>(1, cols * x_rows);
  return std::max<std::uint64_t>(1, least_task_products / a_row / unit) * unit;
}

/// Calls body(first_row, row_count) for all weight rows, in tasks.
template <class Body>
void for_weight_rows(executor* on, const proved_product& of, Body&& body) {
  const std::uint64_t outputs = of.w.rows();
  const std::uint64_t unit = rows_per_task(of.w.cols(), of.x_rows);
  run_tasks(on, static_cast<std::size_t>(divide_round_up(outputs, unit)), [&](std::size_t task) {
    const std::uint64_t first = task * unit;
    body(first, static_cast<std::size_t>(std::min(unit, outputs - first)));
  });
}

/// Rows of activations that are prepared together, so that they fit the scratch.
template <Activation Value>
[[nodiscard]] std::size_t prepared_rows(std::size_t x_rows, std::size_t cols) noexcept {
  const std::size_t fitting = max_matmul_scratch_bytes / prepared_row_bytes<Value>(cols);
  return std::clamp<std::size_t>(fitting, 1, std::max<std::size_t>(1, x_rows));
}

/// Rows and columns of activations that are interleaved together, for panels of floats, so that they
/// fit the scratch.
struct interleaved_size {
  std::size_t rows;
  std::size_t cols;

  [[nodiscard]] constexpr std::size_t bytes() const noexcept { return rows * cols * sizeof(float); }
};
[[nodiscard]] constexpr interleaved_size interleaved_size_of(std::size_t x_rows,
                                                             std::size_t cols) noexcept {
  constexpr std::size_t most = max_matmul_scratch_bytes / sizeof(float) / interleaved_cols;
  static_assert(most >= interleaved_rows);
  const std::size_t rows = std::clamp<std::size_t>(x_rows, 1, interleaved_rows);
  return {rows, std::min(cols, most / rows * interleaved_cols)};
}

/// Encodings whose products are taken from the blocks in place, or from the numbers.
template <Codec Codec>
[[nodiscard]] constexpr bool has_small_batch_products() noexcept {
  if constexpr (PlainCodec<Codec>) return Codec::can_pack;
  return true;
}

/// How a product is taken: of activations prepared as that, in tiles of so many rows.
struct treatment {
  activation_format values = activation_format::f32_blocks;
  activation_layout layout{};
  std::size_t tile_rows = 0;
  bool has_panels = false;  ///< of codes or floats
  friend bool operator==(const treatment&, const treatment&) = default;
};

/// Whether products are to be taken from what a weight was repacked to, by kernels of an architecture
/// for products with Value.
template <class Architecture, Activation Value>
[[nodiscard]] bool uses_repacked(const proved_product& of, matmul_mode mode) noexcept {
  return of.repacked != nullptr && of.repacked->mode() == mode &&
         of.repacked->panels().lanes == simd::lanes<simd::integer_architecture<Architecture>> &&
         of.repacked->panels().lane_code_bytes == sizeof(Value);
}

/// The one place where the way to multiply is chosen, by mode, encoding and rows of activations:
///
///   exact, up to 15 rows         row products: each block is taken apart once for all rows
///   exact, more                  panels of floats: decoding once for all rows costs less than a pass
///                                for every 15 of them; of f32, f16 and bf16 from 40 rows on
///   int16 (int8), up to 15 (12)  row products of codes
///   int16 and int8, more         panels of codes, as is what was repacked for any number of rows
///
/// Weights that are not in blocks of codes by rows, and whole and double numbers, have but panels of
/// floats.
template <class Architecture, Codec Codec>
[[nodiscard]] treatment choose_treatment(const proved_product& of, matmul_mode mode) noexcept {
  const treatment panels_of_floats{
      activation_format::f32_interleaved, {}, float_tile_rows<Architecture>, true};
  if (!rows_are_blocks<Codec>(of.w)) return panels_of_floats;
  const auto choose = [&]<Activation Value>(Value) -> treatment {
    using tag = simd::block_architecture<Architecture>;
    if (of.x_rows >= least_panel_rows<Codec, Value>() || uses_repacked<Architecture, Value>(of, mode)) {
      return {block_format_of<Value>(), {activation_order_of<Codec>(), 1}, code_tile_rows, true};
    }
    return {block_format_of<Value>(), small_batch_layout<tag, Codec, Value>(), max_small_batch_rows<Value>,
            false};
  };
  switch (activation_format_for<Architecture, Codec>(of.w, mode)) {
    case activation_format::int8_codes: return choose(std::int8_t{});
    case activation_format::int16_codes: return choose(std::int16_t{});
    default: break;
  }
  const bool is_small = of.x_rows < least_panel_rows<Codec, float>();
  return is_small && has_small_batch_products<Codec>() ? choose(float{}) : panels_of_floats;
}

template <class Architecture>
[[nodiscard]] treatment treatment_of(const proved_product& of, matmul_mode mode) {
  treatment chosen{};
  visit_codec(of.w.encoding(), of.w.name(),
              [&]<Codec Codec>(Codec) { chosen = choose_treatment<Architecture, Codec>(of, mode); });
  return chosen;
}

/// multiply_small_batch of an encoding; what is built on it is compiled once, and not for each.
template <Activation Value>
using small_batch_function = void (*)(const tensor_view&, row_range, const activation_tile<Value>&,
                                      const product_output&) noexcept;

/// The product of prepared activations, which are rows m .. m + x.rows of them all, with a weight whose
/// treatment they are.
template <class Architecture, Activation Value>
void multiply_prepared(const proved_product& of, const matmul_options& options,
                       const treatment& treated, std::size_t m, const prepared_activations<Value>& x) {
  using panel_architecture = simd::integer_architecture<Architecture>;
  small_batch_function<Value> multiply = nullptr;
  code_panel_source<panel_architecture, Value> source{};
  visit_codec(of.w.encoding(), of.w.name(), [&]<Codec Codec>(Codec) {
    if constexpr (has_code_products<Architecture, Codec, Value>()) {
      multiply = &multiply_small_batch<simd::block_architecture<Architecture>, Codec, Value>;
      source = code_panel_source_of<panel_architecture, Codec, Value>();
    } else if constexpr (std::same_as<Value, float> && has_small_batch_products<Codec>()) {
      multiply = &multiply_small_batch<Architecture, Codec, Value>;
    }
  });
  for_weight_rows(options.on, of, [&](std::uint64_t first, std::size_t count) {
    product_output y{of.y + m * of.y_stride_elements, of.y_stride_elements, of.bias};
    if constexpr (!std::same_as<Value, float>) {
      if (uses_repacked<Architecture, Value>(of, options.mode)) {
        multiply_repacked<panel_architecture>(of.repacked->panels(), first, count, x, y);
        return;
      }
      if (treated.has_panels) {
        multiply_code_panels<panel_architecture>(source, of.w, {first, count}, x, y);
        return;
      }
    }
    for (std::size_t row = 0; row < x.rows;) {
      const std::size_t rows = x.tile_rows(row);
      multiply(of.w, {first, count}, x.tile(row), y);
      y.y += rows * y.stride_elements;
      row += rows;
    }
  });
}

/// Those of the products that ask for one treatment, after preparing the activations.
template <class Architecture, Activation Value>
void multiply_treated(std::span<const proved_product> products, const treatment& treated,
                      const matmul_options& options, std::span<std::byte> scratch) {
  const proved_product& any = products.front();
  const auto cols = static_cast<std::size_t>(any.w.cols());
  const std::size_t most_rows = prepared_rows<Value>(any.x_rows, cols);
  for (std::size_t m = 0; m < any.x_rows;) {
    const std::size_t rows = tile_rows_at(m, any.x_rows, most_rows);
    const auto x = place_activations<Value>(scratch.data(), rows, treated.tile_rows, cols);
    executor* const on = rows * cols < least_task_products ? nullptr : options.on;
    run_tasks(on, rows, [&](std::size_t row) {
      prepare_row<Architecture>(any.x + (m + row) * any.x_stride_elements, cols, treated.layout, row,
                                x);
    });
    for (const proved_product& of : products) {
      if (treatment_of<Architecture>(of, options.mode) != treated) continue;
      multiply_prepared<Architecture>(of, options, treated, m, x);
    }
    m += rows;
  }
}

/// The same for those that are taken from panels of floats.
template <class Architecture>
void multiply_interleaved(std::span<const proved_product> products, const treatment& treated,
                          const matmul_options& options, std::span<std::byte> scratch) {
  const proved_product& any = products.front();
  const auto cols = static_cast<std::size_t>(any.w.cols());
  const interleaved_size most = interleaved_size_of(any.x_rows, cols);
  for (std::size_t m = 0; m < any.x_rows;) {
    const std::size_t rows = tile_rows_at(m, any.x_rows, most.rows);
    for (std::size_t first = 0; first < cols; first += most.cols) {
      const interleaved_activations x{rows, treated.tile_rows, first, std::min(most.cols, cols - first),
                                      reinterpret_cast<float*>(scratch.data())};
      executor* const on = rows * x.cols < least_task_products ? nullptr : options.on;
      run_tasks(on, x.tiles(), [&](std::size_t tile) {
        interleave_tile(any.x + m * any.x_stride_elements, any.x_stride_elements, tile, x);
      });
      for (const proved_product& of : products) {
        if (treatment_of<Architecture>(of, options.mode) != treated) continue;
        const auto source = float_panel_source_of<Architecture>(of.w);
        const product_output y{of.y + m * of.y_stride_elements, of.y_stride_elements, of.bias};
        for_weight_rows(options.on, of, [&](std::uint64_t first_row, std::size_t count) {
          multiply_float_panels<Architecture>(source, of.w, {first_row, count}, x, y);
        });
      }
    }
    m += rows;
  }
}

/// The products of one x, with the memory that matmul_scratch_bytes asks for, aligned to 64 bytes.
template <class Architecture>
void multiply_proved(std::span<const proved_product> products, const matmul_options& options,
                     std::span<std::byte> scratch) {
  for (std::size_t i = 0; i < products.size(); ++i) {
    const proved_product& of = products[i];
    const treatment treated = treatment_of<Architecture>(of, options.mode);
    const auto is_treated_alike = [&](const proved_product& other) {
      return treatment_of<Architecture>(other, options.mode) == treated;
    };
    if (std::ranges::any_of(products.first(i), is_treated_alike)) continue;
    switch (treated.values) {
      case activation_format::f32_interleaved:
        multiply_interleaved<Architecture>(products.subspan(i), treated, options, scratch);
        break;
      case activation_format::f32_blocks:
        multiply_treated<Architecture, float>(products.subspan(i), treated, options, scratch);
        break;
      case activation_format::int16_codes:
        multiply_treated<Architecture, std::int16_t>(products.subspan(i), treated, options, scratch);
        break;
      default:
        multiply_treated<Architecture, std::int8_t>(products.subspan(i), treated, options, scratch);
        break;
    }
  }
}

/// Rows of a matrix of `elements` with `cols` columns, its rows stride apart and the last one as long
/// as the others or not; nothing where it is no such matrix.
[[nodiscard]] inline std::optional<std::size_t> rows_in(std::size_t elements, std::uint64_t cols,
                                                        std::size_t stride) noexcept {
  if (stride < cols) return std::nullopt;
  if (elements == 0) return 0;
  if (stride == 0) return std::nullopt;
  if (elements % stride == 0) return elements / stride;
  if (elements % stride == cols) return elements / stride + 1;
  return std::nullopt;
}

/// Throws invalid_argument unless x, y and bias agree with the weight.
[[nodiscard]] inline proved_product prove_product(const matmul_product& of, std::span<const float> x,
                                                  const matmul_options& options) {
  const std::uint64_t inputs = of.w.cols();
  const std::uint64_t outputs = of.w.rows();
  const auto refuse = [&](std::string_view field, std::string found, std::string expected) {
    throw error(error_code::invalid_argument, {.tensor = std::string(of.w.name()),
                                               .field = std::string(field),
                                               .found = std::move(found),
                                               .expected = std::move(expected)});
  };
  const auto stride_of = [&](std::size_t stride, std::uint64_t cols) {
    return stride == 0 ? static_cast<std::size_t>(cols) : stride;
  };
  const std::size_t x_stride = stride_of(options.x_stride_elements, inputs);
  const std::size_t y_stride = stride_of(of.y_stride_elements, outputs);
  const auto x_rows = rows_in(x.size(), inputs, x_stride);
  const auto y_rows = rows_in(of.y.size(), outputs, y_stride);
  // Without inputs, or without outputs, the other side alone says how many rows there are.
  const bool x_agrees = inputs == 0 ? x.empty() : x_rows.has_value();
  const bool y_agrees = outputs == 0 ? of.y.empty() : y_rows.has_value();
  if (!x_agrees || !y_agrees || (inputs != 0 && outputs != 0 && x_rows != y_rows)) {
    std::string strides;
    if (options.x_stride_elements != 0 || of.y_stride_elements != 0) {
      strides = join_text({", rows ", x_stride, " and ", y_stride, " apart"});
    }
    refuse("sizes of x and y", join_text({x.size(), " and ", of.y.size()}),
           join_text({"M x ", inputs, " and M x ", outputs, strides}));
  }
  if (!of.bias.empty() && of.bias.size() != outputs) {
    refuse("bias", std::to_string(of.bias.size()), join_text({outputs, " or none"}));
  }
  if (of.repacked != nullptr) {
    const tensor_view& own = of.repacked->weight();
    if (own.bytes().data() != of.w.bytes().data() || own.encoding() != of.w.encoding() ||
        own.rows() != outputs || own.cols() != inputs) {
      refuse("repacked", join_text({"made from '", own.name(), "'"}), "made from this weight");
    }
  }
  return {of.w,
          x.data(),
          x_stride,
          outputs == 0 ? 0 : y_rows.value_or(0),
          of.y.data(),
          y_stride,
          of.bias.empty() ? nullptr : of.bias.data(),
          of.repacked};
}

}  // namespace kernel

/// Bytes that options.scratch must have for `x_rows` rows of `cols` activations: at most
/// max_matmul_scratch_bytes, or what one row takes where that is more.
[[nodiscard]] constexpr std::size_t matmul_scratch_bytes(std::uint64_t cols, std::size_t x_rows,
                                                         matmul_mode mode) noexcept {
  const auto count = static_cast<std::size_t>(cols);
  const auto bytes_of = [&]<kernel::Activation Value>(Value) {
    return kernel::prepared_rows<Value>(x_rows, count) * kernel::prepared_row_bytes<Value>(count) + 63;
  };
  // Weights that have but panels ask for these with few rows too.
  std::size_t exact = kernel::interleaved_size_of(x_rows, count).bytes() + 63;
  if (x_rows <= kernel::most_float_rows) exact = std::max(exact, bytes_of(float{}));
  if (mode == matmul_mode::exact) return exact;
  return std::max({exact, bytes_of(std::int16_t{}), bytes_of(std::int8_t{})});
}

/// y[M x N] = x[M x K] * w[N x K]^T (+ bias[N]), all row-major: w is [outputs, inputs], x one row an
/// input vector, y one row its outputs.
///
/// K is w.cols(), N w.rows(), M follows from the sizes of x and y; any of them may be 0 or 1, and K
/// need not be a multiple of a block. With strides, sizes are M * stride or (M - 1) * stride + K (N).
/// The spans do not overlap each other or the weight, and need no alignment beyond their type's.
/// Besides 96 KiB of stack for each task that runs, memory is options.scratch or one allocation of as
/// much.
///
/// Against the real product y' of x and the dequantized weights, for finite numbers, to first order and
/// barring underflow (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), with q the codes of
/// the weights:
///
///   exact   |y - y'| <= (K + 8) * 2^-24 * sum |x_k| (|scale_k q_k| + |min_k|), the min of encodings
///           whose codes count from a zero being -zero * scale, as -8 * scale for apr_q4; sum |x_k w_k|
///           for weights without codes and with more than 3 rows of x
///   int16   |y - y'| <= that + sum over blocks of max|x| / 64000 * sum |w_k|
///   int8    |y - y'| <= that + sum over blocks of max|x| / 253 * sum |w_k|
///
/// A row of x that holds NaN or an infinity has outputs that are infinite or NaN (NaN where it holds
/// NaN), and no other row has. A weight that is infinite or NaN, as the scales of a file that nobody
/// verified may make it, has outputs that are infinite or NaN (which of both is open for weights with
/// scales), and no other weight has. The same bits for every executor; they may differ between
/// instruction sets, and between values of M.
///
/// Throws unsupported_encoding, invalid_argument (sizes, strides, bias, scratch, repacked).
template <class Architecture = default_architecture>
void matmul(std::span<const matmul_product> products, std::span<const float> x,
            const matmul_options& options = {}) {
  std::vector<proved_product> proved;
  proved.reserve(products.size());
  for (const matmul_product& each : products) {
    const encoding which = each.w.encoding();
    require_codec(which, each.w.name());
    if (each.w.cols() != products.front().w.cols()) {
      throw error(error_code::invalid_argument,
                  {.tensor = std::string(each.w.name()),
                   .field = "inputs",
                   .found = std::to_string(each.w.cols()),
                   .expected = join_text(
                       {products.front().w.cols(), ", as '", products.front().w.name(), "' has"})});
    }
    const proved_product of = kernel::prove_product(each, x, options);
    if (of.x_rows == 0) continue;
    if (of.w.cols() != 0) {
      proved.push_back(of);
      continue;
    }
    for (std::size_t m = 0; m < of.x_rows; ++m) {
      for (std::uint64_t n = 0; n < of.w.rows(); ++n) {
        of.y[m * of.y_stride_elements + n] = of.bias != nullptr ? of.bias[n] : 0.0F;
      }
    }
  }
  if (proved.empty()) return;
  const std::size_t x_rows = proved.front().x_rows;
  const std::size_t needed = matmul_scratch_bytes(proved.front().w.cols(), x_rows, options.mode);
  std::vector<std::byte> own;
  std::span<std::byte> scratch = options.scratch;
  if (scratch.empty()) {
    own.resize(needed);
    scratch = own;
  }
  if (scratch.size() < needed) {
    throw error(error_code::invalid_argument, {.tensor = std::string(proved.front().w.name()),
                                               .field = "scratch",
                                               .found = join_text({scratch.size(), " bytes"}),
                                               .expected = join_text({"at least ", needed})});
  }
  const std::size_t skipped = (64 - reinterpret_cast<std::uintptr_t>(scratch.data()) % 64) % 64;
  scratch = scratch.subspan(std::min(skipped, scratch.size()));

  if constexpr (PickedAtRunTime<Architecture>) {
    Architecture::kernels().matmul(proved, options, scratch);
  } else {
    kernel::multiply_proved<Architecture>(proved, options, scratch);
  }
}

/// As above, one weight; the strides are options', and the bias.
template <class Architecture = default_architecture>
void matmul(const tensor_view& w, std::span<const float> x, std::span<float> y,
            const matmul_options& options = {}) {
  const matmul_product product{w, y, options.bias, options.y_stride_elements};
  matmul<Architecture>(std::span(&product, 1), x, options);
}
/// As above.
template <class Architecture = default_architecture>
void matmul(const repacked_weight& w, std::span<const float> x, std::span<float> y,
            const matmul_options& options = {}) {
  const matmul_product product{w.weight(), y, options.bias, options.y_stride_elements, &w};
  matmul<Architecture>(std::span(&product, 1), x, options);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
