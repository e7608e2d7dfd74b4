#pragma once

#include <algorithm>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/safetensors/index.hpp>
#include <nibble/format/shard_plan.hpp>
#include <nibble/format/shard_set.hpp>
#include <nibble/format/shards.hpp>
#include <nibble/reader.hpp>

#include "exit_code.hpp"
#include "text_layout.hpp"

namespace nibble_command {

/// Names of the files beside `path`, in alphabetical order; none where the folder cannot be listed.
[[nodiscard]] inline std::vector<std::string> names_in_folder_of(const std::string& path) {
  std::filesystem::path folder = nibble::path_of_text(path).parent_path();
  if (folder.empty()) folder = ".";
  std::vector<std::string> names;
  std::error_code ignored;
  for (std::filesystem::directory_iterator at(folder, ignored), end; !ignored && at != end;
       at.increment(ignored)) {
    names.push_back(nibble::text_of_path(at->path().filename()));
  }
  std::ranges::sort(names);
  return names;
}

/// Names of the files that are one set with the file at `path`: by the name of it, by what the file
/// there says of itself, or by an index beside it.
[[nodiscard]] inline std::set<std::string> set_around(const std::string& path) {
  const std::string own = nibble::text_of_path(nibble::path_of_text(path).filename());
  const std::vector<std::string> names = names_in_folder_of(path);
  std::set<std::string> members;
  const auto add_numbered = [&](const nibble::shard_names& set, std::uint64_t count) {
    for (const std::string& name : names) {
      const auto named = nibble::shard_names::from_file_name(name);
      if (named && named->first.before == set.before && named->first.after == set.after &&
          named->second.count == count) {
        members.insert(name);
      }
    }
  };
  if (const auto named = nibble::shard_of_path(path)) add_numbered(named->first, named->second.count);
  if (std::ranges::binary_search(names, own)) {
    try {
      const nibble::reader there(path);
      const auto record = nibble::shard_record::find(there.metadata());
      if (record && record->pattern) {
        const auto set = nibble::shard_names::from_pattern(*record->pattern);
        if (set) add_numbered(*set, record->at.count);
      }
    } catch (const nibble::error&) {  // no tensor file: part of no set by what it says
    }
  }
  const std::filesystem::path folder = nibble::path_of_text(path).parent_path();
  for (const std::string& name : names) {
    if (!name.ends_with(".index.json")) continue;
    try {
      const nibble::input_file file(nibble::text_of_path(folder / nibble::path_of_text(name)),
                                    nibble::file_access::mapped);
      if (!nibble::safetensors::is_index(file.bytes())) continue;
      const auto index = nibble::safetensors::parse_index(file.bytes());
      if (std::ranges::find(index.files, own) == index.files.end()) continue;
      members.insert(index.files.begin(), index.files.end());
    } catch (const nibble::error&) {  // no index that a set could be opened by
    }
  }
  return members;
}

/// Throws usage_error where files that are to be written would take the place of some shards of a set
/// and leave the others, which then no longer open.
inline void require_whole_sets(std::span<const std::string> paths) {
  std::set<std::string> written;
  for (const std::string& path : paths) {
    written.insert(nibble::text_of_path(nibble::path_of_text(path).filename()));
  }
  for (const std::string& path : paths) {
    const std::set<std::string> members = set_around(path);
    for (const std::string& member : members) {
      if (written.contains(member)) continue;
      throw usage_error(fmt::format(
          "{}: is a shard of a set, with {}, that could not be opened any more: another name, or "
          "--force",
          nibble::escape_text(path), nibble::escape_text(member)));
    }
  }
}

/// Names of shards that lie beside what was written to `output`, of a set of that name but of another
/// number of files than `count`.
[[nodiscard]] inline std::vector<std::string> shards_left_over(const std::string& output,
                                                               std::size_t count) {
  const nibble::shard_names set = nibble::names_of_set(output);
  std::vector<std::string> left;
  for (const std::string& name : names_in_folder_of(output)) {
    const auto named = nibble::shard_names::from_file_name(name);
    if (named && named->first.before == set.before && named->first.after == set.after &&
        (count < 2 || named->second.count != count)) {
      left.push_back(name);
    }
  }
  return left;
}

}  // namespace nibble_command
