#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/float16.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/half_floats.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// decode_rows, in tasks of the executor, or on the calling thread where it is null. There are elements
/// to decode. Throws unsupported_encoding.
template <class Architecture, Float To>
void decode_rows_on(executor* executor, const tensor_view& from, std::uint64_t first_row,
                    std::uint64_t row_count, To* to) {
  constexpr std::uint64_t task_elements = 1U << 16U;
  const std::uint64_t task_rows = std::max<std::uint64_t>(1, task_elements / from.cols());
  const std::uint64_t tasks = divide_round_up(row_count, task_rows);
  const range_decoder decoder = decoder_of<Architecture>(from);
  const bool past_caches = std::same_as<To, float> && simd::has_stores_past_caches<Architecture> &&
                           row_count * from.cols() >= least_elements_past_caches;
  run_tasks(executor, static_cast<std::size_t>(tasks), [&](std::size_t task) {
    const std::uint64_t skipped = task * task_rows;
    const std::uint64_t rows = std::min(task_rows, row_count - skipped);
    decode_rows<Architecture>(decoder, from, first_row + skipped, rows, past_caches,
                              to + skipped * from.cols());
  });
}

/// As above of a weight that several stored tensors make up. 16-bit floats are rounded from f32, a task's
/// rows at a time.
template <Float To>
void decode_composed_rows_on(executor* executor, const tensor_view& from, std::uint64_t first_row,
                             std::uint64_t row_count, To* to) {
  constexpr std::uint64_t task_elements = 1U << 16U;
  const std::uint64_t task_rows = std::max<std::uint64_t>(1, task_elements / from.cols());
  const std::uint64_t tasks = divide_round_up(row_count, task_rows);
  run_tasks(executor, static_cast<std::size_t>(tasks), [&](std::size_t task) {
    const std::uint64_t skipped = task * task_rows;
    const std::uint64_t rows = std::min(task_rows, row_count - skipped);
    const auto elements = static_cast<std::size_t>(rows * from.cols());
    To* const first = to + skipped * from.cols();
    if constexpr (std::same_as<To, float>) {
      from.composed()->decode_rows(first_row + skipped, rows, std::span<float>(first, elements));
    } else {
      std::vector<float> values(elements);
      from.composed()->decode_rows(first_row + skipped, rows,
                                   std::span<float>(values.data(), elements));
      for (std::size_t i = 0; i < elements; ++i) {
        if constexpr (std::same_as<To, float16>) {
          first[i] = to_float16(values[i]);
        } else {
          first[i] = to_bfloat16(values[i]);
        }
      }
    }
  });
}

}  // namespace kernel

/// Decodes rows first_row .. first_row + row_count of `from`, row-major, into `to`.
///
/// `to` has row_count * cols elements of f32, float16 or bfloat16. 16-bit floats are the f32 values,
/// rounded to nearest even. `to` does not overlap the tensor's bytes, and needs no more alignment than
/// its type; the tensor's bytes need none. The result does not depend on the executor. Every
/// instruction set gives the bits of the scalar codec.
///
/// Throws unsupported_encoding, out_of_range (rows), invalid_argument (size of `to`).
template <Float To, class Architecture = default_architecture>
void dequantize_rows(const tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                     std::span<To> to, const compute_options& options = {}) {
  const auto refuse = [&](error_code code, std::string_view field, std::string found,
                          std::string expected) {
    throw error(code, {.tensor = std::string(from.name()),
                       .field = std::string(field),
                       .found = std::move(found),
                       .expected = std::move(expected)});
  };
  if (from.composed() == nullptr) static_cast<void>(from.encoding());
  from.require_rows(first_row, row_count);
  const auto elements = checked_multiply(row_count, from.cols());
  if (!elements || *elements != to.size()) {
    refuse(error_code::invalid_argument, "elements to decode into", std::to_string(to.size()),
           join_text({row_count, " x ", from.cols()}));
  }
  if (*elements == 0) return;
  if (from.composed() != nullptr) {
    kernel::decode_composed_rows_on(options.executor, from, first_row, row_count, to.data());
  } else if constexpr (LinkedKernels<Architecture>) {
    require_codec(from.encoding(), from.name());
    const auto& kernels = Architecture::kernels();
    if constexpr (std::same_as<To, float>) {
      kernels.decode_f32(from, first_row, row_count, to.data(), options.executor);
    } else if constexpr (std::same_as<To, float16>) {
      kernels.decode_f16(from, first_row, row_count, to.data(), options.executor);
    } else {
      kernels.decode_bf16(from, first_row, row_count, to.data(), options.executor);
    }
  } else {
    kernel::decode_rows_on<Architecture>(options.executor, from, first_row, row_count, to.data());
  }
}

/// Decodes the whole tensor; otherwise as dequantize_rows.
template <Float To, class Architecture = default_architecture>
void dequantize(const tensor_view& from, std::span<To> to, const compute_options& options = {}) {
  if (from.elements() != to.size()) {
    throw error(error_code::invalid_argument, {.tensor = std::string(from.name()),
                                               .field = "elements to decode into",
                                               .found = std::to_string(to.size()),
                                               .expected = std::to_string(from.elements())});
  }
  if (from.elements() == 0) {
    if (from.composed() == nullptr) static_cast<void>(from.encoding());
    return;
  }
  dequantize_rows<To, Architecture>(from, 0, from.rows(), to, options);
}

/// As above, for containers such as std::vector<float> and arrays, which a template cannot see as a
/// span.
template <class Container>
requires Float<typename decltype(std::span(std::declval<Container&>()))::element_type>
void dequantize(const tensor_view& from, Container& to, const compute_options& options = {}) {
  dequantize(from, std::span<std::remove_reference_t<decltype(*std::data(to))>>(to), options);
}
/// As above.
template <class Container>
requires Float<typename decltype(std::span(std::declval<Container&>()))::element_type>
void dequantize_rows(const tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                     Container& to, const compute_options& options = {}) {
  dequantize_rows(from, first_row, row_count,
                  std::span<std::remove_reference_t<decltype(*std::data(to))>>(to), options);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
