#pragma once

#include <optional>

#include <nibble/core/error.hpp>

namespace nibble_test {

/// The nibble::error that `work` throws, or nothing; any other exception passes through.
template <class Work>
std::optional<nibble::error> error_of(Work&& work) {
  try {
    work();
  } catch (const nibble::error& thrown) {
    return thrown;
  }
  return std::nullopt;
}

/// The code of the nibble::error that `work` throws, or nothing.
template <class Work>
std::optional<nibble::error_code> code_of(Work&& work) {
  const auto thrown = error_of(work);
  return thrown ? std::optional(thrown->code()) : std::nullopt;
}

}  // namespace nibble_test
