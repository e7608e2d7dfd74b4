#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/multiply.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/kernel/matmul_mode.hpp>

namespace nibble {

/// What matmul of one weight may be told.
struct matmul_options {
  matmul_mode mode = matmul_mode::exact;  ///< how activations are treated
  nibble::executor* executor = nullptr;   ///< runs the work; null: the calling thread does
  std::span<const float> bias{};          ///< added to every row of y: one for each output, or none
  std::size_t x_stride_elements = 0;      ///< from one row of x to the next; 0: rows lie end to end
  std::size_t y_stride_elements = 0;      ///< the same for y
  /// Memory to work in, matmul_scratch_bytes() of it: nothing is allocated then. Empty: it is
  /// allocated.
  std::span<std::byte> scratch{};
};

/// What matmul of a repacked weight may be told; the mode is the repacked weight's.
struct repacked_matmul_options {
  nibble::executor* executor = nullptr;  ///< runs the work; null: the calling thread does
  std::span<const float> bias{};         ///< added to every row of y: one for each output, or none
  std::size_t x_stride_elements = 0;     ///< from one row of x to the next; 0: rows lie end to end
  std::size_t y_stride_elements = 0;     ///< the same for y
  std::span<std::byte> scratch{};        ///< as in matmul_options
};

/// What matmul of several weights may be told; what belongs to one of them is in its matmul_product.
struct joint_matmul_options {
  matmul_mode mode = matmul_mode::exact;  ///< how activations are treated
  nibble::executor* executor = nullptr;   ///< runs the work; null: the calling thread does
  std::size_t x_stride_elements = 0;      ///< from one row of x to the next; 0: rows lie end to end
  std::span<std::byte> scratch{};         ///< as in matmul_options, whatever the number of weights
};

/// One of several weights that are multiplied with the same activations.
struct matmul_product {
  tensor_view w;                      ///< its bytes, and its name, outlive the call
  std::span<float> y;                 ///< [M x N], written
  std::span<const float> bias{};      ///< added to every row of y: one for each output, or none
  std::size_t y_stride_elements = 0;  ///< from one row of y to the next; 0: rows lie end to end
  /// Made from w by repack() for the mode of the call, or null: the product is taken from it.
  const repacked_weight* repacked = nullptr;
};

/// Bytes of scratch that are enough for every matmul whose rows of x are at most
/// max_matmul_scratch_cols long, in every mode, for any number of rows and of weights. Longer rows take
/// matmul_scratch_bytes().
inline constexpr std::size_t max_matmul_scratch_bytes =
    kernel::max_prepared_bytes + kernel::prepared_alignment_bytes;
/// The longest rows of x that max_matmul_scratch_bytes are enough for.
inline constexpr std::size_t max_matmul_scratch_cols = 245'760;
static_assert(kernel::prepared_row_bytes<float>(max_matmul_scratch_cols) <= kernel::max_prepared_bytes);

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {

/// Bytes of scratch that matmul needs for `x_rows` rows of `cols` activations in a mode, whatever the
/// weights: at most max_matmul_scratch_bytes, or what one row takes where that is more.
[[nodiscard]] constexpr std::size_t matmul_scratch_bytes(std::uint64_t cols, std::size_t x_rows,
                                                         matmul_mode mode) noexcept {
  if (cols == 0 || x_rows == 0) return 0;
  constexpr std::size_t alignment = kernel::prepared_alignment_bytes - 1;
  const auto count = static_cast<std::size_t>(cols);
  const auto bytes_of = [&]<kernel::Activation Value>(Value) {
    return kernel::prepared_rows<Value>(x_rows, count) * kernel::prepared_row_bytes<Value>(count) +
           alignment;
  };
  // Weights that only float panels can multiply take these with few rows too.
  std::size_t exact = kernel::interleaved_size_of<float>(x_rows, count).bytes() + alignment;
  if (x_rows <= kernel::most_float_rows) exact = std::max(exact, bytes_of(float{}));
  if (mode == matmul_mode::exact) return exact;
  return std::max({exact, bytes_of(std::int16_t{}), bytes_of(std::int8_t{})});
}

namespace kernel {

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

/// A stride, or where it is 0 that of rows which lie end to end.
[[nodiscard]] inline std::size_t stride_or_dense(std::size_t stride, std::uint64_t cols) noexcept {
  return stride == 0 ? static_cast<std::size_t>(cols) : stride;
}

[[noreturn]] inline void refuse_product(const tensor_view& weight, std::string_view field,
                                        std::string found, std::string expected) {
  throw error(error_code::invalid_argument, {.tensor = std::string(weight.name()),
                                             .field = std::string(field),
                                             .found = std::move(found),
                                             .expected = std::move(expected)});
}

// Templates, so that units that do not multiply do not compile them.

/// Throws unsupported_encoding, and invalid_argument unless a product agrees with the activations, with
/// the call's first product and with what was repacked. Returns the number of rows of y.
template <class Unit = this_architecture>
[[nodiscard]] std::size_t check_product(const matmul_product& product, const tensor_view& first_weight,
                                        std::span<const float> x, const joint_matmul_options& options) {
  const tensor_view& weight = product.w;
  require_codec(weight.encoding(), weight.name());
  const std::uint64_t inputs = weight.cols();
  const std::uint64_t outputs = weight.rows();
  if (inputs != first_weight.cols()) {
    refuse_product(weight, "inputs", std::to_string(inputs),
                   join_text({first_weight.cols(), ", as '", first_weight.name(), "' has"}));
  }
  const std::size_t x_stride = stride_or_dense(options.x_stride_elements, inputs);
  const std::size_t y_stride = stride_or_dense(product.y_stride_elements, outputs);
  const auto x_rows = rows_in(x.size(), inputs, x_stride);
  const auto y_rows = rows_in(product.y.size(), outputs, y_stride);
  // Without inputs, or without outputs, the other side alone says how many rows there are.
  const bool x_agrees = inputs == 0 ? x.empty() : x_rows.has_value();
  const bool y_agrees = outputs == 0 ? product.y.empty() : y_rows.has_value();
  if (!x_agrees || !y_agrees || (inputs != 0 && outputs != 0 && x_rows != y_rows)) {
    std::string strides;
    if (options.x_stride_elements != 0 || product.y_stride_elements != 0) {
      strides = join_text({", rows ", x_stride, " and ", y_stride, " apart"});
    }
    refuse_product(weight, "sizes of x and y", join_text({x.size(), " and ", product.y.size()}),
                   join_text({"M x ", inputs, " and M x ", outputs, strides}));
  }
  if (!product.bias.empty() && product.bias.size() != outputs) {
    refuse_product(weight, "bias", std::to_string(product.bias.size()),
                   join_text({outputs, " or none"}));
  }
  if (product.repacked != nullptr) {
    const tensor_view& source = product.repacked->weight();
    if (source.data() != weight.data() || source.encoding() != weight.encoding() ||
        source.rows() != outputs || source.cols() != inputs ||
        source.block_row_stride_bytes() != weight.block_row_stride_bytes()) {
      refuse_product(weight, "repacked", join_text({"made from '", source.name(), "'"}),
                     "made from this weight");
    }
    if (product.repacked->mode() != options.mode) {
      refuse_product(weight, "repacked", join_text({"made for ", to_string(product.repacked->mode())}),
                     join_text({"made for ", to_string(options.mode), ", the mode of the call"}));
    }
  }
  return outputs == 0 ? 0 : y_rows.value_or(0);
}

/// A product that check_product() has passed, as kernels take it.
template <class Unit = this_architecture>
[[nodiscard]] checked_product to_checked(const matmul_product& product) noexcept {
  return {&product.w, product.y.data(), stride_or_dense(product.y_stride_elements, product.w.rows()),
          product.bias.empty() ? nullptr : product.bias.data(),
          product.repacked == nullptr ? nullptr : &product.repacked->panels()};
}

/// The product of a weight without inputs: y is the bias, or zero.
template <class Unit = this_architecture>
void fill_with_bias(const matmul_product& product) noexcept {
  const auto outputs = static_cast<std::size_t>(product.w.rows());
  const std::size_t stride = stride_or_dense(product.y_stride_elements, outputs);
  for (std::size_t row = 0; row < product.y.size(); row += stride) {
    for (std::size_t n = 0; n < outputs; ++n) {
      product.y[row + n] = product.bias.empty() ? 0.0F : product.bias[n];
    }
  }
}

}  // namespace kernel

/// y[M x N] = x[M x K] * w[N x K]^T (+ bias[N]), all row-major, for several weights of one x: w is
/// [outputs, inputs], x one row an input vector, y one row its outputs. The activations are prepared
/// once for every 16 weights.
///
/// K is w.cols(), N w.rows(); any of M, N and K may be 0 or 1, and K need not be a multiple of a block.
/// M is not passed: both sizes say it, and a call whose x and y say different ones is refused. Rows
/// that lie end to end are M * K elements of x and M * N of y. With a stride, M rows have two legal
/// sizes: the stride M times, or M - 1 times and K (N) elements where the last row is not padded. A
/// buffer for more rows than there are is cut to those rows first: x.first(rows * stride).
///
/// The spans do not overlap each other or the weight, and need no alignment beyond their type's.
/// Nothing is written before all products have been checked. Besides 96 KiB of stack for each task that
/// runs, memory is options.scratch or one allocation of as much.
///
/// Against the real product y' of x and the dequantized weights, for finite numbers, to first order and
/// barring underflow (Higham, Accuracy and Stability of Numerical Algorithms, 3.1), with q the codes of
/// the weights:
///
///   exact   |y - y'| <= (K + 8) * 2^-24 * sum |x_k| (|scale_k q_k| + |min_k|), the min of encodings
///           whose codes count from a zero being -zero * scale, as -8 * scale for apr_q4; the sum is
///           sum |x_k w_k| for weights without codes, from 16 rows of x on, and from 4 rows on where K
///           is at most 32768 (of longer ones, fewer may be multiplied together)
///   int16   |y - y'| <= (K + 8) * 2^-24 * sum |x_k| (|scale_k q_k| + |min_k|)
///                       + sum over blocks of max|x| / 64000 * sum |w_k|
///   int8    the same with max|x| / 253, |min_k| of signed codes of 8 bits being 128 |scale_k| at least, by
///           which products take them for unsigned ones; and so for bf16 weights where activations are
///           rounded to bf16 (matmul_mode.hpp)
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
            const joint_matmul_options& options = {}) {
  if (products.empty()) return;
  const tensor_view& first = products.front().w;
  bool has_outputs = false;
  for (const matmul_product& product : products) {
    has_outputs |= kernel::check_product(product, first, x, options) != 0;
  }
  if (!has_outputs) return;
  if (first.cols() == 0) {
    for (const matmul_product& product : products) kernel::fill_with_bias(product);
    return;
  }

  const auto cols = static_cast<std::size_t>(first.cols());
  const std::size_t stride = kernel::stride_or_dense(options.x_stride_elements, cols);
  const checked_activations activations{x.data(), *kernel::rows_in(x.size(), cols, stride), cols,
                                        stride};
  const std::size_t needed = matmul_scratch_bytes(cols, activations.rows, options.mode);
  std::vector<std::byte> allocated;
  std::span<std::byte> scratch = options.scratch;
  if (scratch.empty()) {
    allocated.resize(needed);
    scratch = std::span<std::byte>(allocated.data(), allocated.size());
  }
  if (scratch.size() < needed) {
    kernel::refuse_product(first, "scratch", join_text({scratch.size(), " bytes"}),
                           join_text({"at least ", needed}));
  }
  constexpr std::size_t alignment = kernel::prepared_alignment_bytes;
  const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(scratch.data()) % alignment;
  scratch = scratch.subspan((alignment - misaligned) % alignment);

  std::array<checked_product, kernel::max_joint_products> checked;
  for (std::size_t done = 0; done < products.size(); done += checked.size()) {
    const std::size_t count = std::min(checked.size(), products.size() - done);
    std::transform(products.data() + done, products.data() + done + count, checked.data(),
                   kernel::to_checked<>);
    const std::span<const checked_product> batch(checked.data(), count);
    if constexpr (LinkedKernels<Architecture>) {
      Architecture::kernels().matmul(batch, activations, options.mode, options.executor, scratch);
    } else {
      kernel::multiply_checked<Architecture>(batch, activations, options.mode, options.executor,
                                             scratch);
    }
  }
}
/// As above, with the products in braces: nibble::matmul({{wq, yq}, {wk, yk}, {wv, yv}}, x).
template <class Architecture = default_architecture>
void matmul(std::initializer_list<matmul_product> products, std::span<const float> x,
            const joint_matmul_options& options = {}) {
  matmul<Architecture>(std::span<const matmul_product>(products.begin(), products.size()), x, options);
}

/// As above, for one weight.
template <class Architecture = default_architecture>
void matmul(const tensor_view& w, std::span<const float> x, std::span<float> y,
            const matmul_options& options = {}) {
  const matmul_product product{w, y, options.bias, options.y_stride_elements};
  matmul<Architecture>(std::span<const matmul_product>(&product, 1), x,
                       {options.mode, options.executor, options.x_stride_elements, options.scratch});
}
/// As above, for a weight that repack() has made a copy of, in the mode of the copy.
template <class Architecture = default_architecture>
void matmul(const repacked_weight& w, std::span<const float> x, std::span<float> y,
            const repacked_matmul_options& options = {}) {
  const matmul_product product{w.weight(), y, options.bias, options.y_stride_elements, &w};
  matmul<Architecture>(std::span<const matmul_product>(&product, 1), x,
                       {w.mode(), options.executor, options.x_stride_elements, options.scratch});
}

}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
