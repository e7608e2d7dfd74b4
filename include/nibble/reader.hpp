#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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
#include <nibble/core/when_used.hpp>
#include <nibble/file/crc32.hpp>
#include <nibble/file/input_file.hpp>
#include <nibble/format/apr/parse.hpp>
#include <nibble/format/directory.hpp>
#include <nibble/format/gguf/parse.hpp>
#include <nibble/format/safetensors/parse.hpp>

namespace nibble {

/// A container that is open for reading: its directory, proved whole, and views of its tensors.
///
/// Views and their names live as long as the reader does, and stay valid when it is moved. All
/// member functions that are const may be called from several threads at once.
class reader {
 public:
  /// Opens a file; what kind it is shows in its first bytes, not in its name. Everything that can be
  /// told without reading the tensors is checked here, and every error names the file.
  ///
  /// Throws file_not_found, read_failed, unknown_container, and whatever the container's parse throws:
  /// unsupported_version, unsupported_feature, header_checksum, truncated, bad_layout, bad_metadata,
  /// bad_record, bad_index, bad_name, bad_shape, size_mismatch, missing_footer, duplicate_name.
  template <class = when_used>
  explicit reader(std::string path, file_access how = file_access::mapped)
      : name_(std::move(path)), file_(name_, how), bytes_(file_.bytes()) {
    open();
  }
  /// As above, so that a string literal is a path.
  template <class = when_used>
  explicit reader(const char* path, file_access how = file_access::mapped)
      : reader(std::string(path), how) {}

  /// Opens a container in memory, which must outlive the reader; `name` stands for the path in
  /// messages.
  template <class = when_used>
  explicit reader(std::span<const std::byte> bytes, std::string name = "memory")
      : name_(std::move(name)), bytes_(bytes) {
    open();
  }

  [[nodiscard]] nibble::container container() const noexcept { return directory_.container; }
  /// The path, or what the caller named the bytes.
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::uint64_t file_bytes() const noexcept { return bytes_.size(); }
  /// The metadata as an object: an .apr file's own, a GGUF file's keys and values (with what JSON does
  /// not say of them under "nibble.gguf", see gguf::value_record), a safetensors file's map of strings.
  [[nodiscard]] const nlohmann::json& metadata() const noexcept { return directory_.metadata; }
  /// The JSON that the file holds, to the letter: an .apr file's metadata, a safetensors header. Empty
  /// for GGUF, which has none.
  [[nodiscard]] std::string_view metadata_text() const noexcept { return directory_.metadata_text; }

  /// Tensors, in the order in which their bytes stand in the file.
  [[nodiscard]] std::span<const tensor_view> tensors() const noexcept { return views_; }
  [[nodiscard]] auto begin() const noexcept { return views_.begin(); }
  [[nodiscard]] auto end() const noexcept { return views_.end(); }
  [[nodiscard]] std::size_t size() const noexcept { return views_.size(); }

  /// The tensor of that name, or null.
  template <class = when_used>
  [[nodiscard]] const tensor_view* find(std::string_view tensor) const noexcept {
    const auto place = names_.find(tensor, name_at{views_});
    return place ? &views_[*place] : nullptr;
  }
  template <class = when_used>
  [[nodiscard]] bool contains(std::string_view tensor) const noexcept {
    return find(tensor) != nullptr;
  }
  /// The tensor of that name. Throws no_such_tensor, which gives the names nearest to it.
  template <class = when_used>
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
    for (auto& some : of_tensor) std::ranges::move(some, std::back_inserter(findings));
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
      problems += join_text({problems.empty() ? "" : "; ",
                             found.tensor.empty() ? "" : join_text({"'", found.tensor, "' "}),
                             found.field, ": ", found.text});
    }
    if (problems.empty()) return;
    throw error(error_code::damaged,
                {.file = name_, .tensor = first_tensor, .found = std::move(problems)});
  }

 private:
  /// The names of views, by their place.
  struct name_at {
    std::span<const tensor_view> views;
    [[nodiscard]] std::string_view operator()(std::size_t place) const noexcept {
      return views[place].name();
    }
  };

  template <class = when_used>
  void open() {
    try {
      if (apr::has_magic(bytes_)) {
        directory_ = apr::parse(bytes_);
      } else if (gguf::has_magic(bytes_)) {
        directory_ = gguf::parse(bytes_);
      } else if (safetensors::has_magic(bytes_)) {
        directory_ = safetensors::parse(bytes_);
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
    if (std::ranges::is_sorted(tensors, {}, place_of)) {
      for (const tensor_info& tensor : tensors) add(tensor);
      names_ = std::move(directory_.names);
    } else {
      // A list of its own, so that sorting does not reach into the tensors.
      std::vector<std::pair<decltype(place_of(tensors[0])), std::size_t>> order;
      order.reserve(tensors.size());
      for (const tensor_info& tensor : tensors) order.emplace_back(place_of(tensor), order.size());
      std::ranges::sort(order);
      for (const auto& [place, tensor] : order) add(tensors[tensor]);
    }
    if (names_.size() != views_.size()) names_ = name_index(views_.size(), name_at{views_});
  }

  [[nodiscard]] std::string first_bytes_text() const {
    if (bytes_.empty()) return "an empty file";
    std::string text;
    for (const std::byte byte : bytes_.first(std::min<std::size_t>(bytes_.size(), 9))) {
      text += join_text({text.empty() ? "" : " ", hex_text(std::to_integer<unsigned>(byte), 2)});
    }
    return text;
  }

  template <class = when_used>
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
  template <class = when_used>
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
  directory directory_;
  std::vector<tensor_view> views_;
  std::vector<std::optional<std::uint32_t>> crc32_;
  name_index names_;
};

}  // namespace nibble
