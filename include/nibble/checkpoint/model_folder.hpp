#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/file/system_error.hpp>
#include <nibble/format/shard_set.hpp>
#include <nibble/format/shards.hpp>

namespace nibble {

/// A model among the files of a folder.
struct model_in_folder {
  std::string file{};  ///< the name of the file that opens it: an index, a shard, the only one
  std::optional<shard_names> set{};  ///< the names of its shards, where it has some

  /// Whether a file of that name opens this model.
  [[nodiscard]] bool has(std::string_view name) const {
    if (name == file) return true;
    const auto named = shard_names::from_file_name(name);
    return set && named && named->first.before == set->before && named->first.after == set->after;
  }
};

namespace model_search {

/// The names of what is in a folder, in increasing order, without folders and hidden files. Links count
/// wherever they lead. Throws file_not_found, read_failed.
[[nodiscard]] inline std::vector<std::string> file_names(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  std::error_code problem;
  fs::directory_iterator entries(path_of_text(folder), problem);
  for (; !problem && entries != fs::directory_iterator(); entries.increment(problem)) {
    std::string name = text_of_path(entries->path().filename());
    std::error_code leads_nowhere;
    if (name.starts_with('.') || entries->is_directory(leads_nowhere)) continue;
    names.push_back(std::move(name));
  }
  if (problem) {
    throw error(problem == std::errc::no_such_file_or_directory ? error_code::file_not_found
                                                                : error_code::read_failed,
                {.file = folder, .field = "list", .found = problem.message()});
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline constexpr std::string_view index_ending = ".index.json";

/// The models that an index, a set of files or a single file with this ending makes up, in the order of
/// their names. `names` is in increasing order.
[[nodiscard]] inline std::vector<model_in_folder> models_with(std::string_view ending,
                                                              const std::vector<std::string>& names) {
  std::vector<model_in_folder> models;
  const auto is_covered = [&](const std::string& name) {
    return std::any_of(models.begin(), models.end(),
                       [&](const model_in_folder& each) { return each.has(name); });
  };
  const std::string of_index = join_text({ending, index_ending});
  for (const std::string& name : names) {
    if (!name.ends_with(of_index)) continue;
    const std::string stem = name.substr(0, name.size() - of_index.size());
    models.push_back({name, shard_names{stem + "-", std::string(ending)}});
  }
  for (const std::string& name : names) {
    if (!name.ends_with(ending) || is_covered(name)) continue;
    const auto named = shard_names::from_file_name(name);
    models.push_back({name, named ? std::optional(named->first) : std::nullopt});
  }
  return models;
}

}  // namespace model_search

/// Finds the model in a folder as Hugging Face lays it out: model.safetensors.index.json, else
/// consolidated.safetensors.index.json, else the one .safetensors file or set, else the one GGUF or .apr
/// file or set. An index is taken whether its files are there or not.
///
/// Throws file_not_found (no folder, or no model in it), read_failed, several_models (and lists them).
[[nodiscard]] inline model_in_folder find_model(const std::string& folder) {
  const std::vector<std::string> names = model_search::file_names(folder);
  std::vector<model_in_folder> checkpoints = model_search::models_with(".safetensors", names);
  for (const std::string_view stem : {"model", "consolidated"}) {
    const std::string index = join_text({stem, ".safetensors", model_search::index_ending});
    const auto found = std::find_if(checkpoints.begin(), checkpoints.end(),
                                    [&](const model_in_folder& each) { return each.file == index; });
    if (found != checkpoints.end()) return std::move(*found);
  }
  std::vector<model_in_folder> packed = model_search::models_with(".gguf", names);
  for (model_in_folder& each : model_search::models_with(".apr", names)) {
    packed.push_back(std::move(each));
  }
  for (std::vector<model_in_folder>& models : {std::ref(checkpoints), std::ref(packed)}) {
    if (models.size() == 1) return std::move(models.front());
    if (models.empty()) continue;
    std::string files;
    for (const model_in_folder& each : models) {
      files += join_text({files.empty() ? "'" : ", '", each.file, "'"});
    }
    throw error(error_code::several_models, {.file = folder,
                                             .field = "folder",
                                             .found = std::move(files),
                                             .expected = "one model, or the path of one of them"});
  }
  throw error(error_code::file_not_found,
              {.file = folder,
               .field = "folder",
               .found = "no model",
               .expected = "model.safetensors.index.json, a .safetensors, .gguf or .apr file"});
}

/// The path of the file that opens what `path` names: of a folder its model's (find_model()), otherwise
/// `path` itself. Throws as find_model() does.
[[nodiscard]] inline std::string path_of_model(const std::string& path) {
  const std::filesystem::path named = path_of_text(path);
  std::error_code not_there;
  if (!std::filesystem::is_directory(named, not_there)) return path;
  return text_of_path(named / path_of_text(find_model(path).file));
}

}  // namespace nibble
