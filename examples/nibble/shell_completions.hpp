#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

/// Completions for shells, made from what the parser knows of subcommands and options.
namespace nibble_command {

/// The subcommands of the whole command, in the order of its help.
[[nodiscard]] inline std::vector<const CLI::App*> subcommands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

/// "-o --output" of every option of a parser.
[[nodiscard]] inline std::vector<std::string> option_names(const CLI::App& parser) {
  std::vector<std::string> names;
  for (const CLI::Option* const option : parser.get_options()) {
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// The values that an option takes where they are few: what its description lists behind a colon.
[[nodiscard]] inline std::string value_choices(const CLI::Option& option) {
  if (option.get_type_name() != "ENCODING") return {};
  const std::string text = option.get_description();
  const std::size_t colon = text.find(": ");
  return colon == std::string::npos ? std::string() : text.substr(colon + 2);
}

/// Text between single quotes of a shell.
[[nodiscard]] inline std::string quoted_for_shell(std::string_view text) {
  std::string quoted = "'";
  for (const char letter : text) {
    if (letter == '\'') {
      quoted += "'\\''";
    } else {
      quoted += letter;
    }
  }
  return quoted + "'";
}

[[nodiscard]] inline std::string bash_completions(const CLI::App& app) {
  std::string names;
  std::string options;
  std::string values;
  for (const CLI::App* const each : subcommands_of(app)) {
    names += each->get_name() + " ";
    options +=
        fmt::format("    {}) options='{}' ;;\n", each->get_name(), fmt::join(option_names(*each), " "));
    for (const CLI::Option* const option : each->get_options()) {
      const std::string choices = value_choices(*option);
      if (choices.empty()) continue;
      for (const std::string& name : option->get_snames()) {
        values += fmt::format("    '{} -{}') choices='{}' ;;\n", each->get_name(), name, choices);
      }
      for (const std::string& name : option->get_lnames()) {
        values += fmt::format("    '{} --{}') choices='{}' ;;\n", each->get_name(), name, choices);
      }
    }
  }
  return fmt::format(
      R"(# bash completion of nibble, made by nibble completions bash
_nibble() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} options= choices=
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{}{}' -- "$word"))
    return
  fi
  case "${{COMP_WORDS[1]}} $before" in
{}  esac
  case "${{COMP_WORDS[1]}}" in
{}    help|man) choices='{}' ;;
    completions) choices='bash zsh fish' ;;
  esac
  case "${{COMP_WORDS[1]}}" in
{}  esac
  if [ -n "$choices" ]; then
    COMPREPLY=($(compgen -W "$choices" -- "$word"))
  elif [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _nibble nibble
)",
      names, fmt::join(option_names(app), " "), values, "", names, options);
}

[[nodiscard]] inline std::string zsh_completions(const CLI::App& app) {
  const auto plain = [](std::string text) {  // brackets and colons are syntax there
    for (char& letter : text) {
      if (letter == '[' || letter == ':') letter = letter == '[' ? '(' : ' ';
      if (letter == ']') letter = ')';
    }
    return text;
  };
  std::string list;
  std::string cases;
  for (const CLI::App* const each : subcommands_of(app)) {
    list += fmt::format("  {}\n",
                        quoted_for_shell(each->get_name() + ":" + plain(each->get_description())));
    cases += fmt::format("  {})\n    _arguments", each->get_name());
    for (const CLI::Option* const option : each->get_options()) {
      const bool takes_value = option->get_items_expected_max() != 0;
      const std::string choices = value_choices(*option);
      std::string value;
      if (takes_value) {
        value = fmt::format(":{}:{}", plain(option->get_type_name()),
                            choices.empty() ? "_files" : "(" + choices + ")");
      }
      const std::string repeated = option->get_expected_max() > 1 ? "*" : "";
      const auto add = [&](const std::string& name) {
        cases += " \\\n      " + quoted_for_shell(repeated + name + "[" +
                                                  plain(option->get_description()) + "]" + value);
      };
      for (const std::string& name : option->get_snames()) add("-" + name);
      for (const std::string& name : option->get_lnames()) add("--" + name);
    }
    cases += " \\\n      '*:file:_files'\n    ;;\n";
  }
  return fmt::format(R"(#compdef nibble
# zsh completion of nibble, made by nibble completions zsh
local -a subcommands
subcommands=(
{})
if (( CURRENT == 2 )); then
  _describe subcommand subcommands
  return
fi
shift words
(( CURRENT-- ))
case $words[1] in
{}esac
)",
                     list, cases);
}

[[nodiscard]] inline std::string fish_completions(const CLI::App& app) {
  std::string text = "# fish completion of nibble, made by nibble completions fish\n";
  for (const CLI::App* const each : subcommands_of(app)) {
    text += fmt::format("complete -c nibble -n __fish_use_subcommand -f -a {} -d {}\n",
                        each->get_name(), quoted_for_shell(each->get_description()));
    for (const CLI::Option* const option : each->get_options()) {
      if (option->get_positional()) continue;
      std::string line =
          fmt::format("complete -c nibble -n '__fish_seen_subcommand_from {}'", each->get_name());
      for (const std::string& name : option->get_snames()) line += " -s " + name;
      for (const std::string& name : option->get_lnames()) line += " -l " + name;
      if (option->get_items_expected_max() != 0) line += " -r";
      // A line of their own, before the option's: the description is not theirs.
      const std::string choices = value_choices(*option);
      if (!choices.empty()) text += fmt::format("{} -f -a '{}'\n", line, choices);
      text += fmt::format("{} -d {}\n", line, quoted_for_shell(option->get_description()));
    }
  }
  return text;
}

}  // namespace nibble_command
