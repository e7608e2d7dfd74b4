#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <nibble/version.hpp>

#include "shell_completions.hpp"

namespace nibble_command {

/// Text as roff has it: backslashes and minus signs as they are, no line that starts a request.
[[nodiscard]] inline std::string roff_text(std::string_view text) {
  std::string escaped;
  for (const char letter : text) {
    if (letter == '\\') {
      escaped += "\\e";
    } else if (letter == '-') {
      escaped += "\\-";
    } else {
      const bool starts_line = escaped.empty() || escaped.back() == '\n';
      if (starts_line && (letter == '.' || letter == '\'')) escaped += "\\&";
      escaped += letter;
    }
  }
  return escaped;
}

/// The manual page, section 1, of the whole command or of a subcommand: what its help says.
[[nodiscard]] inline std::string manual_page(const CLI::App& parser) {
  const CLI::App* const whole = parser.get_parent();
  const std::string name =
      whole == nullptr ? parser.get_name() : whole->get_name() + "-" + parser.get_name();
  const std::string typed =
      whole == nullptr ? parser.get_name() : whole->get_name() + " " + parser.get_name();
  std::string synopsis = fmt::format("\\fB{}\\fR", roff_text(typed));
  std::string options;
  for (const CLI::Option* const option : parser.get_options()) {
    const bool is_positional = option->get_positional();
    std::string names = is_positional ? roff_text(option->get_name(true)) : std::string();
    for (const std::string& each : option->get_snames()) names += fmt::format("\\fB\\-{}\\fR, ", each);
    for (const std::string& each : option->get_lnames())
      names += fmt::format("\\fB\\-\\-{}\\fR, ", roff_text(each));
    if (names.ends_with(", ")) names.resize(names.size() - 2);
    if (!is_positional && option->get_items_expected_max() != 0) {
      names += fmt::format(" \\fI{}\\fR", roff_text(option->get_type_name()));
    }
    if (is_positional) synopsis += " " + names;
    options += fmt::format(".TP\n{}\n{}\n", names, roff_text(option->get_description()));
    if (!option->get_default_str().empty()) {
      options += fmt::format("Unless given: {}.\n", roff_text(option->get_default_str()));
    }
  }
  if (whole == nullptr) synopsis += " \\fISUBCOMMAND\\fR";
  std::string page = fmt::format(
      ".TH {} 1 \"\" \"nibble {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{} "
      "[OPTIONS]\n",
      roff_text(name), NIBBLE_VERSION_STRING, roff_text(name), roff_text(parser.get_description()),
      synopsis);
  page += ".SH OPTIONS\n" + options;
  if (whole == nullptr) {
    page += ".SH SUBCOMMANDS\n";
    for (const CLI::App* const each : subcommands_of(parser)) {
      page += fmt::format(".TP\n\\fB{}\\fR\n{}\n", roff_text(each->get_name()),
                          roff_text(each->get_description()));
    }
  }
  page += ".SH EXIT STATUS\n" + roff_text(parser.get_footer()) + "\n";
  if (whole != nullptr) page += ".SH SEE ALSO\n\\fBnibble\\fR(1)\n";
  return page;
}

}  // namespace nibble_command
