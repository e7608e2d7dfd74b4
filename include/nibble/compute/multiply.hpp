#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/bit_code_products.hpp>
#include <nibble/kernel/code_panel.hpp>
#include <nibble/kernel/code_panel_products.hpp>
#include <nibble/kernel/float_panel_products.hpp>
#include <nibble/kernel/interleaved_row_products.hpp>
#include <nibble/kernel/lane_row_products.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/product_output.hpp>
#include <nibble/kernel/product_plan.hpp>
#include <nibble/kernel/repacked_panels.hpp>
#include <nibble/kernel/small_batch_products.hpp>
#include <nibble/kernel/super_block_products.hpp>
#include <nibble/kernel/tiles.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

// The loops of matmul that hand tasks to an executor; what runs in a task is in kernel/. Loop nest of
// multiply_checked, for the products of one x:
//
//   choose a plan for each product (kernel/product_plan.hpp)
//   for each activation plan among them
//     for each group of rows of x that fits the scratch (for float panels: of rows and columns)
//       prepare these rows (tasks: rows, or for float panels tiles)
//       for each group of 32 weight rows or more of each product with this plan (tasks)
//         run the product's kernel over the tiles of the prepared rows
//
// The products of a call are one run of the executor: waking threads three times for q, k and v would
// take longer than k and v.

namespace nibble {

/// A product whose sizes agree with the activations', as matmul() hands it to the kernels.
struct checked_product {
  const tensor_view* weight = nullptr;
  float* y = nullptr;
  std::size_t y_stride_elements = 0;
  const float* bias = nullptr;                ///< or null
  const repacked_panels* repacked = nullptr;  ///< of the weight, for the mode of the call; or null
};

/// The activations of such products: at least one row and one column.
struct checked_activations {
  const float* values;
  std::size_t rows;
  std::size_t cols;
  std::size_t stride_elements;
};

NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Memory for prepared activations, beyond which rows of x are prepared in turns. One row is always
/// prepared whole, however long.
inline constexpr std::size_t max_prepared_bytes = std::size_t{1} << 20U;
/// What prepared activations are aligned to.
inline constexpr std::size_t prepared_alignment_bytes = 64;

/// The most products that are planned together: activations are prepared once for all of them.
inline constexpr std::size_t max_joint_products = 16;

/// Multiplications from which a task is worth handing to another thread: some microseconds of work.
/// Measured: with larger tasks, two threads share the 576 rows of a small model's product badly.
inline constexpr std::uint64_t least_task_products = 1U << 16U;

/// A product and how it is computed.
struct planned_product {
  checked_product product;
  product_plan plan;
};

/// Products of the same activations, and what they are computed with.
struct joint_products {
  std::span<const planned_product> products;
  checked_activations x;
  nibble::executor* executor;
  std::byte* scratch;  ///< aligned to prepared_alignment_bytes

  /// The executor for work of so many multiplications, or null where it is not worth handing over.
  [[nodiscard]] nibble::executor* executor_for(std::uint64_t multiplications) const noexcept {
    return multiplications < least_task_products ? nullptr : executor;
  }
};

/// Weight rows a task: enough work to be worth handing over, and whole panels.
[[nodiscard]] inline std::uint64_t rows_per_task(std::uint64_t cols, std::size_t x_rows) noexcept {
  constexpr std::uint64_t unit = 32;
  const std::uint64_t row_products = std::max<std::uint64_t>(1, cols * x_rows);
  return std::max<std::uint64_t>(1, least_task_products / row_products / unit) * unit;
}

/// How the rows of one weight are cut into tasks.
struct row_tasks {
  std::uint64_t outputs;
  std::uint64_t unit;  ///< rows a task, but for the last one

  /// One task where nobody shares the work and one pass is all that a weight row is needed for.
  row_tasks(const tensor_view& weight, const joint_products& call) noexcept
      : outputs(weight.rows()),
        unit(call.executor == nullptr && call.x.rows == 1 ? std::max<std::uint64_t>(1, outputs)
                                                          : rows_per_task(weight.cols(), call.x.rows)) {
  }

  [[nodiscard]] std::size_t count() const noexcept {
    return static_cast<std::size_t>(divide_round_up(outputs, unit));
  }
  [[nodiscard]] row_range rows(std::size_t task) const noexcept {
    const std::uint64_t first = task * unit;
    return {first, static_cast<std::size_t>(std::min(unit, outputs - first))};
  }
};

/// Calls body(i, row_range) for all rows of the weights of those products that `has_this_plan`, in tasks
/// of one run; i is the product's place.
template <class HasThisPlan, class Body>
void for_weight_rows(const joint_products& call, HasThisPlan&& has_this_plan, Body&& body) {
  std::array<std::size_t, max_joint_products + 1> first_tasks{};
  for (std::size_t i = 0; i < call.products.size(); ++i) {
    const planned_product& planned = call.products[i];
    const row_tasks tasks(*planned.product.weight, call);
    first_tasks[i + 1] = first_tasks[i] + (has_this_plan(planned) ? tasks.count() : 0);
  }
  run_tasks(call.executor, first_tasks[call.products.size()], [&](std::size_t task) {
    std::size_t i = 0;
    while (task >= first_tasks[i + 1]) ++i;
    const row_tasks tasks(*call.products[i].product.weight, call);
    body(i, tasks.rows(task - first_tasks[i]));
  });
}

/// Rows of activations that are prepared together, so that they fit max_prepared_bytes.
template <Activation Value>
[[nodiscard]] constexpr std::size_t prepared_rows(std::size_t x_rows, std::size_t cols) noexcept {
  const std::size_t fitting = max_prepared_bytes / prepared_row_bytes<Value>(cols);
  return std::clamp<std::size_t>(fitting, 1, std::max<std::size_t>(1, x_rows));
}

/// Rows and columns of activations that are interleaved together, for panels, so that they fit
/// max_prepared_bytes. Those of bf16 take no more than those of f32.
template <PanelElement Element>
struct interleaved_size {
  std::size_t rows;
  std::size_t cols;

  [[nodiscard]] constexpr std::size_t bytes() const noexcept {
    return rows * static_cast<std::size_t>(divide_round_up(cols, step_cols<Element>)) * sizeof(Element);
  }
};
template <PanelElement Element>
[[nodiscard]] constexpr interleaved_size<Element> interleaved_size_of(std::size_t x_rows,
                                                                      std::size_t cols) noexcept {
  constexpr std::size_t unit_cols = interleaved_cols<Element>;
  constexpr std::size_t most = max_prepared_bytes / sizeof(Element) * step_cols<Element> / unit_cols;
  static_assert(most >= interleaved_rows);
  const std::size_t rows = std::clamp<std::size_t>(x_rows, 1, interleaved_rows);
  return {rows, std::min(cols, most / rows * unit_cols)};
}

/// The products of a codec's blocks as they are stored, of any codec. A function pointer erases the
/// codec, so that callers are instantiated once for each kind of activations.
template <Activation Value>
using in_place_function = void (*)(const tensor_view&, row_range, const activation_tile<Value>&,
                                   const product_output&) noexcept;

/// The kernels of one product with prepared activations.
template <class Architecture, Activation Value>
struct prepared_kernels {
  using panel_architecture = simd::integer_architecture<Architecture>;

  prepared_kernels() = default;
  explicit prepared_kernels(const planned_product& planned) {
    const tensor_view& weight = *planned.product.weight;
    visit_stored_codec(weight.encoding(), weight.name(), [&]<Codec Codec>(Codec) {
      constexpr bool is_float = std::same_as<Value, float>;
      using block_architecture = simd::block_architecture<Architecture>;
      if constexpr (has_code_panels<Architecture, Codec, Value>() && !InterleavedCodec<Codec>) {
        source = code_panel_source_of<panel_architecture, Codec, Value>();
      }
      using lane_architecture = std::conditional_t<is_float, Architecture, panel_architecture>;
      if constexpr (InterleavedCodec<Codec>) {
        if constexpr (is_float || has_code_products<Architecture, Codec, Value>()) {
          in_place = &multiply_interleaved_rows<lane_architecture, Codec, Value>;
        }
      } else if constexpr (has_code_products<Architecture, Codec, Value>()) {
        if constexpr (has_super_block_products<panel_architecture, Codec, Value>()) {
          in_place = &multiply_super_blocks<panel_architecture, Codec>;
        } else if constexpr (unpacks_in_registers<Codec>()) {
          in_place = &multiply_bit_codes<block_architecture, Codec, Value>;
        } else {
          in_place = &multiply_small_batch<block_architecture, Codec, Value>;
        }
      } else if constexpr (is_float && has_small_batch_products<Codec>()) {
        in_place = &multiply_small_batch<Architecture, Codec, Value>;
      }
      if constexpr (!InterleavedCodec<Codec> &&
                    most_lane_rows<lane_architecture, Codec, Value>() != 0 &&
                    (is_float || has_code_products<Architecture, Codec, Value>())) {
        if (planned.plan.kernel == product_kernel::lane_rows) {
          in_place = &multiply_lane_rows<lane_architecture, Codec, Value>;
        }
      }
    });
  }

  /// Multiplies some rows of the weight by prepared activations, which are rows m .. m + x.rows of the
  /// call's.
  void multiply(const planned_product& planned, row_range rows, std::size_t m,
                const prepared_activations<Value>& x) const {
    const checked_product& product = planned.product;
    product_output y{product.y + m * product.y_stride_elements, product.y_stride_elements,
                     product.bias};
    if constexpr (!std::same_as<Value, float>) {
      if (planned.plan.kernel == product_kernel::repacked_panels) {
        multiply_repacked<panel_architecture>(*product.repacked, rows, x, y);
        return;
      }
      if (planned.plan.kernel == product_kernel::code_panels) {
        multiply_code_panels<panel_architecture>(source, *product.weight, rows, x, y);
        return;
      }
    }
    for_each_tile(x.rows, x.max_tile_rows, [&](std::size_t row, std::size_t tile_rows) {
      in_place(*product.weight, rows, x.tile(row), y);
      y.y += tile_rows * y.stride_elements;
    });
  }

  in_place_function<Value> in_place = nullptr;
  code_panel_source<panel_architecture, Value> source{};
};

/// The products of one activation plan, whose activations are prepared row by row.
template <class Architecture, Activation Value>
void multiply_planned(const joint_products& call, const activation_plan& plan) {
  const std::size_t cols = call.x.cols;
  const std::size_t most_rows = prepared_rows<Value>(call.x.rows, cols);
  const auto has_this_plan = [&](const planned_product& planned) {
    return planned.plan.activations == plan;
  };
  std::array<prepared_kernels<Architecture, Value>, max_joint_products> kernels;
  for (std::size_t i = 0; i < call.products.size(); ++i) {
    if (!has_this_plan(call.products[i])) continue;
    kernels[i] = prepared_kernels<Architecture, Value>(call.products[i]);
  }
  for_each_tile(call.x.rows, most_rows, [&](std::size_t m, std::size_t rows) {
    const auto x = place_activations<Value>(call.scratch, rows, plan.tile_rows, cols);
    run_tasks(call.executor_for(rows * cols), rows, [&](std::size_t row) {
      prepare_row<Architecture>(call.x.values + (m + row) * call.x.stride_elements, cols, plan.layout,
                                row, x);
    });
    for_weight_rows(call, has_this_plan, [&](std::size_t i, row_range weight_rows) {
      kernels[i].multiply(call.products[i], weight_rows, m, x);
    });
  });
}

/// The products of one activation plan, whose activations are interleaved for panels of floats or of pairs
/// of bf16.
template <class Architecture, PanelElement Element>
void multiply_interleaved(const joint_products& call, const activation_plan& plan) {
  const std::size_t cols = call.x.cols;
  const auto most = interleaved_size_of<Element>(call.x.rows, cols);
  const auto has_this_plan = [&](const planned_product& planned) {
    return planned.plan.activations == plan;
  };
  std::array<std::optional<panel_source<Architecture, Element>>, max_joint_products> sources;
  for (std::size_t i = 0; i < call.products.size(); ++i) {
    if (!has_this_plan(call.products[i])) continue;
    if constexpr (std::same_as<Element, float>) {
      sources[i].emplace(float_panel_source_of<Architecture>(*call.products[i].product.weight));
    } else {
      sources[i].emplace();
    }
  }
  for_each_tile(call.x.rows, most.rows, [&](std::size_t m, std::size_t rows) {
    for (std::size_t first = 0; first < cols; first += most.cols) {
      const interleaved_activations<Element> x{rows, plan.tile_rows, first,
                                               std::min(most.cols, cols - first),
                                               reinterpret_cast<Element*>(call.scratch)};
      run_tasks(call.executor_for(rows * x.cols), x.tiles(), [&](std::size_t tile) {
        interleave_tile<Architecture>(call.x.values + m * call.x.stride_elements,
                                      call.x.stride_elements, tile, x);
      });
      for_weight_rows(call, has_this_plan, [&](std::size_t i, row_range weight_rows) {
        const checked_product& product = call.products[i].product;
        const product_output y{product.y + m * product.y_stride_elements, product.y_stride_elements,
                               product.bias};
        multiply_float_panels<Architecture, Element>(*sources[i], *product.weight, weight_rows, x, y);
      });
    }
  });
}

/// At most max_joint_products products of one x. `scratch` is aligned to prepared_alignment_bytes and
/// as long as matmul_scratch_bytes() says, less what alignment may take.
template <class Architecture>
void multiply_checked(std::span<const checked_product> products, const checked_activations& x,
                      matmul_mode mode, executor* executor, std::span<std::byte> scratch) {
  std::array<planned_product, max_joint_products> plans;
  for (std::size_t i = 0; i < products.size(); ++i) {
    plans[i] = {products[i], choose_product_plan<Architecture>(*products[i].weight, x.rows, mode,
                                                               products[i].repacked)};
  }
  const std::span<const planned_product> planned(plans.data(), products.size());
  for (std::size_t i = 0; i < planned.size(); ++i) {
    const activation_plan& plan = planned[i].plan.activations;
    const auto has_this_plan = [&](const planned_product& other) {
      return other.plan.activations == plan;
    };
    const auto before = planned.first(i);
    if (std::any_of(before.begin(), before.end(), has_this_plan)) continue;
    const joint_products call{planned.subspan(i), x, executor, scratch.data()};
    switch (plan.format) {
      case activation_format::f32_interleaved:
        multiply_interleaved<Architecture, float>(call, plan);
        break;
      case activation_format::bfloat16_interleaved:
        if constexpr (simd::multiplies_bfloat16<Architecture>) {
          multiply_interleaved<Architecture, bfloat16_pair>(call, plan);
        }
        break;
      case activation_format::f32_blocks: multiply_planned<Architecture, float>(call, plan); break;
      case activation_format::int16_codes:
        multiply_planned<Architecture, std::int16_t>(call, plan);
        break;
      default: multiply_planned<Architecture, std::int8_t>(call, plan); break;
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
