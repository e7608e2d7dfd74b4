#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "../support/catch.hpp"
#include "process.hpp"

/// What is required of a run of the command; a failure shows what it printed.
namespace nibble_test {

using words = std::vector<std::string>;

/// Requires that each of `parts` stands somewhere in `text`.
inline void require_contains(const std::string& text, const words& parts) {
  for (const std::string& part : parts) {
    INFO("'" << part << "' in " << text);
    REQUIRE(text.find(part) != std::string::npos);
  }
}

/// Requires that the command refused: exit code, nothing on standard output, and one line on standard
/// error that holds each of `parts`.
inline void require_refusal(const outcome& result, int exit_code, const words& parts) {
  INFO(result.err);
  REQUIRE(result.exit_code == exit_code);
  REQUIRE(result.out.empty());
  REQUIRE(result.err.starts_with("nibble: "));
  REQUIRE(std::ranges::count(result.err, '\n') == 1);
  REQUIRE(result.err.ends_with('\n'));
  require_contains(result.err, parts);
}

/// Requires that the command ended with this code, and gives what it printed.
inline outcome require_ended(const words& arguments, int exit_code) {
  outcome result = run(arguments);
  INFO(result.err << result.out);
  REQUIRE(result.exit_code == exit_code);
  return result;
}

/// Requires that the command ended with this code, and gives what it said: an answer on standard output, or
/// why there is none on standard error.
inline std::string told(const words& arguments, int exit_code = 0) {
  const outcome result = require_ended(arguments, exit_code);
  return exit_code < 2 ? result.out : result.err;
}

/// Requires that the command did it without a word on standard error, and gives its output.
inline std::string require_success(const words& arguments) {
  const outcome result = run(arguments);
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  REQUIRE(result.err.empty());
  return result.out;
}

/// The metadata that `meta --json` lists.
inline nlohmann::json metadata_of(const std::string& path, const words& more = {}) {
  words arguments{"meta", path, "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return nlohmann::json::parse(require_success(arguments)).at("metadata");
}

/// What `inspect --json` says of one tensor.
inline nlohmann::json entry_of(const nlohmann::json& listing, const std::string& name) {
  for (const nlohmann::json& tensor : listing.at("tensors")) {
    if (tensor.at("name") == name) return tensor;
  }
  FAIL("no tensor " << name);
  return {};
}

}  // namespace nibble_test
