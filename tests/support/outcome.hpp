#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/error.hpp>

namespace nibble_test {

/// What came of some work: "taken", or the code and message of the nibble::error that ended it.
struct outcome {
  std::string code;
  std::string message;
};

template <class Work>
[[nodiscard]] outcome outcome_of(Work&& work) {
  try {
    work();
  } catch (const nibble::error& thrown) {
    return {std::string(nibble::to_string(thrown.code())), thrown.what()};
  }
  return {"taken", ""};
}

/// The parts that `text` lacks, for a message that a failing CHECK prints; empty where it has them all.
[[nodiscard]] inline std::string missing_parts(std::string_view text,
                                               const std::vector<std::string>& parts) {
  std::string missing;
  for (const std::string& part : parts) {
    if (text.find(part) != std::string_view::npos) continue;
    missing += fmt::format("'{}' not in: {}; ", part, text);
  }
  return missing;
}

/// The parts that the message of the error that ends `work` lacks; also where nothing ends it.
template <class Work>
[[nodiscard]] std::string missing_in_error(Work&& work, const std::vector<std::string>& parts) {
  const outcome end = outcome_of(work);
  return end.code == "taken" ? "no error" : missing_parts(end.message, parts);
}

}  // namespace nibble_test
