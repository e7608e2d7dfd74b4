#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/file/path_text.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/finding.hpp>
#include <nibble/format/safetensors/index.hpp>
#include <nibble/format/shards.hpp>

namespace nibble {

/// What a file name says of the set that it is part of: the set's names and the file's position.
[[nodiscard]] inline std::optional<std::pair<shard_names, shard_position>> shard_of_path(
    const std::string& path) {
  return shard_names::from_file_name(text_of_path(path_of_text(path).filename()));
}

/// The name that Hugging Face gives the index of a set of safetensors files: that of
/// model-00001-of-00003.safetensors is model.safetensors.index.json.
[[nodiscard]] inline std::string index_name_of(const shard_names& names) {
  const std::string_view before = names.before;  // ends with a hyphen
  return join_text({before.substr(0, before.size() - 1), names.after, ".index.json"});
}

/// "shard 2 of 3".
[[nodiscard]] inline std::string position_text(const shard_position& at) {
  return join_text({"shard ", at.index + 1, " of ", at.count});
}

/// Opens the files of a set one after the other and holds them against each other and against what
/// names them, an index or one of the files. Reader(path, how) opens a single file.
template <class Reader>
class shard_set {
 public:
  /// Opens the set that `path` names: an index (model.safetensors.index.json), or one of its files. A
  /// file that is no part of a set is opened alone; is_set() is false then and shards() holds it.
  ///
  /// Throws as basic_reader::open_set() does, but for duplicate_name.
  shard_set(const std::string& path, file_access how)
      : path_(path), folder_(path_of_text(path).parent_path()), how_(how) {
    if (const input_file file(path, how); safetensors::is_index(file.bytes())) {
      open_indexed(parse_index(path, file.bytes()));
      return;
    }
    Reader given(path, how);
    if (const auto names = names_of_set(given)) {
      if (!open_by_index_beside(given, *names)) open_numbered(std::move(given), *names);
    } else {
      is_set_ = false;
      shards_.push_back(std::move(given));
    }
  }

  [[nodiscard]] bool is_set() const noexcept { return is_set_; }
  /// In order; none where an index names no file.
  [[nodiscard]] std::vector<Reader>& shards() noexcept { return shards_; }
  /// What is unusual about the set as a whole.
  [[nodiscard]] std::vector<finding>& notes() noexcept { return notes_; }

 private:
  using record_type =
      basic_shard_record<std::remove_cvref_t<decltype(std::declval<const Reader&>().metadata())>>;

  [[noreturn]] static void refuse(const std::string& file, std::string_view field, std::string found,
                                  std::string expected) {
    throw error(error_code::bad_shard, {.file = file,
                                        .field = std::string(field),
                                        .found = std::move(found),
                                        .expected = std::move(expected)});
  }

  /// The names of the set that a file is part of; nothing where it is part of none. Throws bad_shard
  /// where the names of the others cannot be told.
  [[nodiscard]] static std::optional<shard_names> names_of_set(const Reader& given) {
    const auto at = given.shard();
    if (!at) return std::nullopt;
    const auto named = shard_of_path(given.name());
    if (named && named->second == *at) return named->first;
    const auto record = record_type::find(given.metadata());
    const std::string pattern = record && record->pattern ? *record->pattern : std::string();
    if (named || pattern.empty()) {
      refuse(given.name(), "file name",
             join_text({position_text(*at), " by what the file says of itself"}),
             join_text({"a name such as ", shard_names{"NAME-", ".EXTENSION"}.name_of(*at)}));
    }
    auto names = shard_names::from_pattern(pattern);
    if (!names) {
      refuse(given.name(), "metadata.sharding.pattern", join_text({"'", pattern, "'"}),
             "a name such as model-{:05d}-of-{:05d}.apr, without separators");
    }
    return names;
  }

  [[nodiscard]] std::string path_in_folder(const std::string& name) const {
    return text_of_path(folder_ / path_of_text(name));
  }

  /// Opens one file. Throws bad_shard, saying which shard is missing.
  [[nodiscard]] Reader open(const std::string& path, const shard_position& at) const {
    try {
      return Reader(path, how_);
    } catch (const error& problem) {
      if (problem.code() != error_code::file_not_found) throw;
      throw error(error_code::bad_shard,
                  {.file = path,
                   .field = position_text(at),
                   .found = "no file",
                   .expected = join_text({"every shard of the set that '", path_, "' names"})});
    }
  }

  /// Opens the files beside `given`, which is one of them.
  void open_numbered(Reader given, const shard_names& names) {
    const shard_position given_at = *given.shard();
    const auto given_record = record_type::find(given.metadata());
    std::uint64_t tensors = 0;
    std::uint64_t tensor_bytes = 0;
    for (std::uint64_t i = 0; i < given_at.count; ++i) {
      const shard_position at{i, given_at.count};
      const std::string path = path_in_folder(names.name_of(at));
      Reader shard = i == given_at.index ? std::move(given) : open(path, at);
      require_numbered(shard, path, at, given_record);
      tensors += shard.size();
      tensor_bytes += bytes_of_tensors(shard);
      shards_.push_back(std::move(shard));
    }
    if (!given_record) return;
    if (given_record->total_tensors && *given_record->total_tensors != tensors) {
      refuse(path_, "split.tensors.count", join_text({tensors, " tensors in all shards"}),
             std::to_string(*given_record->total_tensors));
    }
    note_total(given_record->total_bytes, tensor_bytes);
  }

  /// Throws bad_shard unless a file is of the first one's kind, says that it is the shard that its name
  /// says, and has the same record of the set as the file that was given.
  void require_numbered(const Reader& shard, const std::string& path, const shard_position& at,
                        const std::optional<record_type>& given_record) const {
    if (!shards_.empty() && shard.container() != shards_.front().container()) {
      refuse(path, "container", std::string(to_string(shard.container())),
             std::string(to_string(shards_.front().container())));
    }
    const auto said = shard.shard();
    if (said != at) {
      refuse(path, position_text(at),
             said ? position_text(*said) : std::string("a file that says it is no shard"),
             "what its name says");
    }
    if (auto record = record_type::find(shard.metadata()); record && given_record) {
      record->at = given_record->at;
      if (*record != *given_record) {
        refuse(path, position_text(at), "another total or pattern of names",
               join_text({"those of '", path_, "'"}));
      }
    }
  }

  /// Opens a numbered file's set by its index where that lies beside it and maps the file; returns
  /// whether it does.
  [[nodiscard]] bool open_by_index_beside(const Reader& given, const shard_names& names) {
    if (given.container() != container::safetensors) return false;
    std::string beside = path_in_folder(index_name_of(names));
    std::error_code no_such_file;
    if (!std::filesystem::is_regular_file(path_of_text(beside), no_such_file)) return false;
    const input_file file(beside, how_);
    const safetensors::shard_index index = parse_index(beside, file.bytes());
    const std::string name = text_of_path(path_of_text(given.name()).filename());
    if (std::find(index.files.begin(), index.files.end(), name) == index.files.end()) return false;
    path_ = std::move(beside);
    open_indexed(index);
    return true;
  }

  /// Opens the files that an index names, and holds what they contain against it.
  void open_indexed(const safetensors::shard_index& index) {
    std::vector<bool> is_found(index.tensors.size());
    std::uint64_t tensor_bytes = 0;
    note_series unmapped(notes_);
    note_files(index);
    for (std::size_t i = 0; i < index.files.size(); ++i) {
      const shard_position at{i, index.files.size()};
      const std::string path = path_in_folder(index.files[i]);
      Reader shard = open(path, at);
      if (shard.container() != container::safetensors) {
        refuse(path, "container", std::string(to_string(shard.container())), "safetensors");
      }
      leave_out_unmapped(shard, i, index, is_found, unmapped);
      tensor_bytes += bytes_of_tensors(shard);
      shards_.push_back(std::move(shard));
    }
    std::move(unmapped).finish();
    require_all_found(index, is_found);
    note_total(index.total_bytes, tensor_bytes);
  }

  [[nodiscard]] static safetensors::shard_index parse_index(const std::string& path,
                                                            std::span<const std::byte> text) {
    try {
      return safetensors::parse_index(text);
    } catch (const error& problem) {
      throw problem.in_file(path);
    }
  }

  /// Marks a shard's tensors as found, and leaves out those that the index does not map to it.
  static void leave_out_unmapped(Reader& shard, std::size_t file, const safetensors::shard_index& index,
                                 std::vector<bool>& is_found, note_series& unmapped) {
    const auto mapped_name_at = [&](std::size_t i) -> const std::string& { return index.tensors[i]; };
    shard.keep_if([&](const tensor_view& tensor) {
      const auto place = index.names.find(tensor.name(), mapped_name_at);
      if (place && index.file_of_tensor[*place] == file) {
        is_found[*place] = true;
        return true;
      }
      unmapped.add({.tensor = std::string(tensor.name()),
                    .field = "index.weight_map",
                    .text = place ? join_text({"left out: the index maps it to '",
                                               index.files[index.file_of_tensor[*place]], "'"})
                                  : std::string("left out: the index does not map it"),
                    .file = shard.name()});
      return false;
    });
  }

  /// Notes that files whose names count a set are not all in the index.
  void note_files(const safetensors::shard_index& index) {
    for (const std::string& file : index.files) {
      const auto named = shard_names::from_file_name(file);
      if (!named || named->second.count == index.files.size()) continue;
      notes_.push_back({.field = "index.weight_map",
                        .text = join_text({"names ", index.files.size(), " files, '", file,
                                           "' is one of ", named->second.count, " by its name"})});
      return;
    }
  }

  void require_all_found(const safetensors::shard_index& index,
                         const std::vector<bool>& is_found) const {
    for (std::size_t i = 0; i < is_found.size(); ++i) {
      if (is_found[i]) continue;
      throw error(error_code::bad_shard, {.file = path_in_folder(index.files[index.file_of_tensor[i]]),
                                          .tensor = index.tensors[i],
                                          .field = "index.weight_map",
                                          .found = "no such tensor in the shard",
                                          .expected = join_text({"what '", path_, "' maps to it"})});
    }
  }

  [[nodiscard]] static std::uint64_t bytes_of_tensors(const Reader& shard) {
    std::uint64_t sum = 0;
    for (const tensor_view& tensor : shard) sum += tensor.size_bytes();
    return sum;
  }

  /// Programs count in it what they like (tied weights twice, files whole): a wrong one is no damage.
  void note_total(std::optional<std::uint64_t> recorded, std::uint64_t tensor_bytes) {
    if (!recorded || *recorded == tensor_bytes) return;
    notes_.push_back(
        {.field = "total_size",
         .text = join_text({*recorded, " is recorded, the tensors have ", tensor_bytes, " bytes"})});
  }

  std::string path_;
  std::filesystem::path folder_;
  file_access how_;
  bool is_set_ = true;
  std::vector<Reader> shards_;
  std::vector<finding> notes_;
};

}  // namespace nibble
