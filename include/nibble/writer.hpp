#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/compute/row_source.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/file/atomic_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/apr/serialise.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/serialise.hpp>
#include <nibble/format/planned_tensor.hpp>
#include <nibble/format/safetensors/serialise.hpp>
#include <nibble/format/shard_plan.hpp>
#include <nibble/format/shards.hpp>
#include <nibble/format/tensor_plan.hpp>
#include <nibble/format/write_container.hpp>
#include <nibble/format/write_progress.hpp>

namespace nibble {

/// What write() may be told.
struct write_options {
  nibble::container container = nibble::container::apr;  ///< which kind of file to write
  nibble::executor* executor = nullptr;  ///< packs and writes; null: the calling thread does
  /// Called after every part (256 KiB of f32 or a row, 1 MiB of stored bytes), by one thread at a time;
  /// false cancels. Encodings with one scale for the tensor read it up to twice before they write it;
  /// written_bytes stands still meanwhile.
  std::function<bool(const write_progress&)> progress{};
  /// Tensor bytes that one file may hold; 0: as many as there are. More than that, and an .apr plan is
  /// written as several files: NAME-00001-of-00003.apr and so on for NAME.apr.
  std::uint64_t shard_size_bytes = 0;
  /// As shard_size_bytes, but what may not be more is the size of a file, header and metadata included;
  /// 0: unlimited. A file with one tensor, or the first one where its metadata are long, may be larger.
  std::uint64_t shard_file_bytes = 0;
  /// The shard of each tensor in the order of add(), counted from 0, for a set of so many .apr files as
  /// there are shards, each with a tensor; empty: the sizes above say. For who keeps the parting that
  /// another set has.
  std::span<const std::size_t> shard_of_tensors{};
};

/// A plan of tensors and metadata, which write() packs and writes in one go.
///
/// Nothing is packed before write(): spans are borrowed and row sources kept until then. The same plan
/// gives the same bytes on every machine, whatever the order of add() and the executor.
///
/// Json is a specialization of nlohmann::basic_json; nibble::writer is the one for nlohmann::json.
template <class Json>
class basic_writer : public tensor_plan {
 public:
  basic_writer() : metadata_(Json::object()) {}

  /// The file's metadata, an object to be filled. "nibble" and "quantization" are written by the
  /// library.
  [[nodiscard]] Json& metadata() noexcept { return metadata_; }
  /// As above.
  [[nodiscard]] const Json& metadata() const noexcept { return metadata_; }

  /// Packs and writes all tensors. The file appears under `path` when every byte of it is on the disk;
  /// on a failure before that, the old file is untouched and no partial file stays. A directory that
  /// cannot be synced is an error too, though the new file is in place then. Memory beyond the plan:
  /// about 0.5 MiB or two rows a task, and the directory.
  ///
  /// With options.shard_size_bytes or one of its like, a plan of more tensor bytes becomes a set of files, each of whole
  /// tensors, in the order of their names, as many as fit; one that alone is larger has a file to
  /// itself. Each says in its metadata which part it is ("sharding"), the first holds the plan's own
  /// metadata. All are written and synced before any appears. Then the first of a set that stood there
  /// before is removed, the others are renamed into place and the first comes last, so that no set is
  /// ever part old and part new; a kill within these renames leaves one without its first file, which
  /// open_set() refuses by name. Every file of the set is open until then.
  ///
  /// What a killed write of .apr to this path left beside it, of one file or of any number of shards,
  /// is removed first; what a live writer has locked is not. Shards under their final names stay, also
  /// those of an older set of more shards.
  ///
  /// Returns the paths of the files written.
  ///
  /// Throws not_representable (naming tensor, element and value), write_failed, already_being_written,
  /// bad_metadata, what the container cannot hold (unsupported_encoding, bad_name, bad_shape), what
  /// readers refuse (directory_too_large: tens of thousands of tensors without bytes, say),
  /// invalid_argument (importance of columns as packing_options does not allow it; shards of another container than .apr; shard_of_tensors that are not one for each
  /// tensor, or leave a shard without any), cancelled, and whatever a row source or
  /// the progress callback throws.
  ///
  /// The template parameter is no choice: it gives each translation unit the code of its own
  /// instruction set (core/architecture.hpp).
  template <std::same_as<this_architecture> Architecture = this_architecture>
  std::vector<std::string> write(const std::string& path, const write_options& options = {}) const {
    try {
      return write_shards<Architecture>(path, options);
    } catch (const error& problem) {
      throw problem.in_file(path);
    }
  }

  /// The paths of the files that write() with these options writes. Throws what it throws for what the
  /// container cannot hold.
  [[nodiscard]] std::vector<std::string> paths(const std::string& path,
                                               const write_options& options = {}) const {
    const std::size_t count = shards_for(path, options).size();
    if (count < 2) return {path};
    return paths_of_set(path, count);
  }

  /// How long the one file is that write() with these options writes, header and all; sizes of shards are
  /// left aside. Throws what write() throws for what the container cannot hold.
  [[nodiscard]] std::uint64_t file_bytes(const write_options& options = {}) const {
    std::vector<planned_tensor> tensors;
    tensors.reserve(entries().size());
    for (const plan_entry& each : entries()) tensors.push_back(each.tensor);
    switch (options.container) {
      case container::gguf:
        return gguf::basic_serialiser<Json>(std::move(tensors), metadata_).file_bytes();
      case container::safetensors:
        return safetensors::basic_serialiser<Json>(std::move(tensors), metadata_).file_bytes();
      default: return apr::basic_serialiser<Json>(std::move(tensors), metadata_).file_bytes();
    }
  }

 private:
  using places = std::vector<std::size_t>;  ///< in entries()

  [[nodiscard]] static std::vector<std::string> paths_of_set(const std::string& path,
                                                             std::size_t count) {
    const std::filesystem::path folder = path_of_text(path).parent_path();
    const shard_names names = names_of_set(path);
    std::vector<std::string> paths;
    for (std::size_t i = 0; i < count; ++i) {
      paths.push_back(text_of_path(folder / path_of_text(names.name_of({i, count}))));
    }
    return paths;
  }

  template <class Architecture>
  [[nodiscard]] std::vector<std::string> write_shards(const std::string& path,
                                                      const write_options& options) const {
    const std::vector<places> shards = shards_for(path, options);
    if (options.container == container::apr) remove_leftovers_of_set(path);
    if (shards.size() > 1) {
      if (options.container == container::apr) return write_set<Architecture>(shards, path, options);
      throw error(error_code::invalid_argument,
                  {.field = "shards",
                   .found = std::to_string(shards.size()),
                   .expected = "one, for only .apr files are written in several"});
    }
    std::vector<planned_tensor> tensors = tensors_at(shards[0]);
    switch (options.container) {
      case container::apr:
        write_file<Architecture>(apr::basic_serialiser<Json>(std::move(tensors), metadata_), shards[0],
                                 path, options);
        break;
      case container::gguf:
        write_file<Architecture>(gguf::basic_serialiser<Json>(std::move(tensors), metadata_), shards[0],
                                 path, options);
        break;
      case container::safetensors:
        write_file<Architecture>(safetensors::basic_serialiser<Json>(std::move(tensors), metadata_),
                                 shards[0], path, options);
        break;
    }
    return {path};
  }

  /// The tensors of each file, as places in entries().
  [[nodiscard]] std::vector<places> shards_for(const std::string& path,
                                               const write_options& options) const {
    if (!options.shard_of_tensors.empty()) {
      return split_as_given(entries(), options.shard_of_tensors);
    }
    if (options.shard_file_bytes == 0 || options.container != container::apr) {
      return split_into_shards(entries(), std::max(options.shard_size_bytes, options.shard_file_bytes));
    }
    std::vector<places> whole = split_into_shards(entries(), 0);
    using serialiser = apr::basic_serialiser<Json>;
    if (serialiser(tensors_at(whole[0]), metadata_).file_bytes() <= options.shard_file_bytes) {
      return whole;
    }
    const shard_names names = names_of_set(path);
    // There are no more shards than tensors: their record is no longer for fewer of them.
    const std::uint64_t most = std::max<std::uint64_t>(entries().size(), 2);
    return split_into_fitting_shards(
        entries(), [&](std::span<const std::size_t> shard, std::size_t index) {
          const Json metadata = metadata_of_shard({index, most}, names);
          return serialiser(tensors_at(shard), metadata).file_bytes() <= options.shard_file_bytes;
        });
  }

  [[nodiscard]] std::vector<planned_tensor> tensors_at(std::span<const std::size_t> shard) const {
    std::vector<planned_tensor> tensors;
    tensors.reserve(shard.size());
    for (const std::size_t place : shard) tensors.push_back(entries()[place].tensor);
    return tensors;
  }

  template <class Architecture, ContainerSerialiser Serialiser>
  void write_file(Serialiser serialiser, std::span<const std::size_t> shard, const std::string& path,
                  const write_options& options) const {
    atomic_file file(path, serialiser.file_bytes());
    progress_report report(options.progress, planned_bytes());
    write_container(serialiser, entries(), shard, file, report, options.executor);
    file.commit();
  }

  /// What metadata shard `at` has: the first one the plan's, each the record of its position.
  [[nodiscard]] Json metadata_of_shard(const shard_position& at, const shard_names& names) const {
    Json metadata = at.index == 0 ? metadata_ : Json::object();
    require_object(metadata, "metadata");
    using record = basic_shard_record<Json>;
    metadata[record::key] =
        record{.at = at, .total_bytes = planned_bytes(), .pattern = names.pattern()}.to_json();
    return metadata;
  }

  template <class Architecture>
  [[nodiscard]] std::vector<std::string> write_set(const std::vector<places>& shards,
                                                   const std::string& path,
                                                   const write_options& options) const {
    const shard_names names = names_of_set(path);
    std::vector<apr::basic_serialiser<Json>> serialisers;
    const std::vector<std::string> paths = paths_of_set(path, shards.size());
    for (std::size_t i = 0; i < shards.size(); ++i) {
      serialisers.emplace_back(tensors_at(shards[i]), metadata_of_shard({i, shards.size()}, names));
    }
    std::vector<std::unique_ptr<atomic_file>> files;
    std::vector<atomic_file*> to_commit;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      files.push_back(std::make_unique<atomic_file>(paths[i], serialisers[i].file_bytes()));
      to_commit.push_back(files.back().get());
    }
    progress_report report(options.progress, planned_bytes());
    for (std::size_t i = 0; i < shards.size(); ++i) {
      write_container(serialisers[i], entries(), shards[i], *files[i], report, options.executor);
    }
    atomic_file::commit_set(to_commit);
    return paths;
  }

  Json metadata_;
};

/// A writer whose metadata is nlohmann::json.
using writer = basic_writer<nlohmann::json>;

inline namespace NIBBLE_ARCHITECTURE {

/// Rows of a tensor that is open elsewhere, decoded to f32 as they are asked for. The view's bytes must
/// outlive the source, or the weight that it is composed of; throws unsupported_encoding at once where
/// it cannot be decoded.
template <class Architecture = default_architecture>
[[nodiscard]] row_source rows_of(const tensor_view& view) {
  if (view.composed() == nullptr) require_codec(view.encoding(), view.name());
  return [view](std::uint64_t first_row, std::uint64_t row_count, std::span<float> values) {
    dequantize_rows<float, Architecture>(view, first_row, row_count, values);
  };
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
