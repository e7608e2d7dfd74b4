#pragma once

#include <string>
#include <utility>

#include <nibble/checkpoint.hpp>
#include <nibble/checkpoint/model_folder.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
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

/// As open_input(), for what takes tensors for weights: throws unsupported_feature where the folder says
/// that they are codes and scales of a scheme, which is not decoded here.
[[nodiscard]] inline nibble::reader open_weights(const std::string& path, bool single) {
  nibble::reader opened = open_input(path, single);
  const auto scheme = nibble::quantization_scheme(opened.metadata());
  if (!scheme) return opened;
  throw nibble::error(nibble::error_code::unsupported_feature,
                      {.file = opened.name(),
                       .field = "quantization_config",
                       .found = "weights of the scheme '" + *scheme + "'",
                       .expected = "plain weights; --single takes the tensors as they are stored"});
}

}  // namespace nibble_command
