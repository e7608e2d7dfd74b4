#pragma once

#include <functional>
#include <vector>

#include <CLI/CLI.hpp>

#include "exit_code.hpp"

namespace nibble_command {

/// A subcommand as the parser knows it, and what it does once the arguments are parsed.
struct subcommand {
  CLI::App* parser;  ///< owned by the whole command's
  std::function<exit_code()> run;
};

/// Describes every subcommand to the parser of the whole command.
[[nodiscard]] std::vector<subcommand> add_subcommands(CLI::App& app);

}  // namespace nibble_command
