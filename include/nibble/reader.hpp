#pragma once

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/compute/executor.hpp>
#include <nibble/compute/value_census.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/name_index.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/format/apr/packing_record.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/safetensors/index.hpp>
#include <nibble/format/safetensors/parse.hpp>
#include <nibble/format/shards.hpp>

namespace nibble {

/// A container that is open for reading: its directory, proved whole, and views of its tensors.
///
/// Views and their names live as long as the reader does, and stay valid when it is moved. All
/// member functions that are const may be called from several threads at once.
template <class Json>
class basic_reader {
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
  /// truncation. file_access::read is immune.
  explicit basic_reader(std::string path, file_access how = file_access::mapped)
      : name_(std::move(path)), file_(name_, how), bytes_(file_.bytes()) {
    open();
  }
  /// As above, so that a string literal is a path.
  explicit basic_reader(const char* path, file_access how = file_access::mapped)
      : basic_reader(std::string(path), how) {}

  /// Opens a set of files that hold one model between them, given its index (Hugging Face's
  /// model.safetensors.index.json) or any of its files, named NAME-00001-of-00003.EXTENSION: .apr files
  /// say in their metadata which part they are ("sharding"), GGUF files too ("split.no"), safetensors
  /// files by their names alone. A file that is no part of a set is opened by itself.
  ///
  /// The set reads like one file: tensors() are those of all shards, shard by shard; metadata() is the
  /// first shard's, without what is true of that shard alone; file_bytes() is the sum; examine() and
  /// verify() read all shards. A tensor's file_offset_bytes() is that in its own shard.
  ///
  /// Throws, beside what opening each file throws: file_not_found (naming the shard), bad_shard (two
  /// files are one shard, or disagree with each other or with the index, or a name leads out of the
  /// directory), duplicate_name (a tensor in two shards), bad_metadata (the index is malformed).
  /// Every file is held to its own bound of memory; metadata of the first one is kept twice.
  [[nodiscard]] static basic_reader open_set(const std::string& path,
                                             file_access how = file_access::mapped) {
    basic_reader set;
    set.name_ = path;
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (const input_file file(path, how); safetensors::is_index(file.bytes())) {
      set.open_indexed(file.bytes(), folder, how);
    } else {
      basic_reader given(path, how);
      const auto names = given.names_of_set();
      if (!names) return given;
      set.open_numbered(std::move(given), *names, folder, how);
    }
    set.join_shards();
    return set;
  }

  /// Opens a container in memory, which must outlive the reader; `name` stands for the path in
  /// messages.
  explicit basic_reader(std::span<const std::byte> bytes, std::string name = "memory")
      : name_(std::move(name)), bytes_(bytes) {
    open();
  }

  [[nodiscard]] nibble::container container() const noexcept { return directory_.container; }
  /// The path, or what the caller named the bytes.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept {
    std::uint64_t sum = bytes_.size();
    for (const basic_reader& shard : shards_) sum += shard.file_bytes();
    return sum;
  }
  /// The files of a set, in order; none where a single file is open.
  [[nodiscard]] std::span<const basic_reader> shards() const noexcept { return shards_; }
  /// Where a single file is open that says, in its metadata or by its name, that it is one of several:
  /// which one.
  [[nodiscard]] std::optional<shard_position> shard() const {
    if (!shards_.empty()) return std::nullopt;
    if (const auto record = shard_record::find(directory_.metadata)) return record->at;
    if (directory_.container != container::safetensors) return std::nullopt;
    const auto named = shard_names::from_file_name(std::filesystem::path(name_).filename().string());
    return named && named->second.count > 1 ? std::optional(named->second) : std::nullopt;
  }
  /// The metadata as an object: an .apr file's own, a GGUF file's keys and values (with what JSON does
  /// not say of them under "nibble.gguf", see gguf::value_record), a safetensors file's map of strings.
  [[nodiscard]] const Json& metadata() const noexcept { return directory_.metadata; }
  /// The JSON that the file holds, to the letter: an .apr file's metadata, a safetensors header. Empty
  /// for GGUF, which has none.
  [[nodiscard]] std::string_view metadata_text() const noexcept { return directory_.metadata_text; }

  /// Tensors, in the order in which their bytes stand in the file.
  [[nodiscard]] std::span<const tensor_view> tensors() const noexcept { return views_; }
  [[nodiscard]] auto begin() const noexcept { return views_.begin(); }
  [[nodiscard]] auto end() const noexcept { return views_.end(); }
  [[nodiscard]] std::size_t size() const noexcept { return views_.size(); }

  /// The tensor of that name, or null.
  [[nodiscard]] const tensor_view* find(std::string_view tensor) const noexcept {
    const auto place = names_.find(tensor, name_at());
    return place ? &views_[*place] : nullptr;
  }
  [[nodiscard]] bool contains(std::string_view tensor) const noexcept {
    return find(tensor) != nullptr;
  }
  /// The tensor of that name. Throws no_such_tensor, which gives the names nearest to it.
  [[nodiscard]] const tensor_view& operator[](std::string_view tensor) const {
    if (const tensor_view* const found = find(tensor)) return *found;
    std::string nearest;
    for (const std::string& name : nearest_names(tensor)) {
      nearest += join_text({nearest.empty() ? "perhaps '" : "' or '", name});
    }
    throw error(
        error_code::no_such_tensor,
        {.file = name_,
         .tensor = std::string(tensor),
         .expected = nearest.empty() ? "nothing, for the file holds no tensors" : nearest + "'"});
  }

  const tensor_view& operator[](std::nullptr_t) const = delete;

  /// Reads everything and lists what is unusual (notes) and what is wrong (problems): the file's and
  /// every tensor's checksum where they are recorded, scales that are not finite, NaN and infinity
  /// among the values, and matrices that decode to more than 80 % zeros (F-DATA-QUALITY-001).
  template <class Architecture = this_architecture>
  [[nodiscard]] std::vector<finding> examine(executor* on = nullptr) const {
    std::vector<finding> findings = directory_.notes;
    if (!shards_.empty()) {
      for (const basic_reader& shard : shards_) {
        for (finding& found : shard.template examine<Architecture>(on)) {
          found.file = shard.name();
          findings.push_back(std::move(found));
        }
      }
      return findings;
    }
    if (directory_.footer_crc32) {
      const std::uint32_t actual =
          checksum_in_parts(bytes_.first(bytes_.size() - apr::footer_bytes), on);
      if (actual != *directory_.footer_crc32) {
        findings.push_back({.severity = finding::kind::problem,
                            .field = "footer",
                            .text = checksum_text(*directory_.footer_crc32, actual)});
      }
    }
    std::vector<std::vector<finding>> of_tensor(views_.size());
    run_tasks(on, views_.size(),
              [&](std::size_t i) { of_tensor[i] = examine_tensor<Architecture>(i); });
    for (auto& some : of_tensor) {
      for (finding& found : some) findings.push_back(std::move(found));
    }
    return findings;
  }

  /// As examine(), but throws damaged, naming every problem, where there is one.
  template <class Architecture = this_architecture>
  void verify(executor* on = nullptr) const {
    std::string problems;
    std::string first_tensor;
    for (const finding& found : examine<Architecture>(on)) {
      if (found.severity != finding::kind::problem) continue;
      if (problems.empty()) first_tensor = found.tensor;
      problems += join_text({problems.empty() ? "" : "; ", found.file, found.file.empty() ? "" : ": ",
                             found.tensor.empty() ? "" : join_text({"'", found.tensor, "' "}),
                             found.field, ": ", found.text});
    }
    if (problems.empty()) return;
    throw error(error_code::damaged,
                {.file = name_, .tensor = first_tensor, .found = std::move(problems)});
  }

 private:
  /// The names of views, by their place.
  struct names_of {
    std::span<const tensor_view> views;
    [[nodiscard]] std::string_view operator()(std::size_t place) const noexcept {
      return views[place].name();
    }
  };
  [[nodiscard]] names_of name_at() const noexcept { return {views_}; }

  basic_reader() = default;

  [[noreturn]] static void refuse_shard(const std::string& file, std::string_view field,
                                        std::string found, std::string expected) {
    throw error(error_code::bad_shard, {.file = file,
                                        .field = std::string(field),
                                        .found = std::move(found),
                                        .expected = std::move(expected)});
  }

  [[nodiscard]] static std::string position_text(const shard_position& at) {
    return join_text({"shard ", at.index + 1, " of ", at.count});
  }

  /// The names of the set that this file is part of; nothing where it is part of none. Throws bad_shard
  /// where its siblings cannot be told.
  [[nodiscard]] std::optional<shard_names> names_of_set() const {
    const auto at = shard();
    if (!at) return std::nullopt;
    const auto named = shard_names::from_file_name(std::filesystem::path(name_).filename().string());
    if (named && named->second == *at) return named->first;
    const auto record = shard_record::find(directory_.metadata);
    const std::string pattern = record && record->pattern ? *record->pattern : std::string();
    if (named || pattern.empty()) {
      refuse_shard(name_, "file name",
                   join_text({position_text(*at), " by what the file says of itself"}),
                   join_text({"a name such as ", shard_names{"NAME-", ".EXTENSION"}.name_of(*at)}));
    }
    auto names = shard_names::from_pattern(pattern);
    if (!names) {
      refuse_shard(name_, "metadata.sharding.pattern", join_text({"'", pattern, "'"}),
                   "a name such as model-{:05d}-of-{:05d}.apr, without separators");
    }
    return names;
  }

  [[nodiscard]] static basic_reader open_shard(const std::string& path, const shard_position& at,
                                               const std::string& set, file_access how) {
    try {
      return basic_reader(path, how);
    } catch (const error& problem) {
      if (problem.code() != error_code::file_not_found) throw;
      throw error(error_code::file_not_found,
                  {.file = path,
                   .field = position_text(at),
                   .found = "no file",
                   .expected = join_text({"every shard of the set that '", set, "' names"})});
    }
  }

  /// Opens the files beside `given`, which is one of them.
  void open_numbered(basic_reader given, const shard_names& names, const std::filesystem::path& folder,
                     file_access how) {
    const shard_position own = *given.shard();
    const auto own_record = shard_record::find(given.directory_.metadata);
    std::uint64_t tensors = 0;
    std::uint64_t tensor_bytes = 0;
    for (std::uint64_t i = 0; i < own.count; ++i) {
      const shard_position at{i, own.count};
      const std::string path = (folder / names.name_of(at)).string();
      basic_reader shard = i == own.index ? std::move(given) : open_shard(path, at, name_, how);
      if (shard.container() != (shards_.empty() ? shard : shards_.front()).container()) {
        refuse_shard(path, "container", std::string(to_string(shard.container())),
                     std::string(to_string(shards_.front().container())));
      }
      const auto said = shard.shard();
      if (said != at) {
        refuse_shard(path, position_text(at),
                     said ? position_text(*said) : std::string("a file that says it is no shard"),
                     "what its name says");
      }
      if (auto record = shard_record::find(shard.directory_.metadata); record && own_record) {
        record->at = own_record->at;
        if (*record != *own_record) {
          refuse_shard(path, position_text(at), "another total or pattern of names",
                       join_text({"those of '", name_, "'"}));
        }
      }
      tensors += shard.size();
      for (const tensor_view& tensor : shard) tensor_bytes += tensor.bytes().size();
      shards_.push_back(std::move(shard));
    }
    if (own_record && own_record->total_tensors && *own_record->total_tensors != tensors) {
      refuse_shard(name_, "split.tensors.count", join_text({tensors, " tensors in all shards"}),
                   std::to_string(*own_record->total_tensors));
    }
    if (own_record) note_total(own_record->total_bytes, tensor_bytes);
  }

  /// Opens the files that an index names, and holds what they contain against it.
  void open_indexed(std::span<const std::byte> text, const std::filesystem::path& folder,
                    file_access how) {
    safetensors::shard_index index;
    try {
      index = safetensors::parse_index(text);
    } catch (const error& problem) {
      throw problem.in_file(name_);
    }
    const auto mapped_name_at = [&](std::size_t i) -> const std::string& { return index.tensors[i]; };
    std::vector<bool> is_found(index.tensors.size());
    std::uint64_t tensor_bytes = 0;
    for (std::size_t i = 0; i < index.files.size(); ++i) {
      const shard_position at{i, index.files.size()};
      const std::string path = (folder / index.files[i]).string();
      const auto named = shard_names::from_file_name(index.files[i]);
      if (named && named->second != at) {
        refuse_shard(path, position_text(at),
                     join_text({"a file whose name says ", position_text(named->second)}),
                     join_text({"the ", at.count, " files of the index to be the whole set"}));
      }
      basic_reader shard = open_shard(path, at, name_, how);
      if (shard.container() != container::safetensors) {
        refuse_shard(path, "container", std::string(to_string(shard.container())), "safetensors");
      }
      for (const tensor_view& tensor : shard) {
        tensor_bytes += tensor.bytes().size();
        const auto place = index.names.find(tensor.name(), mapped_name_at);
        if (!place || index.file_of_tensor[*place] != i) {
          throw error(error_code::bad_shard,
                      {.file = path,
                       .tensor = std::string(tensor.name()),
                       .field = "index.weight_map",
                       .found = place ? join_text({"mapped to '",
                                                   index.files[index.file_of_tensor[*place]], "'"})
                                      : std::string("not mapped"),
                       .expected = "the shard that holds it"});
        }
        is_found[*place] = true;
      }
      shards_.push_back(std::move(shard));
    }
    for (std::size_t i = 0; i < is_found.size(); ++i) {
      if (is_found[i]) continue;
      throw error(error_code::bad_shard,
                  {.file = (folder / index.files[index.file_of_tensor[i]]).string(),
                   .tensor = index.tensors[i],
                   .field = "index.weight_map",
                   .found = "no such tensor in the shard",
                   .expected = join_text({"what '", name_, "' maps to it"})});
    }
    note_total(index.total_bytes, tensor_bytes);
  }

  /// Programs count in it what they like (tied weights twice, files whole): a wrong one is no damage.
  void note_total(std::optional<std::uint64_t> recorded, std::uint64_t tensor_bytes) {
    if (!recorded || *recorded == tensor_bytes) return;
    directory_.notes.push_back(
        {.field = "total_size",
         .text = join_text({*recorded, " is recorded, the tensors have ", tensor_bytes, " bytes"})});
  }

  /// Makes one list of the shards' tensors. Throws duplicate_name.
  void join_shards() {
    std::size_t tensors = 0;
    for (const basic_reader& shard : shards_) tensors += shard.size();
    views_.reserve(tensors);
    for (const basic_reader& shard : shards_) {
      for (const tensor_view& tensor : shard) views_.push_back(tensor);
    }
    names_ = name_index(views_.size(), name_at());
    if (const auto twice = names_.first_repeated(name_at())) {
      const tensor_view& tensor = views_[*twice];
      std::string files;
      for (const basic_reader& shard : shards_) {
        if (shard.contains(tensor.name()))
          files += join_text({files.empty() ? "" : " and ", shard.name()});
      }
      throw error(error_code::duplicate_name, {.file = name_,
                                               .tensor = std::string(tensor.name()),
                                               .field = "shards",
                                               .found = std::move(files),
                                               .expected = "every tensor in one shard"});
    }
    if (shards_.empty()) {
      directory_.container = container::safetensors;
      directory_.metadata = Json::object();
      return;
    }
    const basic_directory<Json>& first = shards_.front().directory_;
    directory_.container = first.container;
    directory_.metadata_text = first.metadata_text;
    Json& metadata = directory_.metadata;
    metadata = first.metadata;
    shard_record::erase_from(metadata);
    metadata.erase(apr::packing_record::key);
  }

  void open() {
    try {
      if (apr::has_magic(bytes_)) {
        directory_ = apr::parse<Json>(bytes_);
      } else if (gguf::has_magic(bytes_)) {
        directory_ = gguf::parse<Json>(bytes_);
      } else if (safetensors::has_magic(bytes_)) {
        directory_ = safetensors::parse<Json>(bytes_);
      } else {
        throw error(error_code::unknown_container,
                    {.field = "first bytes",
                     .found = first_bytes_text(),
                     .expected = ".apr (41 50 52 00), GGUF (47 47 55 46) or safetensors (a header "
                                 "length, then '{')"});
      }
    } catch (const error& problem) {
      throw problem.in_file(name_);
    }
    const std::vector<tensor_info>& tensors = directory_.tensors;
    views_.reserve(tensors.size());
    crc32_.reserve(tensors.size());
    const auto add = [&](const tensor_info& tensor) {
      views_.emplace_back(tensor, bytes_.subspan(static_cast<std::size_t>(tensor.file_offset_bytes),
                                                 static_cast<std::size_t>(tensor.size_bytes)));
      crc32_.push_back(tensor.crc32);
    };
    const auto place_of = [](const tensor_info& tensor) {
      return std::pair(tensor.file_offset_bytes, tensor.size_bytes);
    };
    const bool is_in_order = std::ranges::is_sorted(tensors, {}, place_of);
    if (is_in_order) {
      for (const tensor_info& tensor : tensors) add(tensor);
    } else {
      // A list of its own, so that sorting does not reach into the tensors.
      std::vector<std::pair<decltype(place_of(tensors[0])), std::size_t>> order;
      order.reserve(tensors.size());
      for (const tensor_info& tensor : tensors) order.emplace_back(place_of(tensor), order.size());
      std::ranges::sort(order);
      for (const auto& [place, tensor] : order) add(tensors[tensor]);
    }
    names_ = directory_.names.size() == views_.size() && is_in_order
                 ? std::move(directory_.names)
                 : name_index(views_.size(), name_at());
  }

  [[nodiscard]] std::string first_bytes_text() const {
    if (bytes_.empty()) return "an empty file";
    std::string text;
    for (const std::byte byte : bytes_.first(std::min<std::size_t>(bytes_.size(), 9))) {
      text += join_text({text.empty() ? "" : " ", hex_text(std::to_integer<unsigned>(byte), 2)});
    }
    return text;
  }

  [[nodiscard]] static std::uint32_t checksum_in_parts(std::span<const std::byte> bytes, executor* on) {
    constexpr std::size_t part_bytes = std::size_t{1} << 22U;
    std::vector<crc32_sum> sums(bytes.size() / part_bytes + 1);
    run_tasks(on, sums.size(), [&](std::size_t i) {
      const auto rest = bytes.subspan(i * part_bytes);
      sums[i] = crc32_sum(rest.first(std::min(rest.size(), part_bytes)));
    });
    crc32_sum whole;
    for (const crc32_sum& sum : sums) whole += sum;
    return whole.value();
  }

  [[nodiscard]] static std::string checksum_text(std::uint32_t recorded, std::uint32_t actual) {
    return join_text(
        {"recorded CRC-32 ", hex_text(recorded, 8), ", the bytes have ", hex_text(actual, 8)});
  }

  template <class Architecture>
  [[nodiscard]] std::vector<finding> examine_tensor(std::size_t i) const {
    const tensor_view& tensor = views_[i];
    std::vector<finding> findings;
    const auto add = [&](finding::kind severity, std::string_view field, std::string text) {
      findings.push_back({.severity = severity,
                          .tensor = std::string(tensor.name()),
                          .field = std::string(field),
                          .text = std::move(text)});
    };
    if (crc32_[i]) {
      const std::uint32_t actual = crc32_sum(tensor.bytes()).value();
      if (actual != *crc32_[i]) {
        add(finding::kind::problem, "crc32", checksum_text(*crc32_[i], actual));
      }
    }
    if (!tensor.has_encoding() || !is_decodable(tensor.encoding())) {
      add(finding::kind::note, "dtype",
          join_text({tensor.dtype_text(), " cannot be decoded here, its values were not looked at"}));
      return findings;
    }
    const value_census census = take_census(tensor);
    if (census.non_finite_scales != 0) {
      add(finding::kind::problem, "scales",
          join_text({census.non_finite_scales, " scales or mins are not finite"}));
    }
    if (census.nan != 0 || census.infinite != 0) {
      add(finding::kind::problem, "values",
          join_text({census.nan, " NaN and ", census.infinite, " infinite of ", census.elements,
                     " (F-DATA-QUALITY-001)"}));
    }
    const bool is_matrix = tensor.shape().rank() >= 2 && census.elements != 0;
    if (is_matrix && census.zero > census.elements / 5 * 4 + census.elements % 5 * 4 / 5) {
      add(finding::kind::problem, "values",
          join_text(
              {fixed_text(
                   100.0 * static_cast<double>(census.zero) / static_cast<double>(census.elements), 1),
               " % zeros, more than 80 % (F-DATA-QUALITY-001)"}));
    }
    return findings;
  }

  /// Up to three names by edit distance (Levenshtein).
  [[nodiscard]] std::vector<std::string> nearest_names(std::string_view wanted) const {
    constexpr std::size_t most = 3;
    std::vector<std::pair<std::size_t, std::string_view>> ranked;
    ranked.reserve(views_.size());
    std::vector<std::size_t> row(wanted.size() + 1);
    for (const tensor_view& view : views_) {
      const std::string_view name = view.name();
      std::iota(row.begin(), row.end(), std::size_t{0});
      for (std::size_t i = 0; i < name.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i + 1);
        for (std::size_t j = 0; j < wanted.size(); ++j) {
          const std::size_t replaced = diagonal + (name[i] == wanted[j] ? 0U : 1U);
          diagonal = row[j + 1];
          row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
      }
      ranked.emplace_back(row.back(), name);
    }
    const auto count = static_cast<std::ptrdiff_t>(std::min(most, ranked.size()));
    std::ranges::partial_sort(ranked, ranked.begin() + count);
    std::vector<std::string> names;
    for (const auto& [distance, name] : std::span(ranked).first(static_cast<std::size_t>(count))) {
      names.emplace_back(name);
    }
    return names;
  }

  std::string name_;
  input_file file_;
  std::span<const std::byte> bytes_;
  std::vector<basic_reader> shards_;  ///< of a set; a single file has none
  basic_directory<Json> directory_;
  std::vector<tensor_view> views_;
  std::vector<std::optional<std::uint32_t>> crc32_;
  name_index names_;
};

using reader = basic_reader<nlohmann::json>;

}  // namespace nibble
