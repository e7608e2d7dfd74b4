#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/compute/executor.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/composed_weight.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/finding.hpp>
#include <nibble/format/parse_container.hpp>
#include <nibble/format/shard_set.hpp>
#include <nibble/format/shards.hpp>
#include <nibble/format/tensor_list.hpp>

namespace nibble {

namespace verification {

/// Call the free functions of verify.hpp, which the type of `in` finds where that header is included:
/// reader.hpp does without the kernels that they need. Architecture is this_architecture.
template <class Architecture, class Reader, class... Arguments>
[[nodiscard]] std::vector<finding> call_examine(const Reader& in, const Arguments&... arguments) {
  static_assert(
      requires { examine(in, arguments...); }, "reader::examine() needs #include <nibble/verify.hpp>");
  return examine(in, arguments...);
}
template <class Architecture, class Reader, class... Arguments>
void call_verify(const Reader& in, const Arguments&... arguments) {
  static_assert(
      requires { verify(in, arguments...); }, "reader::verify() needs #include <nibble/verify.hpp>");
  verify(in, arguments...);
}

}  // namespace verification

/// A container that is open for reading: its directory, checked against the file, and views of its
/// tensors, in the order in which their bytes stand in the file.
///
/// Json is a specialization of nlohmann::basic_json; nibble::reader is the one for nlohmann::json.
///
/// Views and their names live as long as the reader does, and stay valid when it is moved. All
/// member functions that are const may be called from several threads at once.
template <class Json>
class basic_reader : public tensor_list<tensor_view> {
 public:
  /// Opens a file; what kind it is shows in its first bytes, not in its name. Everything that can be
  /// told without reading the tensors is checked here, and every error names the file.
  ///
  /// Throws file_not_found, read_failed, unknown_container, and whatever the container's parse throws:
  /// unsupported_version, unsupported_feature, header_checksum, truncated, bad_layout, bad_metadata,
  /// bad_record, bad_index, bad_name, bad_shape, size_mismatch, missing_footer, duplicate_name,
  /// directory_too_large.
  ///
  /// Whatever the file says, opening takes time in proportion to what stands in front of its tensors,
  /// and at most four times the file and 16 MB of memory (beside the copy that file_access::read
  /// makes): metadata or an index that would take more once they are read are refused as
  /// directory_too_large. That is nothing a model comes near.
  ///
  /// A file that is mapped must not be truncated while it is open: touching what it has lost raises
  /// SIGBUS, which ends the program. Writing a new file over its name, as this library does, is no
  /// truncation. A host that opens files which others may shorten (cp onto them, an editor, a network
  /// file system) has two ways: file_access::read, which is immune, or a handler of SIGBUS that maps
  /// zeros over the pages from si_addr to the end of bytes() (mmap with MAP_FIXED), notes the file and
  /// returns; the host looks at the note before it trusts what it computed. A handler that throws or
  /// jumps leaves the locks of executors held.
  explicit basic_reader(std::string path, file_access how = file_access::mapped)
      : tensor_list(std::move(path)), file_(name(), how), bytes_(file_.bytes()) {
    open();
  }
  /// As above, so that a string literal is a path.
  explicit basic_reader(const char* path, file_access how = file_access::mapped)
      : basic_reader(std::string(path), how) {}

  /// Opens a container in memory, which must outlive the reader; `name` stands for the path in
  /// messages.
  explicit basic_reader(std::span<const std::byte> bytes, std::string name = "memory")
      : tensor_list(std::move(name)), bytes_(bytes) {
    open();
  }

  /// Opens a set of files that hold one model between them, given its index (Hugging Face's
  /// model.safetensors.index.json) or any of its files, named NAME-00001-of-00003.EXTENSION: .apr files
  /// say in their metadata which part they are ("sharding"), GGUF files too ("split.no"), safetensors
  /// files by their names alone. A file that is no part of a set is opened by itself.
  ///
  /// An index is the authority: a tensor that it does not map to the file that holds it is left out, and
  /// noted. Where the index of numbered safetensors files lies beside them under the name that Hugging
  /// Face gives it, and maps the file that is given, it is the one that is opened.
  ///
  /// The set reads like one file: tensors() are those of all shards, shard by shard; metadata() is the
  /// first shard's, without what is true of that shard alone; file_bytes() is the sum; examine() and
  /// verify() read all shards. A tensor's file_offset_bytes() is that in its own shard.
  ///
  /// Throws, beside what opening each file throws: bad_shard (a shard is missing, two files are one
  /// shard, or they disagree with each other or with the index, or a name leads out of the directory), duplicate_name (a tensor in two shards), bad_metadata (the index is malformed).
  /// Every file is held to its own bound of memory; metadata of the first one is kept twice.
  [[nodiscard]] static basic_reader open_set(const std::string& path,
                                             file_access how = file_access::mapped) {
    shard_set<basic_reader> opened(path, how);
    if (!opened.is_set()) return std::move(opened.shards().front());
    return basic_reader(path, std::move(opened.shards()), std::move(opened.notes()));
  }

  /// Which kind of file it is.
  [[nodiscard]] nibble::container container() const noexcept { return directory_.container; }
  /// The file's size; of a set, the sum.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept {
    std::uint64_t sum = bytes_.size();
    for (const basic_reader& shard : shards_) sum += shard.file_bytes();
    return sum;
  }
  /// The file's bytes; none of a set, whose shards() have them.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }
  /// The files of a set, in order; none where a single file is open.
  [[nodiscard]] std::span<const basic_reader> shards() const noexcept { return shards_; }
  /// Where a single file is open that says, in its metadata or by its name, that it is one of several:
  /// which one.
  [[nodiscard]] std::optional<shard_position> shard() const {
    if (!shards_.empty()) return std::nullopt;
    if (const auto record = basic_shard_record<Json>::find(directory_.metadata)) return record->at;
    if (directory_.container != container::safetensors) return std::nullopt;
    const auto named = shard_of_path(name());
    return named && named->second.count > 1 ? std::optional(named->second) : std::nullopt;
  }
  /// The metadata as an object: an .apr file's own, a GGUF file's keys and values (with what JSON does
  /// not say of them under "nibble.gguf", see gguf::value_record), a safetensors file's map of strings.
  [[nodiscard]] const Json& metadata() const noexcept { return directory_.metadata; }
  /// The JSON that the file holds, to the letter: an .apr file's metadata, a safetensors header. Empty
  /// for GGUF, which has none.
  [[nodiscard]] std::string_view metadata_text() const noexcept { return directory_.metadata_text; }
  /// What opening found unusual and did not refuse.
  [[nodiscard]] std::span<const finding> notes() const noexcept { return directory_.notes; }
  /// The CRC-32 that the file records of every byte before it, in its last four; nothing where it has
  /// none, and of a set.
  [[nodiscard]] std::optional<std::uint32_t> footer_crc32() const noexcept {
    return directory_.footer_crc32;
  }

  /// nibble::examine() of this container, or of its tensor of that name. Include verify.hpp (nibble.hpp
  /// does).
  template <std::same_as<this_architecture> Architecture = this_architecture>
  [[nodiscard]] std::vector<finding> examine(const compute_options& options = {}) const {
    return verification::call_examine<Architecture>(*this, options);
  }
  /// As above.
  template <std::same_as<this_architecture> Architecture = this_architecture>
  [[nodiscard]] std::vector<finding> examine(std::string_view tensor,
                                             const compute_options& options = {}) const {
    return verification::call_examine<Architecture>(*this, tensor, options);
  }
  /// nibble::verify() of this container, or of its tensor of that name. Include verify.hpp (nibble.hpp
  /// does).
  template <std::same_as<this_architecture> Architecture = this_architecture>
  void verify(const compute_options& options = {}) const {
    verification::call_verify<Architecture>(*this, options);
  }
  /// As above.
  template <std::same_as<this_architecture> Architecture = this_architecture>
  void verify(std::string_view tensor, const compute_options& options = {}) const {
    verification::call_verify<Architecture>(*this, tensor, options);
  }

 protected:
  /// Adds metadata that stand beside the file; of a key in both they count.
  void add_metadata(Json&& from) {
    for (auto& [key, value] : from.items()) directory_.metadata[key] = std::move(value);
  }

  /// Lists `tensors` in the place of what the files list: views of theirs, and of `weights`, which the
  /// reader keeps. Notes are added. Throws duplicate_name.
  void list_composed(std::vector<std::unique_ptr<const composed_weight>> weights,
                     std::vector<tensor_view> tensors, std::vector<finding> notes) {
    composed_ = std::move(weights);
    for (finding& note : notes) directory_.notes.push_back(std::move(note));
    const tensor_view* const repeated = list(std::move(tensors));
    if (repeated == nullptr) return;
    throw error(error_code::duplicate_name, {.file = name(),
                                             .tensor = std::string(repeated->name()),
                                             .field = "name",
                                             .found = "a stored tensor and one that others make up",
                                             .expected = "one of them"});
  }
  /// Leaves metadata out.
  void remove_metadata(const std::string& key) { directory_.metadata.erase(key); }

 private:
  friend class shard_set<basic_reader>;  // it leaves tensors out

  /// A set of files that are open. Throws duplicate_name.
  basic_reader(std::string name, std::vector<basic_reader> shards, std::vector<finding> notes)
      : tensor_list(std::move(name)), shards_(std::move(shards)) {
    list_shards();
    directory_.notes = std::move(notes);
    if (shards_.empty()) {
      directory_.container = container::safetensors;
      directory_.metadata = Json::object();
      return;
    }
    const basic_directory<Json>& first = shards_.front().directory_;
    directory_.container = first.container;
    directory_.metadata_text = first.metadata_text;
    directory_.metadata = first.metadata;
    basic_shard_record<Json>::erase_from(directory_.metadata);
    directory_.metadata.erase(apr::basic_packing_record<Json>::key);
  }

  /// Makes one list of the shards' tensors.
  void list_shards() {
    std::vector<tensor_view> tensors;
    std::size_t count = 0;
    for (const basic_reader& shard : shards_) count += shard.size();
    tensors.reserve(count);
    for (const basic_reader& shard : shards_) {
      tensors.insert(tensors.end(), shard.begin(), shard.end());
    }
    if (const tensor_view* const repeated = list(std::move(tensors))) {
      std::string files;
      for (const basic_reader& shard : shards_) {
        if (!shard.contains(repeated->name())) continue;
        files += join_text({files.empty() ? "" : " and ", shard.name()});
      }
      throw error(error_code::duplicate_name, {.file = this->name(),
                                               .tensor = std::string(repeated->name()),
                                               .field = "shards",
                                               .found = std::move(files),
                                               .expected = "every tensor in one shard"});
    }
  }

  void open() {
    try {
      directory_ = parse_container<Json>(bytes_);
    } catch (const error& problem) {
      throw problem.in_file(name());
    }
    list(directory_.tensors, std::move(directory_.names), [&](const tensor_info& tensor) {
      return tensor_view(tensor, bytes_.subspan(static_cast<std::size_t>(tensor.file_offset_bytes),
                                                static_cast<std::size_t>(tensor.size_bytes)));
    });
  }

  input_file file_;
  std::span<const std::byte> bytes_;
  std::vector<basic_reader> shards_;                              ///< of a set; a single file has none
  std::vector<std::unique_ptr<const composed_weight>> composed_;  ///< what views of such point to
  basic_directory<Json> directory_;
};

/// A reader whose metadata is nlohmann::json.
using reader = basic_reader<nlohmann::json>;

}  // namespace nibble
