#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>

namespace nibble_engine_test {

/// Whether it is an error of that code whose message has all these words.
template <class... Words>
bool says(const std::optional<nibble::error>& problem, nibble::error_code code, const Words&... words) {
  if (!problem || problem->code() != code) return false;
  const std::string message = problem->what();
  return ((message.find(std::string_view(words)) != std::string::npos) && ...);
}

}  // namespace nibble_engine_test
