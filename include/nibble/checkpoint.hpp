#pragma once

#include <concepts>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/checkpoint/compose_weights.hpp>
#include <nibble/checkpoint/folder_metadata.hpp>
#include <nibble/checkpoint/model_folder.hpp>
#include <nibble/checkpoint/quantization_scheme.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/error.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/reader.hpp>

namespace nibble {

/// A model as hubs serve it, open for reading: a folder with an index, shards and config.json, or any
/// file that reader::open_set() opens. It is a reader, and can be moved into one.
///
///   const nibble::checkpoint in("Qwen2-0.5B");
///   in.metadata()["num_layers"];
///   in["model.norm.weight"];
///
/// Json is a specialization of nlohmann::basic_json; nibble::checkpoint is the one for nlohmann::json.
template <class Json>
class basic_checkpoint : public basic_reader<Json> {
 public:
  /// Opens what `path` names: the model of a folder (find_model()), an index, a file, or a set of files
  /// by one of them (reader::open_set()). name() is the path of the file that opened it.
  ///
  /// Where the model is safetensors and that of its folder, whether the folder or a file was named, the
  /// metadata are the folder's (metadata_of_folder()) beside the file's own; of a key in both the
  /// folder's value counts.
  ///
  /// Of safetensors, tensors that make up one weight together (codes, scales, zero points) are listed as
  /// that weight where compose_weights() knows the scheme: see tensor_view::composed(). The metadata then
  /// have no quantization_config. Where the scheme is not known, they have, and the tensors are those that
  /// are stored.
  ///
  /// Throws what these throw: several_models, file_not_found (no model, the target of a link),
  /// bad_metadata (naming file and key), bad_shard, bad_scheme and so on. The template parameter is no
  /// choice (core/architecture.hpp).
  template <std::same_as<this_architecture> Architecture = this_architecture>
  explicit basic_checkpoint(const std::string& path, file_access how = file_access::mapped)
      : basic_checkpoint(locate(path), how) {
    compose<Architecture>();
  }

 private:
  /// What to open.
  struct location {
    std::string file;    ///< a path
    std::string folder;  ///< in which it lies
    bool is_model_of_folder;
  };

  basic_checkpoint(const location& at, file_access how)
      : basic_reader<Json>(basic_reader<Json>::open_set(at.file, how)) {
    if (this->container() != container::safetensors || !at.is_model_of_folder) return;
    this->add_metadata(metadata_of_folder<Json>(at.folder));
  }

  template <class Architecture>
  void compose() {
    if (this->container() != container::safetensors) return;
    try {
      auto made = compose_weights(this->tensors(), this->metadata());
      if (!made) return;
      this->list_composed(std::move(made->weights), std::move(made->tensors), std::move(made->notes));
    } catch (const error& problem) {
      throw problem.in_file(this->name());
    }
    for (const std::string_view key : quantization_configs) this->remove_metadata(std::string(key));
  }

  [[nodiscard]] static location locate(const std::string& path) {
    const std::string file = path_of_model(path);
    const std::filesystem::path named = path_of_text(file);
    const std::string folder = text_of_path(named.parent_path());
    return {file, folder, file != path || is_model_of(folder, text_of_path(named.filename()))};
  }

  /// Whether a file opens the model of its folder. A folder that has none, or several, does not keep
  /// the file from being opened.
  [[nodiscard]] static bool is_model_of(const std::string& folder, std::string_view file) {
    try {
      return find_model(folder.empty() ? std::string(".") : folder).has(file);
    } catch (const error&) {
      return false;
    }
  }
};

/// A checkpoint whose metadata is nlohmann::json.
using checkpoint = basic_checkpoint<nlohmann::json>;

}  // namespace nibble
