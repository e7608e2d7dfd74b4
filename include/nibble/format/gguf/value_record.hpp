#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/json_footprint.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::gguf {

/// The bytes of a number or string of a value, a leaf, for which JSON has no text.
struct leaf_bytes {
  std::uint64_t leaf;  ///< its place among the value's leaves, depth first; a scalar is leaf 0
  std::string bytes;   ///< as they stand in the file; of a string without the length before them
};

/// What JSON does not say of the values in a GGUF file's metadata. It is a member of the metadata,
/// under a key of its own, and is copied with them, so that a GGUF file with the same values can be
/// written again:
///
///   "nibble.gguf": {
///     "types": {"tokenizer.ggml.token_type": ["i32"], "llama.block_count": "u64"},
///     "bytes": {"general.nan": "0:0000c07f", "general.names": "1:ff 12:c328"}
///   }
///
/// types: the kind of every value that has another kind than natural_kind() gives it. A kind is the
/// name of a type, or of an array a list: with one kind where all elements are of it, with the kind of
/// each where they are arrays of several kinds, and empty where nothing is known of them. bytes: the
/// leaves that JSON has no text for: NaN and infinities, which are null in the JSON, and strings that
/// are not UTF-8, which have U+FFFD for each byte in the wrong place. Each is written as "leaf:bytes in
/// hexadecimal", with a space between them.
///
/// The record is absent where it has nothing to say. A number is rounded to the type that is recorded of
/// it. Where a value was changed and does not fit what is recorded of it, a text where a number was or a
/// number out of the type's range, its natural kind is used.
template <class Json>
class basic_value_record {
 public:
  /// The member of the metadata that the record is.
  static constexpr const char* key = "nibble.gguf";

  basic_value_record() = default;

  /// The record in `metadata`, an object; an empty record where it has none. Throws bad_record where
  /// the record is malformed.
  [[nodiscard]] static basic_value_record find(const Json& metadata) {
    basic_value_record found;
    const auto record = metadata.find(key);
    if (record == metadata.end()) return found;
    if (!record->is_object()) refuse("", record->type_name(), "an object");
    for (const auto& [section, entries] : record->items()) {
      if (!entries.is_object()) refuse(section, entries.type_name(), "an object");
      if (section == "types") {
        found.types_ = entries;
      } else if (section == "bytes") {
        found.bytes_ = entries;
      } else {
        refuse(section, "an unknown field", "types and bytes");
      }
    }
    return found;
  }

  /// Puts the record into `metadata` unless there is nothing to say.
  void store(Json& metadata) && {
    if (types_.empty() && bytes_.empty()) return;
    Json& record = metadata[key] = Json::object();
    if (!types_.empty()) record["types"] = std::move(types_);
    if (!bytes_.empty()) record["bytes"] = std::move(bytes_);
  }

  /// Records the kind of the value under the key `name`. Throws directory_too_large.
  void add_kind(const std::string& name, const value_kind& kind, memory_budget& budget) {
    budget.take(json_member_bytes<Json>(name), key);
    types_[name] = to_json(kind, budget);
  }
  /// Records leaves of the value under the key `name`, as a text that append_leaf() has made. Throws
  /// directory_too_large.
  void add_bytes(const std::string& name, std::string leaves, memory_budget& budget) {
    budget.take(json_member_bytes<Json>(name) + sizeof(std::string), key);
    bytes_[name] = std::move(leaves);
  }
  /// Appends a leaf to the text that add_bytes() takes. Leaves are appended in increasing order.
  static void append_leaf(std::string& to, std::uint64_t leaf, std::string_view bytes) {
    to += join_text({to.empty() ? "" : " ", leaf, ":"});
    constexpr std::string_view digits = "0123456789abcdef";
    for (const char byte : bytes) {
      to += digits[static_cast<unsigned char>(byte) >> 4U];
      to += digits[static_cast<unsigned char>(byte) & 15U];
    }
  }

  /// The recorded kind of the value under the key `name`, or nothing. Throws bad_record.
  [[nodiscard]] std::optional<value_kind> kind_of(const std::string& name) const {
    const auto found = types_.find(name);
    return found == types_.end() ? std::nullopt : std::optional(kind_from_json(name, *found, 0));
  }
  /// The recorded leaves of the value under the key `name`, in increasing order. Throws bad_record.
  [[nodiscard]] std::vector<leaf_bytes> bytes_of(const std::string& name) const {
    std::vector<leaf_bytes> leaves;
    const auto found = bytes_.find(name);
    if (found == bytes_.end()) return leaves;
    if (!found->is_string()) refuse("bytes." + name, found->type_name(), "a string");
    std::string_view text = found->template get_ref<const std::string&>();
    while (!text.empty()) {
      const std::string_view entry = text.substr(0, text.find(' '));
      text.remove_prefix(std::min(text.size(), entry.size() + 1));
      std::uint64_t leaf = 0;
      const auto [end, failure] = std::from_chars(entry.data(), entry.data() + entry.size(), leaf);
      const auto digits = static_cast<std::size_t>(end - entry.data());
      const bool is_ordered = leaves.empty() || leaf > leaves.back().leaf;
      auto bytes = failure == std::errc() && is_ordered && entry.substr(digits, 1) == ":"
                       ? bytes_from_hex(entry.substr(digits + 1))
                       : std::nullopt;
      if (!bytes) {
        refuse("bytes." + name, std::string(entry), "'leaf:hexadecimal bytes', leaves increasing");
      }
      leaves.push_back({leaf, std::move(*bytes)});
    }
    return leaves;
  }

 private:
  [[noreturn]] static void refuse(std::string_view field, std::string found, std::string expected) {
    throw error(error_code::bad_record,
                {.field = join_text({"metadata.", key, field.empty() ? "" : ".", field}),
                 .found = std::move(found),
                 .expected = std::move(expected)});
  }

  [[nodiscard]] static Json to_json(const value_kind& kind, memory_budget& budget) {
    if (kind.type != value_type::array) {
      budget.take(sizeof(std::string), key);
      return to_string(kind.type);
    }
    budget.take(sizeof(typename Json::array_t), key);
    budget.take(kind.elements.size(), sizeof(Json) + json_bytes_while_destroyed<Json>, key);
    typename Json::array_t list;
    list.reserve(kind.elements.size());
    for (const value_kind& element : kind.elements) list.push_back(to_json(element, budget));
    return Json(std::move(list));
  }

  [[nodiscard]] static value_kind kind_from_json(const std::string& name, const Json& from,
                                                 std::size_t depth) {
    if (from.is_string()) {
      const auto& text = from.template get_ref<const std::string&>();
      for (const value_type_description& known : value_types) {
        if (known.name == text && known.type != value_type::array) return {known.type, {}};
      }
    } else if (from.is_array() && depth < max_array_depth) {
      value_kind kind{value_type::array, {}};
      kind.elements.reserve(from.size());
      for (const Json& element : from) {
        kind.elements.push_back(kind_from_json(name, element, depth + 1));
      }
      return kind;
    }
    refuse("types." + name, from.is_string() ? from.template get<std::string>() : from.type_name(),
           "the name of a type, or a list of kinds for an array");
  }

  [[nodiscard]] static std::optional<std::string> bytes_from_hex(std::string_view digits) {
    if (digits.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    bytes.reserve(digits.size() / 2);
    for (; !digits.empty(); digits.remove_prefix(2)) {
      unsigned value = 0;
      const auto [end, failure] = std::from_chars(digits.data(), digits.data() + 2, value, 16);
      if (failure != std::errc() || end != digits.data() + 2) return std::nullopt;
      bytes += static_cast<char>(static_cast<unsigned char>(value));
    }
    return bytes;
  }

  Json types_ = Json::object();
  Json bytes_ = Json::object();
};
/// A value record whose metadata are nlohmann::json.
using value_record = basic_value_record<nlohmann::json>;

}  // namespace nibble::gguf
