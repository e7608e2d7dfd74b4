#include "weight_loader.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <optional>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <nibble/checkpoint/tensor_names.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/repack.hpp>
#include <nibble/compute/value_counts.hpp>
#include <nibble/core/shape.hpp>

#include "contract_error.hpp"

namespace nibble_engine {
namespace {

/// An f32 copy of some columns of some rows of `stored`.
std::vector<std::byte> floats_of(const nibble::tensor_view& stored, const part& rows,
                                 const part& columns, nibble::executor* executor) {
  const auto cols = static_cast<std::size_t>(stored.cols());
  std::vector<float> values(rows.count * cols);
  nibble::dequantize_rows(stored, rows.first, rows.count, std::span(values), {.executor = executor});
  std::vector<std::byte> bytes(rows.count * columns.count * sizeof(float));
  for (std::size_t row = 0; row < rows.count && columns.count != 0; ++row) {
    std::memcpy(&bytes[row * columns.count * sizeof(float)], &values[row * cols + columns.first],
                columns.count * sizeof(float));
  }
  return bytes;
}

/// An f32 copy of some columns of some rows of `stored`, each column as a row.
std::vector<std::byte> transposed_floats(const nibble::tensor_view& stored, const part& rows,
                                         const part& columns, nibble::executor* executor) {
  const auto cols = static_cast<std::size_t>(stored.cols());
  std::vector<float> values(rows.count * cols);
  nibble::dequantize_rows(stored, rows.first, rows.count, std::span(values), {.executor = executor});
  std::vector<std::byte> bytes(columns.count * rows.count * sizeof(float));
  for (std::size_t row = 0; row < rows.count; ++row) {
    for (std::size_t col = 0; col < columns.count; ++col) {
      std::memcpy(&bytes[(col * rows.count + row) * sizeof(float)],
                  &values[row * cols + columns.first + col], sizeof(float));
    }
  }
  return bytes;
}

/// A copy of rows that lie apart: products read it faster, and the memory between them can be given back.
std::vector<std::byte> blocks_of(const nibble::tensor_view& stored) {
  std::vector<std::byte> bytes;
  bytes.reserve(static_cast<std::size_t>(stored.size_bytes()));
  const std::uint64_t unit = stored.block_rows();
  for (std::uint64_t row = 0; row < stored.rows(); row += unit) {
    const auto blocks = stored.rows(row, std::min(unit, stored.rows() - row)).bytes();
    bytes.insert(bytes.end(), blocks.begin(), blocks.end());
  }
  return bytes;
}

/// Whether rows of this encoding, or the few that share blocks, have bytes of their own, whatever its
/// shape.
bool has_rows(const nibble::tensor_view& tensor) {
  return tensor.composed() == nullptr &&
         nibble::describe(tensor.encoding()).blocks_run_along != nibble::block_run::tensor;
}

/// Whether these rows have bytes of their own.
bool has_rows(const nibble::tensor_view& tensor, const part& rows) {
  return tensor.composed() == nullptr &&
         nibble::bytes_of_rows(nibble::describe(tensor.encoding()), tensor.rows(), tensor.cols(),
                               rows.first, rows.count)
             .has_value();
}

/// Whether these columns have bytes of their own.
bool has_columns(const nibble::tensor_view& tensor, const part& columns) {
  return tensor.composed() == nullptr &&
         nibble::bytes_of_columns(nibble::describe(tensor.encoding()), tensor.cols(), columns.first,
                                  columns.count)
             .has_value();
}

/// The part that is wanted, as it is stored; nothing where it has no bytes of its own.
std::optional<nibble::tensor_view> view_of(const nibble::tensor_view& whole,
                                           const wanted_part& wanted) {
  if (wanted.columns && has_columns(whole, *wanted.columns)) {
    return whole.columns(wanted.columns->first, wanted.columns->count);
  }
  if (wanted.rows && has_rows(whole, *wanted.rows)) {
    return whole.rows(wanted.rows->first, wanted.rows->count);
  }
  return std::nullopt;
}

}  // namespace

const nibble::tensor_view* weight_loader::find(std::string_view name) const {
  if (const nibble::tensor_view* const found = in_.find(name)) return found;
  const auto other =
      nibble::renamed_tensor(config_.architecture_name, name, nibble::naming::hugging_face);
  if (!other) return nullptr;
  if (const nibble::tensor_view* const found = in_.find(*other)) return found;
  // Checkpoints of a model without its head leave the outer module's name out, or have it.
  for (const std::string_view prefix : {"model.", "transformer."}) {
    if (other->starts_with(prefix)) {
      if (const auto* const found = in_.find(other->substr(prefix.size()))) return found;
    } else if (const auto* const found = in_.find(std::string(prefix) + *other)) {
      return found;
    }
  }
  return nullptr;
}

const nibble::tensor_view& weight_loader::require(const std::string& name,
                                                  const nibble::shape& expected,
                                                  const wanted_part& wanted) const {
  const nibble::tensor_view* const tensor = find(name);
  if (tensor == nullptr) {
    const auto other =
        nibble::renamed_tensor(config_.architecture_name, name, nibble::naming::hugging_face);
    throw contract_error(contract_error::layout, in_.name(), name, "nothing",
                         fmt::format("a tensor of {}{}", expected.to_string(),
                                     other ? fmt::format(" under this name or '{}'", *other) : ""));
  }
  if (tensor->shape() != expected) {
    throw contract_error(contract_error::layout, in_.name(), tensor->name(),
                         tensor->shape().to_string(), expected.to_string());
  }
  const std::size_t first_row = wanted.rows ? wanted.rows->first : 0;
  if (checked_.emplace(tensor, first_row).second) check_values(*tensor, wanted);
  return *tensor;
}

void weight_loader::check_values(const nibble::tensor_view& whole, const wanted_part& wanted) const {
  // A part without bytes of its own is looked at with all others.
  const std::optional<nibble::tensor_view> own = view_of(whole, wanted);
  const nibble::tensor_view tensor = own.value_or(whole);
  // Tasks of whole rows where rows have bytes of their own, else all at once.
  constexpr std::uint64_t task_elements = 1U << 16U;
  const std::uint64_t unit = tensor.block_rows();
  const std::uint64_t task_rows =
      has_rows(tensor) ? (task_elements / std::max<std::uint64_t>(1, tensor.cols()) / unit + 1) * unit
                       : std::max<std::uint64_t>(1, tensor.rows());
  const std::uint64_t tasks = (tensor.rows() + task_rows - 1) / task_rows;
  std::atomic<std::uint64_t> zeros{0};
  std::atomic<std::uint64_t> not_finite{0};
  nibble::run_tasks(options_.executor, static_cast<std::size_t>(tasks), [&](std::size_t task) {
    const std::uint64_t first = task * task_rows;
    const nibble::value_counts counts = nibble::count_values(
        tasks == 1 ? tensor : tensor.rows(first, std::min(task_rows, tensor.rows() - first)));
    zeros += counts.zero;
    not_finite += counts.nan + counts.infinite;
  });
  if (not_finite != 0) {
    throw contract_error(contract_error::data_quality, in_.name(), tensor.name(),
                         fmt::format("{} values that are NaN or infinite", not_finite.load()),
                         "finite values");
  }
  zero_count found{std::string(whole.name()), zeros, tensor.elements(), whole.elements()};
  if (!own) {
    check_zeros(in_.name(), found);
    found.zeros = 0;
    found.values = 0;
  }
  if (wanted.rows || wanted.columns) zeros_of_parts_.push_back(std::move(found));
}

void weight_loader::check_zeros(const std::string& file, const zero_count& found) {
  constexpr double most_zeros = 0.8;
  // A bias may well be zero.
  const double share = static_cast<double>(found.zeros) / static_cast<double>(found.values);
  if (!found.tensor.ends_with("bias") && share > most_zeros) {
    throw contract_error(contract_error::data_quality, file, found.tensor,
                         fmt::format("{:.1f} % zeros", 100.0 * share),
                         fmt::format("at most {:.0f} %", 100.0 * most_zeros));
  }
}

weight weight_loader::matrix(const std::string& name, std::size_t outputs, std::size_t inputs,
                             const matrix_traits& traits) const {
  const part rows = traits.outputs.value_or(part{0, outputs});
  const part columns = traits.inputs.value_or(part{0, inputs});
  const bool is_part = traits.outputs || traits.inputs;
  const wanted_part wanted =
      traits.is_input_major ? wanted_part{} : wanted_part{traits.outputs, traits.inputs};
  weight made;
  made.name = name;
  made.is_input_major = traits.is_input_major;
  made.is_summand = traits.inputs.has_value();
  const nibble::tensor_view& stored = require(
      name, traits.is_input_major ? nibble::shape{inputs, outputs} : nibble::shape{outputs, inputs},
      wanted);
  if (traits.is_input_major || stored.composed() != nullptr) {
    made.decoded = traits.is_input_major ? transposed_floats(stored, columns, rows, options_.executor)
                                         : floats_of(stored, rows, columns, options_.executor);
    made.stored = nibble::tensor_view(stored.name(), nibble::encoding::f32, {rows.count, columns.count},
                                      made.decoded);
  } else if (!is_part) {
    made.stored = stored;
  } else if (const auto own = view_of(stored, wanted)) {
    made.stored = *own;
    if (!own->is_contiguous()) {
      made.decoded = blocks_of(*own);
      made.stored =
          nibble::tensor_view(own->name(), own->encoding(), own->shape(), std::span(made.decoded));
    }
  } else {
    made.stored = stored;
    made.kept_outputs = rows;
  }
  if (options_.repack) {
    made.repacked =
        nibble::repack(made.stored, options_.mode, {.executor = options_.executor, .memory = &copies_});
  }
  std::string bias = name;
  bias.replace(bias.rfind("weight"), std::string_view("weight").size(), "bias");
  if (traits.adds_bias && (traits.needs_bias || has(bias))) {
    made.bias = vector(bias, outputs);
    if (!made.kept_outputs) {
      const auto first = made.bias.begin() + static_cast<std::ptrdiff_t>(rows.first);
      made.bias = std::vector<float>(first, first + static_cast<std::ptrdiff_t>(rows.count));
    }
  }
  return made;
}

nibble::tensor_view weight_loader::table(const std::string& name, std::size_t rows, std::size_t cols,
                                         const std::optional<part>& wanted) const {
  return require(name, {rows, cols}, {.rows = wanted});
}

std::size_t weight_loader::input_unit(std::string_view name, std::size_t layers) const {
  std::size_t unit = 1;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const nibble::tensor_view* const tensor = find(fmt::format("blk.{}.{}", layer, name));
    if (tensor == nullptr || !tensor->has_encoding()) continue;
    unit = std::lcm(unit, std::size_t{nibble::describe(tensor->encoding()).block_cols()});
  }
  return unit;
}

bool weight_loader::has_columns(const std::string& name, const std::vector<part>& parts,
                                bool is_input_major) const {
  const nibble::tensor_view* const tensor = find(name);
  if (is_input_major || tensor == nullptr || tensor->composed() != nullptr) return true;
  return std::all_of(parts.begin(), parts.end(),
                     [&](const part& each) { return nibble_engine::has_columns(*tensor, each); });
}

std::vector<float> weight_loader::vector(const std::string& name, std::size_t elements) const {
  std::vector<float> values(elements);
  nibble::dequantize(require(name, {elements}), std::span(values));
  return values;
}

bool weight_loader::is_input_major() const {
  const nibble::tensor_view* const fused = find("blk.0.attn_qkv.weight");
  return fused != nullptr && fused->shape() == nibble::shape{config_.hidden, 3 * config_.hidden};
}

}  // namespace nibble_engine
