#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include "command.hpp"
#include "error_fields.hpp"
#include "open_input.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "tensor_comparison.hpp"
#include "text_layout.hpp"

namespace nibble_command {
namespace {

/// Names of the tensors whose relative RMSE is above the bound.
std::vector<std::string_view> names_above(const comparison& files, std::optional<double> bound) {
  std::vector<std::string_view> names;
  if (!bound) return names;
  for (const tensor_pair& pair : files.pairs) {
    if (pair.errors.relative_rmse() > *bound) names.push_back(pair.reference->name);
  }
  return names;
}

std::vector<std::string> error_cells(const tensor_errors& errors) {
  if (errors.elements() == 0) return {"-", "-", "-", "-", "-"};
  const auto cosine = errors.cosine();
  return {fmt::format("{:.3e}", errors.max_abs_error()), fmt::format("{:.3e}", errors.rmse()),
          fmt::format("{:.3e}", errors.relative_rmse()), fmt::format("{:.2f}", errors.sqnr_db()),
          cosine ? fmt::format("{:.8f}", *cosine) : "-"};
}

std::string to_text(const comparison& files, const diff_options& options) {
  using side = table::side;
  table errors({{"name", side::left},
                {"shape", side::right},
                {"from", side::left},
                {"to", side::left},
                {"max abs error", side::right},
                {"rmse", side::right},
                {"relative rmse", side::right},
                {"sqnr dB", side::right},
                {"cosine", side::right}});
  const auto add = [&](std::vector<std::string> cells, std::vector<std::string> more) {
    std::ranges::move(more, std::back_inserter(cells));
    errors.add_row(std::move(cells));
  };
  for (const tensor_pair& pair : files.pairs) {
    add({nibble::escape_text(pair.reference->name), pair.reference->shape.to_string(),
         nibble::escape_text(pair.reference->dtype), nibble::escape_text(pair.other->dtype)},
        pair.is_compared ? error_cells(pair.errors)
                         : std::vector<std::string>{"?", "?", "?", "?", "?"});
  }
  errors.add_rule();
  add({"all matrices", "", "", ""}, error_cells(files.matrices));
  add({"all tensors", "", "", ""}, error_cells(files.all));
  std::string text = errors.to_string();

  const auto list = [&](std::string_view what, std::string_view name) {
    text += fmt::format("{}: '{}'\n", what, nibble::escape_text(name));
  };
  const std::string reference = nibble::escape_text(options.reference);
  const std::string other = nibble::escape_text(options.other);
  const tensor_pair* worst = nullptr;
  for (const tensor_pair& pair : files.pairs) {
    if (!pair.is_compared || pair.errors.elements() == 0 || pair.errors.are_equal()) continue;
    const bool is_worse =
        worst == nullptr || pair.errors.relative_rmse() > worst->errors.relative_rmse();
    if (is_worse) worst = &pair;
  }
  if (worst != nullptr) list("largest relative rmse", worst->reference->name);
  for (const auto name : files.only_in_reference) list(fmt::format("only in {}", reference), name);
  for (const auto name : files.only_in_other) list(fmt::format("only in {}", other), name);
  for (const auto& [a, b] : files.shape_mismatches) {
    list(fmt::format("shapes differ, {} and {}", a->shape.to_string(), b->shape.to_string()), a->name);
  }
  for (const auto name : names_not_compared(files)) list("bytes differ and cannot be decoded", name);
  for (const auto name : names_above(files, options.max_relative_rmse)) {
    list(fmt::format("relative rmse above {}", *options.max_relative_rmse), name);
  }
  return text;
}

nlohmann::json to_json(const comparison& files, const diff_options& options, bool is_fine) {
  using nlohmann::json;
  json tensors = json::array();
  for (const tensor_pair& pair : files.pairs) {
    json entry = pair.is_compared ? error_fields(pair.errors) : json::object();
    entry["name"] = pair.reference->name;
    entry["shape"] = dimensions_of(pair.reference->shape);
    entry["elements"] = pair.reference->shape.elements();
    entry["encoding_a"] = pair.reference->dtype;
    entry["encoding_b"] = pair.other->dtype;
    tensors.push_back(std::move(entry));
  }
  json mismatches = json::array();
  for (const auto& [a, b] : files.shape_mismatches) {
    mismatches.push_back({{"name", a->name},
                          {"shape_a", dimensions_of(a->shape)},
                          {"shape_b", dimensions_of(b->shape)}});
  }
  const auto bound = options.max_relative_rmse;
  return {{"a", options.reference},
          {"b", options.other},
          {"ok", is_fine},
          {"max_error", bound ? json(*bound) : json(nullptr)},
          {"tensors", std::move(tensors)},
          {"all_matrices", error_fields(files.matrices)},
          {"all_tensors", error_fields(files.all)},
          {"above_max_error", names_above(files, bound)},
          {"only_in_a", files.only_in_reference},
          {"only_in_b", files.only_in_other},
          {"shape_mismatches", std::move(mismatches)},
          {"not_compared", names_not_compared(files)}};
}

}  // namespace

exit_code diff(const diff_options& options) {
  const nibble::reader reference = open_input(options.reference, options.single);
  const nibble::reader other = open_input(options.other, options.single);
  const bool is_named_alike = has_gguf_names(reference) == has_gguf_names(other);
  const std::vector<compared_tensor> reference_tensors =
      tensors_of(reference, !is_named_alike && has_gguf_names(other));
  comparison files =
      pair_tensors(reference_tensors, tensors_of(other, !is_named_alike && has_gguf_names(reference)));
  const bool has_tensors = reference.size() != 0 || other.size() != 0;
  if (has_tensors && files.pairs.empty() && files.shape_mismatches.empty()) {
    throw usage_error(fmt::format("{} and {} share no tensor: there is nothing to compare",
                                  nibble::escape_text(options.reference),
                                  nibble::escape_text(options.other)));
  }
  measure(files, options.threads);
  const bool is_fine =
      files.only_in_reference.empty() && files.only_in_other.empty() &&
      files.shape_mismatches.empty() && names_not_compared(files).empty() &&
      names_above(files, options.max_relative_rmse).empty() &&
      !(options.max_relative_rmse && files.all.relative_rmse() > *options.max_relative_rmse);
  if (options.json) {
    print_json(schema_version::diff, to_json(files, options, is_fine));
  } else {
    print_out(to_text(files, options));
  }
  return is_fine ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
