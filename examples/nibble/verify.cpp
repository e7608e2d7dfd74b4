#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>

#include <nibble/compute/thread_pool.hpp>

#include "command.hpp"
#include "open_input.hpp"
#include "progress_bar.hpp"
#include "standard_streams.hpp"
#include "text_layout.hpp"

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
  return line + fmt::format(": {}\n", nibble::escape_text(found.text));
}

std::vector<nibble::finding> examine(const nibble::reader& file, unsigned threads) {
  nibble::thread_pool on(threads);
  progress_bar bar;
  watched_executor watched(on, bar, file.name());
  return file.examine({.executor = &watched});
}

}  // namespace

exit_code verify(const verify_options& options) {
  const nibble::reader file = open_input(options.input, options.single);
  const std::vector<nibble::finding> findings = examine(file, options.threads);
  std::size_t problems = 0;
  for (const nibble::finding& found : findings) {
    problems += found.severity == nibble::finding::kind::problem ? 1U : 0U;
  }
  const std::size_t notes = findings.size() - problems;

  if (options.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const nibble::finding& found : findings) {
      list.push_back(
          {{"severity", severity_text(found)},
           {"tensor", found.tensor.empty() ? nlohmann::json(nullptr) : nlohmann::json(found.tensor)},
           {"file", found.file.empty() ? nlohmann::json(nullptr) : nlohmann::json(found.file)},
           {"field", found.field},
           {"text", found.text}});
    }
    print_json(
        nlohmann::json{{"file", file.name()}, {"ok", problems == 0}, {"findings", std::move(list)}});
  } else {
    std::string text;
    for (const nibble::finding& found : findings) text += describe(found);
    text += fmt::format("{}: {}, {} read, {}, {}\n", nibble::escape_text(file.name()),
                        problems == 0 ? "ok" : "not ok", counted(file.size(), "tensor"),
                        counted(problems, "problem"), counted(notes, "note"));
    print_out(text);
  }
  return problems == 0 ? exit_code::fine : exit_code::answer_is_no;
}

}  // namespace nibble_command
