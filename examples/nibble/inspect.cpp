#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include "command.hpp"
#include "glob.hpp"
#include "open_input.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
#include "tensor_kind.hpp"
#include "text_layout.hpp"
#include "value_summary.hpp"

namespace nibble_command {
namespace {

/// What the owner of the file should know before handing it on.
std::vector<std::string> warnings_about(const nibble::reader& file) {
  using nibble::encoding_family;
  std::string nibble_only;
  std::uint64_t unknown = 0;
  for (const nibble::encoding_description& row : nibble::encodings) {
    const auto holds_it = [&](const nibble::tensor_view& tensor) {
      return tensor.has_encoding() && tensor.encoding() == row.encoding;
    };
    if (row.family == encoding_family::nibble && std::ranges::any_of(file.tensors(), holds_it)) {
      nibble_only += fmt::format("{}{}", nibble_only.empty() ? "" : " and ", row.name);
    }
  }
  for (const nibble::tensor_view& tensor : file) {
    unknown += tensor.has_encoding() || tensor.composed() != nullptr ? 0U : 1U;
  }

  std::vector<std::string> warnings;
  if (!nibble_only.empty()) {
    warnings.push_back(
        fmt::format("this file holds {}: programs that do not know nibble cannot read it; "
                    "apr_q4 and apr_q8 are there for those",
                    nibble_only));
  }
  if (unknown != 0) {
    warnings.push_back(
        fmt::format("{} of a dtype that is not known here: listed, but not to be decoded",
                    counted(unknown, "tensor")));
  }
  for (const nibble::finding& note : file.notes()) {
    warnings.push_back(fmt::format("{}{}{}{}", note.file, note.file.empty() ? "" : ": ",
                                   note.tensor.empty() ? "" : fmt::format("tensor '{}': ", note.tensor),
                                   note.text));
  }
  return warnings;
}

/// Throws usage_error for a glob that matches no tensor.
void require_globs_that_match(const nibble::reader& file, const std::vector<std::string>& globs) {
  for (const std::string& glob : globs) {
    const auto matches = [&](const nibble::tensor_view& tensor) {
      return glob_matches(glob, tensor.name());
    };
    if (std::ranges::any_of(file.tensors(), matches)) continue;
    throw usage_error(fmt::format("--only '{}' matches no tensor of {}{}", nibble::escape_text(glob),
                                  nibble::escape_text(file.name()), wider_glob(glob, file.tensors())));
  }
}

bool is_listed(const nibble::tensor_view& tensor, const inspect_options& options) {
  return options.only.empty() || any_glob_matches(options.only, tensor.name());
}

/// Tensors together.
struct tensor_sums {
  std::uint64_t tensors = 0;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  std::set<std::string, std::less<>> encodings{};

  void add(const nibble::tensor_view& tensor) {
    ++tensors;
    elements += tensor.elements();
    bytes += tensor.size_bytes();
    encodings.emplace(tensor.dtype_text());
  }
  [[nodiscard]] std::optional<double> packing_ratio() const {
    if (bytes == 0 || elements == 0) return std::nullopt;
    return 4.0 * static_cast<double>(elements) / static_cast<double>(bytes);
  }
};

/// What a file's tensors are like, together.
struct tensor_summary {
  std::map<std::string, tensor_sums, std::less<>> by_encoding{};
  std::map<std::string, tensor_sums, std::less<>> by_kind{};
  tensor_sums all{};
  std::uint64_t layers = 0;  ///< the most tensors that there are of a kind with one number

  tensor_summary(const nibble::reader& file, const inspect_options& options) {
    for (const nibble::tensor_view& tensor : file) {
      if (!is_listed(tensor, options)) continue;
      by_encoding[std::string(tensor.dtype_text())].add(tensor);
      by_kind[kind_of(tensor.name())].add(tensor);
      all.add(tensor);
    }
    for (const auto& [kind, sums] : by_kind) {
      if (std::ranges::count(kind, '*') == 1) layers = std::max(layers, sums.tensors);
    }
  }
};

std::string ratio_text(std::optional<double> ratio) {
  return ratio ? fmt::format("{:.3f}", *ratio) : "-";
}

std::string to_text(const tensor_summary& of) {
  using side = table::side;
  table encodings({{"encoding", side::left},
                   {"tensors", side::right},
                   {"elements", side::right},
                   {"bytes", side::right},
                   {"packing ratio", side::right}});
  table kinds({{"kind", side::left},
               {"tensors", side::right},
               {"encodings", side::left},
               {"elements", side::right},
               {"bytes", side::right},
               {"share", side::right}});
  for (const auto& [name, sums] : of.by_encoding) {
    encodings.add_row({nibble::escape_text(name), grouped(sums.tensors), grouped(sums.elements),
                       grouped(sums.bytes), ratio_text(sums.packing_ratio())});
  }
  encodings.add_rule();
  encodings.add_row({"total", grouped(of.all.tensors), grouped(of.all.elements), grouped(of.all.bytes),
                     ratio_text(of.all.packing_ratio())});
  for (const auto& [name, sums] : of.by_kind) {
    const double share =
        of.all.bytes == 0 ? 0.0
                          : 100.0 * static_cast<double>(sums.bytes) / static_cast<double>(of.all.bytes);
    kinds.add_row({nibble::escape_text(name), grouped(sums.tensors),
                   nibble::escape_text(fmt::format("{}", fmt::join(sums.encodings, " "))),
                   grouped(sums.elements), grouped(sums.bytes), fmt::format("{:.1f} %", share)});
  }
  return fmt::format("\n{}\n{}\n{}", encodings.to_string(), counted(of.layers, "layer") + '\n',
                     kinds.to_string());
}

nlohmann::json to_json(const tensor_summary& of, const nibble::reader& file) {
  using nlohmann::json;
  const auto listed = [](const auto& sums_by_name, const char* name_key) {
    json list = json::array();
    for (const auto& [name, sums] : sums_by_name) {
      const auto ratio = sums.packing_ratio();
      list.push_back({{name_key, name},
                      {"tensors", sums.tensors},
                      {"encodings", sums.encodings},
                      {"elements", sums.elements},
                      {"bytes", sums.bytes},
                      {"packing_ratio", ratio ? json(*ratio) : json(nullptr)}});
    }
    return list;
  };
  return {{"file", file.name()},
          {"format", nibble::to_string(file.container())},
          {"file_bytes", file.file_bytes()},
          {"tensors", of.all.tensors},
          {"elements", of.all.elements},
          {"bytes", of.all.bytes},
          {"layers", of.layers},
          {"encodings", listed(of.by_encoding, "encoding")},
          {"kinds", listed(of.by_kind, "kind")},
          {"warnings", warnings_about(file)}};
}

std::string describe_head(const nibble::reader& file) {
  std::string text = fmt::format("{}: {}, {}, {}", nibble::escape_text(file.name()),
                                 nibble::to_string(file.container()),
                                 counted(file.file_bytes(), "byte"), counted(file.size(), "tensor"));
  if (const auto at = file.shard()) {
    text += fmt::format(", shard {} of {}", at->index + 1, at->count);
  }
  text += '\n';
  for (const nibble::reader& shard : file.shards()) {
    text += fmt::format("  in {}: {}, {}\n", nibble::escape_text(shard.name()),
                        counted(shard.file_bytes(), "byte"), counted(shard.size(), "tensor"));
  }
  for (const auto& [key, value] : file.metadata().items()) {
    if (value.is_null()) continue;
    text += fmt::format("  {}: {}\n", nibble::escape_text(key), summarise(value));
  }
  return text;
}

std::string describe_end(const nibble::reader& file) {
  std::string text;
  for (const std::string& warning : warnings_about(file)) {
    text += fmt::format("\n{}\n", nibble::escape_text(warning));
  }
  return text;
}

std::string describe(const nibble::reader& file, const inspect_options& options) {
  std::string text = describe_head(file);
  using side = table::side;
  table tensors({{"name", side::left},
                 {"shape", side::right},
                 {"encoding", side::left},
                 {"elements", side::right},
                 {"bytes", side::right},
                 {"packing ratio", side::right},
                 {"offset", side::right}});
  tensor_sums sums;
  for (const nibble::tensor_view& tensor : file) {
    if (!is_listed(tensor, options)) continue;
    sums.add(tensor);
    tensors.add_row({nibble::escape_text(tensor.name()), tensor.shape().to_string(),
                     nibble::escape_text(tensor.dtype_text()), grouped(tensor.elements()),
                     grouped(tensor.size_bytes()), ratio_text(tensor.packing_ratio()),
                     grouped(tensor.file_offset_bytes())});
  }
  tensors.add_rule();
  tensors.add_row({"total", "", "", grouped(sums.elements), grouped(sums.bytes),
                   ratio_text(sums.packing_ratio()), ""});
  return text + '\n' + tensors.to_string() + describe_end(file);
}

/// A tensor and the place of its file among the set's, or null: of a single file, and of a weight that
/// tensors of several files may make up.
nlohmann::json to_json(const nibble::tensor_view& tensor, const nlohmann::json& shard) {
  using nlohmann::json;
  const auto or_null = [](const auto& value) { return value ? json(*value) : json(nullptr); };
  const bool is_known = tensor.has_encoding();
  const auto dimensions = tensor.shape().dimensions();
  return {{"name", tensor.name()},
          {"encoding", is_known ? json(nibble::to_string(tensor.encoding())) : json(nullptr)},
          {"dtype", is_known ? json(nullptr) : json(tensor.dtype_text())},
          {"dtype_id", or_null(tensor.dtype_id())},
          {"shape", std::vector<std::uint64_t>(dimensions.begin(), dimensions.end())},
          {"elements", tensor.elements()},
          {"bytes", tensor.size_bytes()},
          {"packing_ratio", or_null(tensor.packing_ratio())},
          {"shard", shard},
          {"offset", tensor.file_offset_bytes()}};
}

nlohmann::json to_json(const nibble::reader& file, const inspect_options& options) {
  using nlohmann::json;
  json tensors = json::array();
  json shards = json::array();
  for (const nibble::reader& shard : file.shards()) {
    shards.push_back(
        {{"file", shard.name()}, {"file_bytes", shard.file_bytes()}, {"tensors", shard.size()}});
  }
  for (const nibble::tensor_view& tensor : file) {
    if (!is_listed(tensor, options)) continue;
    json place = nullptr;
    for (std::size_t i = 0; i < file.shards().size() && tensor.composed() == nullptr; ++i) {
      if (file.shards()[i].contains(tensor.name())) place = i;
    }
    tensors.push_back(to_json(tensor, place));
  }
  const auto at = file.shard();
  return {{"file", file.name()},
          {"format", nibble::to_string(file.container())},
          {"file_bytes", file.file_bytes()},
          {"metadata", file.metadata()},
          {"tensors", std::move(tensors)},
          {"shard", at ? json{{"index", at->index}, {"count", at->count}} : json(nullptr)},
          {"shards", std::move(shards)},
          {"warnings", warnings_about(file)}};
}

}  // namespace

exit_code inspect(const inspect_options& options) {
  const nibble::reader file = open_input(options.input, options.single);
  require_globs_that_match(file, options.only);
  if (options.names) {
    if (options.summary || options.json) {
      throw usage_error("--names prints names alone: not with --summary or --json");
    }
    std::string names;
    for (const nibble::tensor_view& tensor : file) {
      if (is_listed(tensor, options)) names += nibble::escape_text(tensor.name()) + "\n";
    }
    print_out(names);
    return exit_code::fine;
  }
  if (options.summary) {
    const tensor_summary summary(file, options);
    if (options.json) {
      print_json(schema_version::summary, to_json(summary, file));
    } else {
      print_out(describe_head(file) + to_text(summary) + describe_end(file));
    }
  } else if (options.json) {
    print_json(schema_version::inspect, to_json(file, options));
  } else {
    print_out(describe(file, options));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
