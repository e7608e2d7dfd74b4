#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/directory.hpp>

namespace nibble {

/// Which file of a set one of them is.
struct shard_position {
  std::uint64_t index;  ///< from 0
  std::uint64_t count;  ///< files of the set
  friend bool operator==(const shard_position&, const shard_position&) = default;
};

/// The names of the files of a set: NAME-00001-of-00003.apr, counted from 1.
struct shard_names {
  std::string before;  ///< "NAME-"
  std::string after;   ///< ".apr"

  /// The names as metadata.sharding.pattern has them: "NAME-{:05d}-of-{:05d}.apr".
  [[nodiscard]] std::string pattern() const { return before + "{:05d}-of-{:05d}" + after; }

  /// The name of one file.
  [[nodiscard]] std::string name_of(const shard_position& at) const {
    return join_text({before, digits(at.index + 1), "-of-", digits(at.count), after});
  }

  /// The names that a metadata.sharding.pattern says; nothing where it is written otherwise, or leads
  /// out of the directory.
  [[nodiscard]] static std::optional<shard_names> from_pattern(std::string_view pattern) {
    for (const std::string_view numbers : {"{:05d}-of-{:05d}", "{:05}-of-{:05}"}) {
      const std::size_t at = pattern.find(numbers);
      if (at == std::string_view::npos) continue;
      shard_names names{std::string(pattern.substr(0, at)),
                        std::string(pattern.substr(at + numbers.size()))};
      if (is_plain_name(names.name_of({0, 1}))) return names;
    }
    return std::nullopt;
  }

  /// The names of the set that a file is of by its own name, and which file it is; nothing for a name
  /// of another form.
  [[nodiscard]] static std::optional<std::pair<shard_names, shard_position>> from_file_name(
      std::string_view name) {
    constexpr std::string_view between = "-of-";
    const std::size_t middle = name.rfind(between);
    if (middle == std::string_view::npos) return std::nullopt;
    std::size_t start = middle;
    while (start != 0 && is_digit(name[start - 1])) --start;
    std::size_t end = middle + between.size();
    while (end != name.size() && is_digit(name[end])) ++end;
    const auto number = parse_number(name.substr(start, middle - start));
    const auto count =
        parse_number(name.substr(middle + between.size(), end - middle - between.size()));
    if (start == 0 || name[start - 1] != '-' || !number || !count) return std::nullopt;
    if (*number == 0 || *number > *count) return std::nullopt;
    return std::pair(shard_names{std::string(name.substr(0, start)), std::string(name.substr(end))},
                     shard_position{*number - 1, *count});
  }

  /// Whether a name that a file gives stays in the directory in which it is looked up.
  [[nodiscard]] static bool is_plain_name(std::string_view name) noexcept {
#if defined(_WIN32)
    constexpr std::string_view leading_away("/\\\0:", 4);  // C:name, name:stream
#else
    constexpr std::string_view leading_away("/\\\0", 3);
#endif
    return !name.empty() && name != "." && name != ".." &&
           name.find_first_of(leading_away) == std::string_view::npos;
  }

 private:
  static constexpr std::size_t min_digits = 5;

  [[nodiscard]] static constexpr bool is_digit(char byte) noexcept {
    return byte >= '0' && byte <= '9';
  }
  [[nodiscard]] static std::string digits(std::uint64_t number) {
    std::string text = std::to_string(number);
    if (text.size() < min_digits) text.insert(0, min_digits - text.size(), '0');
    return text;
  }
  /// A number of five digits, or of more without a leading zero.
  [[nodiscard]] static std::optional<std::uint64_t> parse_number(std::string_view text) {
    constexpr std::size_t max_digits = 9;
    if (text.size() < min_digits || text.size() > max_digits) return std::nullopt;
    if (text.size() > min_digits && text[0] == '0') return std::nullopt;
    std::uint64_t number = 0;
    for (const char digit : text) number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    return number;
  }
};

/// What the metadata of a file say of the set that the file is of.
template <class Json>
struct basic_shard_record {
  shard_position at;                             ///< which part it is
  std::optional<std::uint64_t> total_bytes{};    ///< of the tensors of all shards
  std::optional<std::uint64_t> total_tensors{};  ///< in all shards
  std::optional<std::string> pattern{};          ///< of the files' names
  friend bool operator==(const basic_shard_record&, const basic_shard_record&) = default;

  /// The member of an .apr file's metadata that the record is.
  static constexpr const char* key = "sharding";

  /// The record in `metadata`, an object: an .apr file's "sharding", or a GGUF file's "split.no",
  /// "split.count" and "split.tensors.count". Nothing where there is none, and where it does not say
  /// which of two or more files this is.
  [[nodiscard]] static std::optional<basic_shard_record> find(const Json& metadata) {
    const auto number = [](const Json& from, const char* field) -> std::optional<std::uint64_t> {
      const auto found = from.find(field);
      if (found == from.end() || !found->is_number_integer()) return std::nullopt;
      if (!found->is_number_unsigned() && found->template get<std::int64_t>() < 0) return std::nullopt;
      return found->template get<std::uint64_t>();
    };
    basic_shard_record record{};
    std::optional<std::uint64_t> index;
    std::optional<std::uint64_t> count;
    if (const auto sharding = metadata.find(key); sharding != metadata.end() && sharding->is_object()) {
      index = number(*sharding, "shard_index");
      count = number(*sharding, "shard_count");
      record.total_bytes = number(*sharding, "total_size");
      if (const auto pattern = sharding->find("pattern");
          pattern != sharding->end() && pattern->is_string()) {
        record.pattern = pattern->template get<std::string>();
      }
    } else {
      index = number(metadata, "split.no");
      count = number(metadata, "split.count");
      record.total_tensors = number(metadata, "split.tensors.count");
    }
    if (!index || !count || *count < 2 || *index >= *count) return std::nullopt;
    record.at = {*index, *count};
    return record;
  }

  /// The record as "sharding" of an .apr file.
  [[nodiscard]] Json to_json() const {
    Json sharding{{"shard_count", at.count}, {"shard_index", at.index}};
    if (total_bytes) sharding["total_size"] = *total_bytes;
    if (pattern) sharding["pattern"] = *pattern;
    return sharding;
  }

  /// Removes from `metadata` what is true of one file of a set alone.
  static void erase_from(Json& metadata) {
    for (const char* const field : {key, "split.no", "split.count", "split.tensors.count"}) {
      metadata.erase(field);
    }
  }
};
/// A shard record whose metadata are nlohmann::json.
using shard_record = basic_shard_record<nlohmann::json>;

}  // namespace nibble
