#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include "carried_metadata.hpp"
#include "command.hpp"
#include "glob.hpp"
#include "interruption.hpp"
#include "open_input.hpp"
#include "output_name.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "text_file.hpp"
#include "text_layout.hpp"
#include "transposed_rows.hpp"
#include "value_encoding.hpp"
#include "value_range.hpp"
#include "write_file.hpp"
#include "write_report.hpp"

namespace nibble_command {
namespace {

/// How a tensor goes into the new file.
struct packing_choice {
  const nibble::tensor_view* tensor;
  nibble::encoding encoding;
  bool is_kept;  ///< its bytes are copied
  bool is_transposed;
};

/// "'a'", "'a' and 2 more".
std::string name_first(const std::vector<std::string_view>& names) {
  std::string text = fmt::format("'{}'", nibble::escape_text(names.front()));
  if (names.size() > 1) text += fmt::format(" and {} more", names.size() - 1);
  return text;
}

[[noreturn]] void refuse(const std::string& file, const nibble::tensor_view& tensor,
                         std::string_view why) {
  throw usage_error(fmt::format("{}: tensor '{}': {}", nibble::escape_text(file),
                                nibble::escape_text(tensor.name()), why));
}

bool is_packable(const nibble::tensor_view& tensor) {
  return tensor.shape().rank() >= 2 && !holds_integers(value_encoding(tensor));
}

/// Throws usage_error for a glob that means nothing in this file: a mistyped one would otherwise change
/// what is packed without a word.
void require_globs_that_match(const nibble::reader& from, const pack_options& options) {
  const auto require = [&](std::string_view option, const std::vector<std::string>& globs,
                           std::string_view what, auto&& counts) {
    for (const std::string& glob : globs) {
      if (std::ranges::any_of(from.tensors(), [&](const nibble::tensor_view& tensor) {
            return counts(tensor) && glob_matches(glob, tensor.name());
          })) {
        continue;
      }
      throw usage_error(fmt::format("{} '{}' matches no {} of {}", option, nibble::escape_text(glob),
                                    what, nibble::escape_text(from.name())));
    }
  };
  const auto all = [](const nibble::tensor_view&) { return true; };
  require("--only", options.only, "tensor", all);
  require("--only", options.only, "tensor that can be packed (floats of two or more dimensions)",
          is_packable);
  require("--keep", options.keep, "tensor", all);
  require("--drop", options.drop, "tensor", all);
  require("--transpose", options.transpose, "tensor", all);
}

/// Throws unsupported_encoding, naming the tensors whose dtype .apr has no id for and that are not
/// dropped.
void require_known_dtypes(const nibble::reader& from, const pack_options& options) {
  std::vector<std::string_view> unknown;
  std::string dtype;
  for (const nibble::tensor_view& tensor : from) {
    const bool is_known =
        tensor.composed() != nullptr ||
        (tensor.has_encoding() && nibble::describe(tensor.encoding()).apr_dtype_id.has_value());
    if (is_known || any_glob_matches(options.drop, tensor.name())) continue;
    if (unknown.empty()) dtype = tensor.dtype_text();
    unknown.push_back(tensor.name());
  }
  if (unknown.empty()) return;
  std::string found = dtype;
  if (unknown.size() > 1) {
    found += fmt::format(", and {} more tensors of such dtypes ('{}')", unknown.size() - 1,
                         fmt::join(unknown.begin() + 1, unknown.end(), "', '"));
  }
  throw nibble::error(nibble::error_code::unsupported_encoding,
                      {.file = from.name(),
                       .tensor = std::string(unknown.front()),
                       .field = "dtype",
                       .found = std::move(found),
                       .expected = "dtypes that .apr has an id for, or --drop"});
}

packing_choice choose_packing(const nibble::reader& from, const nibble::tensor_view& tensor,
                              const pack_options& options) {
  using nibble::encoding;
  const encoding stored = value_encoding(tensor);
  const bool is_transposed = any_glob_matches(options.transpose, tensor.name());
  if (any_glob_matches(options.keep, tensor.name())) {
    if (is_transposed) refuse(from.name(), tensor, "--keep and --transpose exclude each other");
    return {&tensor, stored, true, false};
  }
  if (is_transposed) {
    if (tensor.shape().rank() != 2) {
      refuse(from.name(), tensor,
             fmt::format("--transpose takes matrices, this is {}",
                         tensor.shape().rank() == 0 ? "a scalar" : tensor.shape().to_string()));
    }
    if (holds_integers(stored)) refuse(from.name(), tensor, "--transpose takes no whole numbers");
    if (tensor.composed() != nullptr) {
      refuse(from.name(), tensor, "--transpose takes no weights of several stored tensors");
    }
  }
  if (holds_integers(stored)) return {&tensor, stored, true, false};
  if (!is_packable(tensor)) {
    if (nibble::describe(stored).is_quantized()) return {&tensor, stored, true, false};
    return {&tensor, encoding::f32, stored == encoding::f32, false};
  }
  if (options.only.empty() || any_glob_matches(options.only, tensor.name())) {
    const bool is_there_already =
        stored == options.encoding && !nibble::describe(stored).is_quantized() && !is_transposed;
    return {&tensor, options.encoding, is_there_already, is_transposed};
  }
  if (!is_transposed) return {&tensor, stored, true, false};
  if (stored == encoding::f64) {
    refuse(from.name(), tensor, "f64 cannot be transposed unpacked, and --only leaves it out");
  }
  return {&tensor, stored, false, true};
}

/// Throws usage_error, naming the tensors, where something that is quantized would be packed again
/// without being asked for.
void require_unquantized_sources(const nibble::reader& from, const std::vector<packing_choice>& choices,
                                 const pack_options& options) {
  if (options.requantize) return;
  std::vector<std::string_view> quantized;
  nibble::encoding stored{};
  for (const packing_choice& each : choices) {
    const nibble::tensor_view& tensor = *each.tensor;
    if (each.is_kept || !nibble::describe(value_encoding(tensor)).is_quantized()) continue;
    if (quantized.empty()) stored = value_encoding(tensor);
    quantized.push_back(tensor.name());
  }
  if (quantized.empty()) return;
  throw usage_error(
      fmt::format("{}: tensor {}: quantized already (as {}): --requantize packs it again, --keep "
                  "leaves it as it is",
                  nibble::escape_text(from.name()), name_first(quantized), nibble::to_string(stored)));
}

void plan_tensor(nibble::writer& plan, const packing_choice& how, nibble::packing_rule rule) {
  const nibble::tensor_view& tensor = *how.tensor;
  std::string name(tensor.name());
  if (how.is_kept && tensor.composed() == nullptr) {
    plan.add_stored(tensor.encoding(), std::move(name), tensor.shape(), tensor.bytes());
    return;
  }
  require_f32_range(tensor);
  nibble::row_source rows = nibble::rows_of(tensor);
  nibble::shape dimensions = tensor.shape();
  if (how.is_transposed) {
    rows = transposed_rows_of(tensor);
    dimensions = {tensor.shape()[1], tensor.shape()[0]};
  }
  plan.add(how.encoding, std::move(name), dimensions, interruptible(std::move(rows)), rule);
}

/// Merges a JSON object that a person wrote into the metadata. Throws usage_error for the library's own
/// keys.
void merge_metadata(nlohmann::json& metadata, const std::string& path) {
  const nlohmann::json object = read_json_object(path);
  for (const auto& [key, value] : object.items()) require_free_key(key);
  metadata.update(object);
}

/// Where the file goes: to what was asked for, or beside the input, where nothing is replaced unasked.
std::string choose_output(const pack_options& options) {
  if (options.output) return *options.output;
  const std::string path = name_beside(options.input, nibble::to_string(options.encoding));
  std::error_code ignored;
  if (!options.force && std::filesystem::exists(nibble::path_of_text(path), ignored)) {
    throw usage_error(fmt::format("{}: is there already: --force writes it anew, -o another file",
                                  nibble::escape_text(path)));
  }
  return path;
}

}  // namespace

exit_code pack(const pack_options& options) {
  using nibble::encoding_family;
  const auto start = std::chrono::steady_clock::now();
  if (options.rule == nibble::packing_rule::reference &&
      nibble::describe(options.encoding).family == encoding_family::nibble) {
    throw usage_error(fmt::format("--packing-rule reference: the reference implementation has no {}",
                                  nibble::to_string(options.encoding)));
  }
  const std::string output = choose_output(options);
  static_cast<void>(require_container(output, "pack", {nibble::container::apr}));
  const nibble::reader from = open_weights(options.input, options.single);
  carried_metadata carried = carry_metadata(from, nibble::container::apr);

  require_known_dtypes(from, options);
  require_globs_that_match(from, options);
  std::vector<packing_choice> choices;
  matrix_elements elements;
  for (const nibble::tensor_view& tensor : from) {
    if (any_glob_matches(options.drop, tensor.name())) continue;
    choices.push_back(choose_packing(from, tensor, options));
    if (tensor.shape().rank() >= 2) elements[choices.back().encoding] += tensor.elements();
  }
  if (choices.empty() && from.size() != 0) {
    throw usage_error(fmt::format("{}: --drop leaves no tensor", nibble::escape_text(from.name())));
  }
  require_unquantized_sources(from, choices, options);
  update_file_type(carried, elements);
  if (options.metadata_file) merge_metadata(carried.values, *options.metadata_file);
  if (choices.size() != from.size()) {
    carried.losses.push_back(
        {"tensors", fmt::format("{} dropped", grouped(from.size() - choices.size()))});
  }

  nibble::writer plan;
  plan.metadata() = std::move(carried.values);
  try {
    for (const packing_choice& each : choices) plan_tensor(plan, each, options.rule);
  } catch (const nibble::error& problem) {
    throw_as_of_source(problem.in_file(options.input), options.input);
  }
  const write_request request{.output = output,
                              .source = options.input,
                              .threads = options.threads,
                              .shard_size_bytes = options.shard_size_bytes,
                              .force = options.force};
  const write_report report(from, request, write_file(plan, request), std::move(carried.losses));
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  if (options.json) {
    nlohmann::json object = report.to_json();
    object["seconds"] = elapsed.count();
    print_json(schema_version::write, object);
  } else {
    print_out(report.text() +
              fmt::format("{:.2f} s, {:.1f} MB/s\n", elapsed.count(),
                          static_cast<double>(report.input_bytes()) / 1e6 / elapsed.count()));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
