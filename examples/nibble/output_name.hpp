#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/shard_set.hpp>

#include "exit_code.hpp"
#include "option_values.hpp"

/// One rule for the names of the files that are written: the suffix chooses the container.
namespace nibble_command {

/// The container that the suffix of a path names, in letters of either case, or nothing.
[[nodiscard]] inline std::optional<nibble::container> container_named_by(const std::string& path) {
  std::string suffix = nibble::text_of_path(nibble::path_of_text(path).extension());
  std::ranges::transform(suffix, suffix.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  for (const auto which :
       {nibble::container::apr, nibble::container::gguf, nibble::container::safetensors}) {
    if (suffix == fmt::format(".{}", nibble::to_string(which))) return which;
  }
  return std::nullopt;
}

/// The container that a path to write names. Throws usage_error where it names none, or none of
/// `writable`, the containers that the subcommand `by` writes.
[[nodiscard]] inline nibble::container require_container(
    const std::string& path, std::string_view by, std::initializer_list<nibble::container> writable) {
  if (path == "-") {
    throw usage_error(
        "-o -: standard output cannot take a tensor file, which is not written from front to back: "
        "name a file");
  }
  const auto named = container_named_by(path);
  if (named && std::ranges::find(writable, *named) != writable.end()) return *named;
  std::vector<std::string> names;
  for (const nibble::container which : writable) {
    names.push_back(fmt::format(".{}", nibble::to_string(which)));
  }
  throw usage_error(fmt::format("{}: {}; nibble {} writes {}{}", nibble::escape_text(path),
                                named ? fmt::format("the name says {}", nibble::to_string(*named))
                                      : std::string("the name ends in no known suffix"),
                                by, list_choices(names),
                                named ? ", nibble convert goes from one container to another" : ""));
}

/// Throws usage_error unless a path to write ends in `suffix`, in letters of either case.
inline void require_suffix(const std::string& path, std::string_view by, std::string_view suffix) {
  if (path == "-") throw usage_error(fmt::format("-o -: nibble {} writes a file: name one", by));
  if (in_lower_case(nibble::text_of_path(nibble::path_of_text(path).extension())) == suffix) return;
  throw usage_error(fmt::format("{}: the name does not end in {}, which nibble {} writes",
                                nibble::escape_text(path), suffix, by));
}

/// The name beside `input` that says what is written: model-q8.apr for model.safetensors, one shard of
/// it or its index, and for the folder model.
[[nodiscard]] inline std::string name_beside(const std::string& input, std::string_view encoding) {
  const std::filesystem::path path = nibble::path_of_text(input);
  std::error_code ignored;
  std::filesystem::path named = path.has_filename() ? path : path.parent_path();
  // "." and ".." are no names.
  if (named.filename() == "." || named.filename() == "..") {
    named = std::filesystem::canonical(named, ignored);
  }
  const bool is_folder = std::filesystem::is_directory(named, ignored);
  std::string stem = nibble::text_of_path(is_folder ? named.filename() : named.stem());
  if (const auto shard = nibble::shard_of_path(input)) {
    stem = shard->first.before;
    if (stem.ends_with('-')) stem.pop_back();
  }
  for (const std::string_view suffix : {".index", ".safetensors"}) {
    if (stem.ends_with(suffix)) stem.resize(stem.size() - suffix.size());
  }
  return nibble::text_of_path(named.parent_path() /
                              nibble::path_of_text(fmt::format("{}-{}.apr", stem, encoding)));
}

}  // namespace nibble_command
