/// nibble: packs, converts, lists, checks, unpacks, compares, splits, merges and measures tensor files.

#include <span>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/version.hpp>

#include "arguments.hpp"
#include "arguments_check.hpp"
#include "exit_code.hpp"
#include "failure.hpp"
#include "manual_page.hpp"
#include "option_values.hpp"
#include "shell_completions.hpp"
#include "standard_streams.hpp"
#include "subcommands.hpp"

namespace nibble_command {
namespace {

/// Prints what --help of the parser prints.
exit_code print_help(const CLI::App& parser) {
  // help() of the whole command would give that of the subcommand that was parsed.
  const CLI::App* const whole = parser.get_parent();
  const std::string name =
      whole == nullptr ? parser.get_name() : whole->get_name() + " " + parser.get_name();
  print_out(parser.get_formatter()->make_help(&parser, name, CLI::AppFormatMode::Normal));
  return exit_code::fine;
}

/// Parses the arguments and runs the subcommand that they name.
exit_code run_command(const std::vector<std::string>& arguments) {
  CLI::App app(
      "Quantized tensor files: pack, convert, inspect, verify, unpack, diff, split, merge, bench, run.",
      "nibble");
  app.set_version_flag("--version", "nibble " NIBBLE_VERSION_STRING);
  app.require_subcommand(1);
  app.get_formatter()->column_width(32);
  app.footer(
      "Exit codes: 0 fine; 1 the answer is no; 2 wrong usage; 3 a file is not what it claims to be;\n"
      "4 input or output failed.");
  const std::vector<subcommand> subcommands = add_subcommands(app);

  std::string asked_about;
  std::string shell;
  const auto takes_subcommand = [&](CLI::App& parser) {
    parser.add_option("SUBCOMMAND", asked_about, "pack, convert ...")->type_name("");
  };
  takes_subcommand(*app.add_subcommand("help", "Print the help of a subcommand, or this"));
  CLI::App& manual = *app.add_subcommand(
      "man", "Print the manual page of a subcommand, or of nibble, as roff for man -l -");
  takes_subcommand(manual);
  CLI::App& completions = *app.add_subcommand(
      "completions", "Print completions for a shell, bash, zsh or fish, for its eval");
  completions.add_option("SHELL", shell, "bash, zsh or fish")->type_name("")->required();

  if (arguments.size() < 2) return print_help(app);
  arguments_check(app, std::span(arguments).subspan(1)).run();
  std::vector<const char*> words;
  for (const std::string& argument : arguments) words.push_back(argument.c_str());
  try {
    app.parse(static_cast<int>(words.size()), words.data());
  } catch (const CLI::Success& asked) {  // --help, --version
    std::ostringstream text;
    app.exit(asked, text, text);
    print_out(text.str());
    return exit_code::fine;
  } catch (const CLI::ParseError&) {
    throw usage_error("these arguments do not go together; nibble --help says more");
  }
  for (const subcommand& each : subcommands) {
    if (each.parser->parsed()) return each.run();
  }
  if (completions.parsed()) {
    require_choice("SHELL", shell, {"bash", "zsh", "fish"});
    print_out(shell == "bash"  ? bash_completions(app)
              : shell == "zsh" ? zsh_completions(app)
                               : fish_completions(app));
    return exit_code::fine;
  }
  const CLI::App* asked = asked_about.empty() ? &app : nullptr;
  for (const CLI::App* const each : subcommands_of(app)) {
    if (each->get_name() == asked_about) asked = each;
  }
  if (asked == nullptr) {
    const std::vector<std::string> wrong{asked_about};
    arguments_check(app, wrong).run();  // says which there are
    return exit_code::wrong_usage;
  }
  if (!manual.parsed()) return print_help(*asked);
  print_out(manual_page(*asked));
  return exit_code::fine;
}

}  // namespace
}  // namespace nibble_command

int main(int argc, char** argv) {
  try {
    nibble_command::prepare_standard_streams();
    return static_cast<int>(nibble_command::run_command(nibble_command::arguments_of(argc, argv)));
  } catch (...) {
    const nibble_command::failure problem = nibble_command::current_failure();
    if (!problem.message.empty()) nibble_command::print_error(problem.message);
    return static_cast<int>(problem.code);
  }
}
