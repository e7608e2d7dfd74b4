#pragma once

#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include <nibble/checkpoint.hpp>
#include <nibble/checkpoint/model_folder.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/reader.hpp>

#include "exit_code.hpp"
#include "mapped_inputs.hpp"

namespace nibble_command {

/// Throws usage_error for what is no file: a tensor file is read from any place in it, which a pipe does
/// not allow.
inline void require_file(const std::string& path) {
  std::error_code ignored;
  const auto status = std::filesystem::status(nibble::path_of_text(path), ignored);
  const bool is_stream = path == "-" || std::filesystem::is_fifo(status) ||
                         std::filesystem::is_character_file(status) ||
                         std::filesystem::is_socket(status);
  if (!is_stream) return;
  throw usage_error(fmt::format(
      "{}: is no file but {}, and tensors are read from any place: write it to a file first",
      nibble::escape_text(path), path == "-" ? "standard input" : "a pipe or device"));
}

/// The first file of a set that was written under the name `path`: model-00001-of-00003.apr for model.apr;
/// empty where there is none.
[[nodiscard]] inline std::string first_shard_of(const std::string& path) {
  const std::filesystem::path named = nibble::path_of_text(path);
  const std::filesystem::path folder = named.has_parent_path() ? named.parent_path() : ".";
  const std::string start = nibble::text_of_path(named.stem()) + "-00001-of-";
  std::error_code problem;
  std::filesystem::directory_iterator entries(folder, problem);
  for (; !problem && entries != std::filesystem::directory_iterator(); entries.increment(problem)) {
    const std::string name = nibble::text_of_path(entries->path().filename());
    const bool is_shard = name.starts_with(start) && entries->path().extension() == named.extension();
    if (is_shard) return nibble::text_of_path(named.parent_path() / entries->path().filename());
  }
  return {};
}

/// What open() gives, its files noted as mapped. Whoever has one file of a set, or a broken one, is told
/// how to open it.
template <class Open>
[[nodiscard]] nibble::reader open_noted(const std::string& path, const Open& open) {
  require_file(path);
  mapped_inputs::begin(path);
  try {
    nibble::reader opened = open();
    mapped_inputs::add(opened.name(), opened.bytes());
    for (const nibble::reader& shard : opened.shards()) {
      mapped_inputs::add(shard.name(), shard.bytes());
    }
    return opened;
  } catch (const nibble::error& problem) {
    if (problem.code() == nibble::error_code::bad_scheme) {
      nibble::error_detail detail = problem.detail();
      detail.expected += "; --single takes the tensors as they are stored";
      throw nibble::error(problem.code(), std::move(detail));
    }
    if (problem.code() == nibble::error_code::file_not_found) {
      const std::string shard = first_shard_of(path);
      if (shard.empty()) throw;
      nibble::error_detail detail = problem.detail();
      detail.expected = fmt::format("a file of that name; {} is of a set", nibble::escape_text(shard));
      throw nibble::error(problem.code(), std::move(detail));
    }
    const std::string& field = problem.detail().field;
    const bool is_of_set = problem.code() == nibble::error_code::bad_shard;
    if (!is_of_set || field.starts_with("index") || field == "folder") throw;
    nibble::error_detail detail = problem.detail();
    detail.expected += "; --single opens a shard alone";
    throw nibble::error(problem.code(), std::move(detail));
  }
}

/// Opens what the user named: the model in a folder; a set of files where it is an index, or one of
/// several files, and `single` is not asked for; otherwise the one file. Metadata are what the files
/// themselves hold. Throws as opening does, and usage_error.
[[nodiscard]] inline nibble::reader open_files(const std::string& path, bool single) {
  return open_noted(path, [&] {
    return single ? nibble::reader(path) : nibble::reader::open_set(nibble::path_of_model(path));
  });
}

/// As open_files(), but unless `single` is asked for the metadata of safetensors are also those of
/// config.json and tokenizer.json beside them. Throws as opening does, and usage_error.
[[nodiscard]] inline nibble::reader open_input(const std::string& path, bool single,
                                               nibble::file_access how = nibble::file_access::mapped) {
  return open_noted(path, [&]() -> nibble::reader {
    if (single) return nibble::reader(path, how);
    return nibble::checkpoint(path, how);
  });
}

/// As open_input(), for what takes tensors for weights: throws unsupported_feature where the folder says
/// that they are codes and scales of a scheme that is not known here. Those of a scheme that is are weights
/// again: tensor_view::composed().
[[nodiscard]] inline nibble::reader open_weights(
    const std::string& path, bool single, nibble::file_access how = nibble::file_access::mapped) {
  nibble::reader opened = open_input(path, single, how);
  const auto scheme = nibble::quantization_scheme(opened.metadata());
  if (!scheme) return opened;
  throw nibble::error(nibble::error_code::unsupported_feature,
                      {.file = opened.name(),
                       .field = "quantization_config",
                       .found = "weights of the scheme '" + *scheme + "'",
                       .expected = "plain weights; --single takes the tensors as they are stored"});
}

}  // namespace nibble_command
