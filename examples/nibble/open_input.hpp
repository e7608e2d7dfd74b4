#pragma once

#include <string>
#include <utility>

#include <nibble/checkpoint.hpp>
#include <nibble/checkpoint/model_folder.hpp>
#include <nibble/core/error.hpp>
#include <nibble/reader.hpp>

namespace nibble_command {

/// What open() gives. Whoever has one file of a set, or a broken one, is told how to open it.
template <class Open>
[[nodiscard]] nibble::reader open_telling_of_single(const Open& open) {
  try {
    return open();
  } catch (const nibble::error& problem) {
    const std::string& field = problem.detail().field;
    const bool is_of_set =
        problem.code() == nibble::error_code::bad_shard ||
        (problem.code() == nibble::error_code::file_not_found && !problem.detail().expected.empty());
    if (!is_of_set || field.starts_with("index") || field == "folder") throw;
    nibble::error_detail detail = problem.detail();
    detail.expected += "; --single opens a shard alone";
    throw nibble::error(problem.code(), std::move(detail));
  }
}

/// Opens what the user named: the model in a folder; a set of files where it is an index, or one of
/// several files, and `single` is not asked for; otherwise the one file. Metadata are what the files
/// themselves hold. Throws as opening does.
[[nodiscard]] inline nibble::reader open_files(const std::string& path, bool single) {
  if (single) return nibble::reader(path);
  return open_telling_of_single([&] { return nibble::reader::open_set(nibble::path_of_model(path)); });
}

/// As open_files(), but unless `single` is asked for the metadata of safetensors are also those of
/// config.json and tokenizer.json beside them. Throws as opening does.
[[nodiscard]] inline nibble::reader open_input(const std::string& path, bool single) {
  if (single) return nibble::reader(path);
  return open_telling_of_single([&]() -> nibble::reader { return nibble::checkpoint(path); });
}

}  // namespace nibble_command
