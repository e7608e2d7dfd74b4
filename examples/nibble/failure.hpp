#pragma once

#include <csignal>
#include <exception>
#include <new>
#include <string>

#include <fmt/format.h>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

#if defined(NIBBLE_WITH_ENGINE)
#include <examples/engine/contract_error.hpp>
#endif

#include "exit_code.hpp"
#include "interruption.hpp"
#include "mapped_inputs.hpp"
#include "standard_streams.hpp"

namespace nibble_command {

/// What the command ends with where work was not done.
struct failure {
  exit_code code = exit_code::fine;
  std::string message{};  ///< one line; empty where there is nobody to tell
};

/// The error that a file was shortened where that is so, for it may have led to the one that was thrown.
[[nodiscard]] inline nibble::error true_cause(const nibble::error& thrown) {
  if (thrown.code() == nibble::error_code::write_failed) mapped_inputs::look_at_sizes();
  try {
    mapped_inputs::require_whole();
  } catch (const nibble::error& cause) {
    return cause;
  }
  return thrown;
}

/// What the exception that is being handled stands for.
[[nodiscard]] inline failure current_failure() {
  try {
    throw;
  } catch (const usage_error& problem) {
    return {exit_code::wrong_usage, problem.what()};
  } catch (const reader_left&) {
    return {exit_code::reader_left, {}};
  } catch (const nibble::error& thrown) {
    const nibble::error problem = true_cause(thrown);
    const exit_code code = exit_code_of(problem.code());
    if (code != exit_code::interrupted) return {code, problem.what()};
    return {interruption::received() == SIGTERM ? exit_code::terminated : code,
            fmt::format("interrupted, {} was not written", nibble::escape_text(problem.detail().file))};
#if defined(NIBBLE_WITH_ENGINE)
  } catch (const nibble_engine::contract_error& problem) {
    return {exit_code::not_what_it_claims, problem.what()};
#endif
  } catch (const std::bad_alloc&) {
    return {exit_code::input_output_failed, "out of memory"};
  } catch (const std::exception& problem) {
    return {exit_code::input_output_failed, nibble::escape_text(problem.what())};
  }
}

}  // namespace nibble_command
