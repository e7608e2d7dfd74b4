#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include "block_scales.hpp"
#include "command.hpp"
#include "json_number.hpp"
#include "open_input.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "value_distribution.hpp"
#include "value_encoding.hpp"

namespace nibble_command {
namespace {

/// `wanted`, or from 0 up to `most` of what there is. Throws usage_error where it is not within `count`.
index_range range_within(const std::optional<index_range>& wanted, std::uint64_t count,
                         std::uint64_t most, std::string_view option) {
  if (!wanted) return {0, std::min(count, most)};
  if (wanted->first < wanted->end && wanted->end <= count) return *wanted;
  throw usage_error(fmt::format("{} {}:{}: the tensor has {}, and the first is 0", option,
                                wanted->first, wanted->end, grouped(count)));
}

/// Calls use(values) with some rows at a time, from first to last.
void for_all_rows(const nibble::tensor_view& tensor,
                  const std::function<void(std::span<const float>)>& use) {
  if (tensor.elements() == 0) return;
  constexpr std::uint64_t most_elements = 1U << 18U;
  const std::uint64_t rows_at_once = std::max<std::uint64_t>(1, most_elements / tensor.cols());
  std::vector<float> values;
  for (std::uint64_t row = 0; row < tensor.rows(); row += rows_at_once) {
    const std::uint64_t count = std::min(rows_at_once, tensor.rows() - row);
    values.resize(static_cast<std::size_t>(count * tensor.cols()));
    nibble::dequantize_rows(tensor, row, count, values);
    use(values);
  }
}

/// A row that is shown, with the scales of its blocks where blocks run along rows.
struct shown_row {
  std::uint64_t row;
  std::vector<float> values;
  block_scales scales{};
};

/// All that is said of a tensor.
struct tensor_portrait {
  const nibble::tensor_view& tensor;
  index_range rows;
  index_range columns;
  std::vector<shown_row> shown{};
  value_figures values{};
  histogram spread{0.0, 0.0};
  bool has_scales = false;
  bool has_mins = false;
  value_figures scales{};
  value_figures mins{};
};

void add_shown_rows(tensor_portrait& to) {
  const nibble::tensor_view& tensor = to.tensor;
  const nibble::encoding_description& how = nibble::describe(value_encoding(tensor));
  const std::uint64_t block_cols = how.block_cols();
  const std::uint64_t blocks_per_row = (tensor.cols() + block_cols - 1) / block_cols;
  std::vector<float> values(static_cast<std::size_t>(tensor.cols()));
  for (std::uint64_t row = to.rows.first; row < to.rows.end; ++row) {
    nibble::dequantize_rows(tensor, row, 1, values);
    const auto part = std::span(values).subspan(static_cast<std::size_t>(to.columns.first),
                                                static_cast<std::size_t>(to.columns.size()));
    shown_row shown{row, {part.begin(), part.end()}};
    if (tensor.composed() == nullptr && how.blocks_run_along != nibble::block_run::tensor) {
      const std::uint64_t first = to.columns.first / block_cols;
      const std::uint64_t end = (to.columns.end + block_cols - 1) / block_cols;
      shown.scales =
          scales_of(tensor, row * blocks_per_row + first, end - first).value_or(block_scales{});
    }
    to.shown.push_back(std::move(shown));
  }
}

void add_scale_figures(tensor_portrait& to) {
  if (to.tensor.composed() != nullptr) return;
  const nibble::encoding_description& how = nibble::describe(to.tensor.encoding());
  const std::uint64_t blocks =
      how.block_rows() == 1
          ? to.tensor.bytes().size() / how.block_bytes
          : to.tensor.rows() * nibble::divide_round_up(to.tensor.cols(), how.block_cols());
  if (how.header_bytes != 0) {
    if (const auto one = scales_of(to.tensor, 0, 0)) {
      to.has_scales = true;
      to.scales.add(one->scales);
    }
    return;
  }
  constexpr std::uint64_t blocks_at_once = 4096;
  for (std::uint64_t first = 0; first < blocks; first += blocks_at_once) {
    const auto some = scales_of(to.tensor, first, std::min(blocks_at_once, blocks - first));
    if (!some) return;
    to.has_scales = true;
    to.has_mins = to.has_mins || !some->mins.empty();
    to.scales.add(some->scales);
    to.mins.add(some->mins);
  }
}

tensor_portrait portray(const nibble::tensor_view& tensor, const show_options& options) {
  constexpr std::uint64_t most_rows = 2;
  constexpr std::uint64_t most_columns = 16;
  tensor_portrait made{tensor, range_within(options.rows, tensor.rows(), most_rows, "--rows"),
                       range_within(options.columns, tensor.cols(), most_columns, "--columns")};
  if (tensor.elements() == 0) return made;
  add_shown_rows(made);
  for_all_rows(tensor, [&](std::span<const float> values) { made.values.add(values); });
  if (made.values.count() != 0) {
    made.spread = histogram(made.values.lowest(), made.values.highest());
    for_all_rows(tensor, [&](std::span<const float> values) { made.spread.add(values); });
  }
  add_scale_figures(made);
  return made;
}

std::string figures_text(const value_figures& figures) {
  std::string text =
      figures.count() == 0
          ? std::string("none finite")
          : fmt::format("{:.6g} to {:.6g}, mean {:.6g}, standard deviation {:.6g}", figures.lowest(),
                        figures.highest(), figures.mean(), figures.standard_deviation());
  if (figures.zeros() != 0) text += fmt::format(", {} of 0", grouped(figures.zeros()));
  if (figures.nans() != 0) text += fmt::format(", {} NaN", grouped(figures.nans()));
  if (figures.infinities() != 0) text += fmt::format(", {} infinite", grouped(figures.infinities()));
  return text;
}

std::string numbers_text(const std::vector<float>& numbers) {
  std::string text;
  for (const float number : numbers) text += fmt::format("{}{:.6g}", text.empty() ? "" : " ", number);
  return text;
}

std::string to_text(const tensor_portrait& of, const std::string& file) {
  const nibble::tensor_view& tensor = of.tensor;
  std::string text =
      fmt::format("{}: tensor '{}', {}, {}, {}, {} at {}\n", nibble::escape_text(file),
                  nibble::escape_text(tensor.name()), tensor.dtype_text(), tensor.shape().to_string(),
                  counted(tensor.elements(), "element"), counted(tensor.size_bytes(), "byte"),
                  grouped(tensor.file_offset_bytes()));
  if (tensor.elements() == 0) return text;
  text += fmt::format("values: {}\n", figures_text(of.values));
  if (of.has_scales) text += fmt::format("scales: {}\n", figures_text(of.scales));
  if (of.has_mins) text += fmt::format("mins: {}\n", figures_text(of.mins));
  if (of.values.count() != 0 && of.values.highest() > of.values.lowest()) {
    text += "\n";
    constexpr std::uint64_t bar_columns = 40;
    for (std::size_t part = 0; part < histogram::parts; ++part) {
      const std::uint64_t count = of.spread.count(part);
      const double share = static_cast<double>(count) / static_cast<double>(of.spread.largest_count());
      const auto columns = static_cast<std::size_t>(share * bar_columns + 0.5);
      text += fmt::format("{:>12.5g}  {:<40}  {}\n", of.spread.edge(part), std::string(columns, '#'),
                          grouped(count));
    }
    text += fmt::format("{:>12.5g}\n", of.spread.edge(histogram::parts));
  }
  for (const shown_row& row : of.shown) {
    text += fmt::format("\nrow {}, columns {} to {}: {}\n", grouped(row.row), grouped(of.columns.first),
                        grouped(of.columns.end - 1), numbers_text(row.values));
    if (!row.scales.scales.empty()) {
      text += fmt::format("  scales of its blocks: {}\n", numbers_text(row.scales.scales));
    }
    if (!row.scales.mins.empty()) text += fmt::format("  mins: {}\n", numbers_text(row.scales.mins));
  }
  return text;
}

nlohmann::json to_json(const value_figures& figures) {
  using nlohmann::json;
  const auto measured = [&](double value) {
    return figures.count() == 0 ? json(nullptr) : json(value);
  };
  return {{"lowest", measured(figures.lowest())},
          {"highest", measured(figures.highest())},
          {"mean", measured(figures.mean())},
          {"standard_deviation", measured(figures.standard_deviation())},
          {"finite", figures.count()},
          {"zeros", figures.zeros()},
          {"nan", figures.nans()},
          {"infinite", figures.infinities()}};
}

nlohmann::json to_json(const std::vector<float>& numbers) {
  nlohmann::json list = nlohmann::json::array();
  for (const float number : numbers) list.push_back(json_number(static_cast<double>(number)));
  return list;
}

nlohmann::json to_json(const tensor_portrait& of, const std::string& file) {
  using nlohmann::json;
  const nibble::tensor_view& tensor = of.tensor;
  json rows = json::array();
  for (const shown_row& row : of.shown) {
    rows.push_back({{"row", row.row},
                    {"first_column", of.columns.first},
                    {"values", to_json(row.values)},
                    {"scales", to_json(row.scales.scales)},
                    {"mins", to_json(row.scales.mins)}});
  }
  json parts = json::array();
  for (std::size_t part = 0; part < histogram::parts && of.values.count() != 0; ++part) {
    parts.push_back({{"from", of.spread.edge(part)},
                     {"to", of.spread.edge(part + 1)},
                     {"elements", of.spread.count(part)}});
  }
  const auto dimensions = tensor.shape().dimensions();
  const bool is_composed = tensor.composed() != nullptr;
  return {{"file", file},
          {"tensor", tensor.name()},
          {"encoding", is_composed ? json(nullptr) : json(nibble::to_string(tensor.encoding()))},
          {"dtype", is_composed ? json(tensor.dtype_text()) : json(nullptr)},
          {"shape", std::vector<std::uint64_t>(dimensions.begin(), dimensions.end())},
          {"elements", tensor.elements()},
          {"bytes", tensor.size_bytes()},
          {"offset", tensor.file_offset_bytes()},
          {"values", to_json(of.values)},
          {"histogram", std::move(parts)},
          {"scales", of.has_scales ? to_json(of.scales) : json(nullptr)},
          {"mins", of.has_mins ? to_json(of.mins) : json(nullptr)},
          {"rows", std::move(rows)}};
}

}  // namespace

exit_code show(const show_options& options) {
  const nibble::reader file = open_input(options.input, options.single);
  const nibble::tensor_view& tensor = file[options.tensor];
  try {
    nibble::require_codec(value_encoding(tensor), tensor.name());
  } catch (const nibble::error& problem) {
    throw problem.in_file(options.input);
  }
  const tensor_portrait portrait = portray(tensor, options);
  if (options.json) {
    print_json(schema_version::show, to_json(portrait, options.input));
  } else {
    print_out(to_text(portrait, options.input));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
