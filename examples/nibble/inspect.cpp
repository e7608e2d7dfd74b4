#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include "command.hpp"
#include "open_input.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "table.hpp"
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

std::string ratio_text(std::optional<double> ratio) {
  return ratio ? fmt::format("{:.3f}", *ratio) : "-";
}

std::string describe(const nibble::reader& file) {
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

  using side = table::side;
  table tensors({{"name", side::left},
                 {"shape", side::right},
                 {"encoding", side::left},
                 {"elements", side::right},
                 {"bytes", side::right},
                 {"packing ratio", side::right},
                 {"offset", side::right}});
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;
  for (const nibble::tensor_view& tensor : file) {
    elements += tensor.elements();
    bytes += tensor.size_bytes();
    tensors.add_row({nibble::escape_text(tensor.name()), tensor.shape().to_string(),
                     nibble::escape_text(tensor.dtype_text()), grouped(tensor.elements()),
                     grouped(tensor.size_bytes()), ratio_text(tensor.packing_ratio()),
                     grouped(tensor.file_offset_bytes())});
  }
  tensors.add_rule();
  const std::string ratio =
      bytes == 0 || elements == 0
          ? "-"
          : fmt::format("{:.3f}", 4.0 * static_cast<double>(elements) / static_cast<double>(bytes));
  tensors.add_row({"total", "", "", grouped(elements), grouped(bytes), ratio, ""});
  text += '\n' + tensors.to_string();
  for (const std::string& warning : warnings_about(file))
    text += fmt::format("\n{}\n", nibble::escape_text(warning));
  return text;
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

nlohmann::json to_json(const nibble::reader& file) {
  using nlohmann::json;
  json tensors = json::array();
  json shards = json::array();
  for (const nibble::reader& shard : file.shards()) {
    shards.push_back(
        {{"file", shard.name()}, {"file_bytes", shard.file_bytes()}, {"tensors", shard.size()}});
  }
  for (const nibble::tensor_view& tensor : file) {
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
  if (options.json) {
    print_json(schema_version::inspect, to_json(file));
  } else {
    print_out(describe(file));
  }
  return exit_code::fine;
}

}  // namespace nibble_command
