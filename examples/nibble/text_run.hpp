#pragma once

#include <functional>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "command.hpp"
#include "running_model.hpp"

namespace nibble_command {

/// Goes on with a text on an open model that has a tokenizer, and prints what comes as it comes. `ended`
/// is called once the last token is there, and gives what the JSON document has beside its own.
[[nodiscard]] exit_code go_on(const run_options& options, nibble_engine::model& model,
                              double load_seconds, const std::function<nlohmann::json()>& ended = {});

/// An option of ranks that was given, with its value; empty where none was.
[[nodiscard]] inline std::string ranks_option_of(const run_options& options) {
  if (!options.shares.empty()) return fmt::format("--shares {}", fmt::join(options.shares, ","));
  return options.cut.empty() ? std::string() : "--cut " + options.cut;
}

/// run() where a launcher has started several processes for it; nothing where none has. Throws usage_error
/// where there are no ranks and an option is theirs.
[[nodiscard]] std::optional<exit_code> run_on_ranks(const run_options& options);

}  // namespace nibble_command
