#pragma once

#include <string>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/reader.hpp>

namespace nibble_command {

/// Opens what the user named: a set of files where it is an index, or one of several files, and
/// `single` is not asked for; otherwise the one file. Throws as opening does.
[[nodiscard]] inline nibble::reader open_input(const std::string& path, bool single) {
  if (single) return nibble::reader(path);
  try {
    return nibble::reader::open_set(path);
  } catch (const nibble::error& problem) {
    // Whoever has one file of a set, or a broken one, is told how to open it.
    const bool is_of_set =
        problem.code() == nibble::error_code::bad_shard ||
        (problem.code() == nibble::error_code::file_not_found && !problem.detail().expected.empty());
    if (!is_of_set || problem.detail().field.starts_with("index")) throw;
    nibble::error_detail detail = problem.detail();
    detail.expected += "; --single opens a shard alone";
    throw nibble::error(problem.code(), std::move(detail));
  }
}

}  // namespace nibble_command
