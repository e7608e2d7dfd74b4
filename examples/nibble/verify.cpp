#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include <nibble/compute/thread_pool.hpp>

#if defined(NIBBLE_WITH_ENGINE)
#include <examples/engine/model_config.hpp>
#endif

#include "command.hpp"
#include "open_input.hpp"
#include "option_values.hpp"
#include "progress_bar.hpp"
#include "schema_version.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"
#include "typed_metadata.hpp"

namespace nibble_command {
namespace {

std::string_view severity_text(const nibble::finding& found) {
  return found.severity == nibble::finding::kind::problem ? "problem" : "note";
}

std::string describe(const nibble::finding& found) {
  std::string line(severity_text(found));
  if (!found.file.empty()) line += fmt::format(": {}", nibble::escape_text(found.file));
  if (!found.tensor.empty()) line += fmt::format(": tensor '{}'", nibble::escape_text(found.tensor));
  if (!found.field.empty()) line += fmt::format(": {}", nibble::escape_text(found.field));
  return line + fmt::format(": {} ({})\n", nibble::escape_text(found.text), found.code);
}

/// Where a bit that changes would not be seen if it still decodes: no checksums.
std::vector<nibble::finding> note_checksums(const nibble::reader& file) {
  std::vector<nibble::finding> notes;
  const auto look = [&](const nibble::reader& one, const std::string& shard) {
    const bool has_checksums =
        one.footer_crc32().has_value() ||
        std::ranges::any_of(one.tensors(), [](const nibble::tensor_view& tensor) {
          return tensor.crc32().has_value();
        });
    if (has_checksums) return;
    notes.push_back({.field = "checksums",
                     .text = "none: layout and values checked; a changed bit that still decodes is not "
                             "seen, but by nibble "
                             "hash --check",
                     .file = shard,
                     .code = "no_checksums"});
  };
  if (file.shards().empty()) look(file, {});
  for (const nibble::reader& shard : file.shards()) look(shard, shard.name());
  return notes;
}

/// What `nibble run` would refuse the metadata for, where they are of a model that it runs.
std::vector<nibble::finding> note_metadata([[maybe_unused]] const nibble::reader& file) {
  std::vector<nibble::finding> notes;
#if defined(NIBBLE_WITH_ENGINE)
  const nlohmann::json metadata = typed_metadata(file);
  if (!metadata.contains("architecture") && !metadata.contains("general.architecture")) return notes;
  try {
    static_cast<void>(nibble_engine::read_config(metadata, file.name()));
  } catch (const nibble::error& problem) {
    if (problem.code() == nibble::error_code::unsupported_feature) return notes;
    const nibble::error_detail& detail = problem.detail();
    notes.push_back({.field = detail.field,
                     .text = fmt::format("nibble run refuses it: found {}, expected {}", detail.found,
                                         detail.expected),
                     .code = "not_runnable"});
  }
#endif
  return notes;
}

std::vector<nibble::finding> examine(const nibble::reader& file, unsigned threads) {
  nibble::thread_pool on(threads);
  progress_bar bar;
  watched_executor watched(on, bar, file.name(), file.file_bytes());
  std::vector<nibble::finding> findings = note_checksums(file);
  for (nibble::finding& found : note_metadata(file)) findings.push_back(std::move(found));
  for (nibble::finding& found : file.examine({.executor = &watched})) {
    findings.push_back(std::move(found));
  }
  return findings;
}

/// Throws usage_error for what --fail-on does not know.
void require_known_causes(const std::vector<std::string>& causes) {
  const std::vector<std::string> known = {
      "problem",           "note",         "never",     "wrong_checksum", "non_finite_scales",
      "non_finite_values", "mostly_zeros", "all_zeros", "not_decoded",    "no_checksums",
      "not_runnable",      "unusual"};
  for (const std::string& cause : causes) require_choice("--fail-on", cause, known);
  const bool has_never = std::ranges::find(causes, "never") != causes.end();
  if (has_never && causes.size() > 1) throw usage_error("--fail-on never: goes with no other");
}

/// Whether a finding makes the answer no: a problem, or what --fail-on adds; with `never` none.
bool is_failure(const nibble::finding& found, const std::vector<std::string>& causes) {
  const auto has = [&](std::string_view cause) {
    return std::ranges::find(causes, cause) != causes.end();
  };
  if (has("never")) return false;
  return found.severity == nibble::finding::kind::problem || has("note") || has(found.code);
}

nlohmann::json or_null(const std::string& text) {
  return text.empty() ? nlohmann::json(nullptr) : nlohmann::json(text);
}

nlohmann::json to_json(const nibble::finding& found) {
  return {{"severity", severity_text(found)}, {"code", found.code},   {"tensor", or_null(found.tensor)},
          {"file", or_null(found.file)},      {"field", found.field}, {"text", found.text}};
}

/// The answer about a file that could not be opened.
nlohmann::json to_json(const std::string& file, const nibble::error& problem) {
  using nlohmann::json;
  return {{"file", file},
          {"format", nullptr},
          {"ok", false},
          {"error", {{"code", nibble::to_string(problem.code())}, {"message", problem.what()}}},
          {"tensors", nullptr},
          {"problems", nullptr},
          {"notes", nullptr},
          {"findings", json::array()}};
}

}  // namespace

exit_code verify(const verify_options& options) {
  require_known_causes(options.fail_on);
  std::optional<nibble::reader> opened;
  try {
    opened = open_input(options.input, options.single);
  } catch (const nibble::error& problem) {
    if (options.json) print_json(schema_version::verify, to_json(options.input, problem));
    throw;
  }
  const nibble::reader& file = *opened;
  const std::vector<nibble::finding> findings = examine(file, options.threads);
  std::size_t problems = 0;
  bool is_fine = true;
  for (const nibble::finding& found : findings) {
    problems += found.severity == nibble::finding::kind::problem ? 1U : 0U;
    is_fine = is_fine && !is_failure(found, options.fail_on);
  }
  const std::size_t notes = findings.size() - problems;

  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const nibble::finding& found : findings) list.push_back(to_json(found));
    print_json(schema_version::verify, nlohmann::json{{"file", file.name()},
                                                      {"format", nibble::to_string(file.container())},
                                                      {"ok", is_fine},
                                                      {"error", nullptr},
                                                      {"tensors", file.size()},
                                                      {"problems", problems},
                                                      {"notes", notes},
                                                      {"findings", std::move(list)}});
  } else {
    std::string text;
    for (const nibble::finding& found : findings) text += describe(found);
    text += fmt::format("{}: {}, {} read, {}, {}\n", nibble::escape_text(file.name()),
                        !is_fine        ? "not ok"
                        : problems == 0 ? "ok"
                                        : "problems that --fail-on never passes by",
                        counted(file.size(), "tensor"), counted(problems, "problem"),
                        counted(notes, "note"));
    print_out(text);
  }
  return is_fine ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
