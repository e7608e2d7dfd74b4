#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/encoding.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>

namespace nibble::apr {

/// What a file of this library says of its tensors, under "nibble" in the metadata: the encoding and
/// the CRC-32 of every tensor, in the order of the index, and the block figures of these encodings.
///
///   {"version": 1, "packing": [{"encoding": "q4", "block_elements": 32, "block_bytes": 20}, ...],
///    "tensors": "0001...", "crc32": "0a1b2c3d99887766..."}
///
/// "tensors" has two hexadecimal digits a tensor, the place of its encoding in "packing"; "crc32" has
/// eight.
template <class Json>
struct basic_packing_record {
  /// The version that is written, and the only one that is read.
  static constexpr int version = 1;
  /// The key in the metadata.
  static constexpr const char* key = "nibble";
  /// The most encodings in one file.
  static constexpr std::size_t max_packings = 256;

  std::vector<encoding> tensor_encodings;   ///< in the order of the index
  std::vector<std::uint32_t> tensor_crc32;  ///< of the stored bytes, without padding

  /// The record in `metadata`, an object; nothing where it has none. Throws bad_record for a record
  /// that is malformed, is not of `tensor_count` tensors, names an encoding that this library does not
  /// have or gives it other block figures; unsupported_version.
  [[nodiscard]] static std::optional<basic_packing_record> find(const Json& metadata,
                                                                std::size_t tensor_count) {
    const auto found = metadata.find(key);
    if (found == metadata.end()) return std::nullopt;
    const Json& record = *found;
    const auto record_version = record.is_object() ? record.find("version") : record.end();
    if (!record.is_object() || record_version == record.end() || !record_version->is_number_integer()) {
      refuse("version", record.is_object() ? text_of(record, record_version) : record.type_name(),
             "an integer");
    }
    if (record_version->template get<std::int64_t>() != version) {
      throw error(error_code::unsupported_version, {.field = "metadata.nibble.version",
                                                    .found = record_version->dump(),
                                                    .expected = std::to_string(version)});
    }
    const std::vector<encoding> packing = parse_packing(record);
    basic_packing_record parsed;
    const std::string_view places = hex_string(record, "tensors", 2, tensor_count);
    parsed.tensor_encodings.reserve(tensor_count);
    for (std::size_t i = 0; i < tensor_count; ++i) {
      const std::uint32_t place = hex_number(places.substr(2 * i, 2), "tensors");
      if (place >= packing.size()) {
        refuse("tensors", join_text({"place ", place, " for tensor ", i}),
               join_text({"one of the ", packing.size(), " in packing"}));
      }
      parsed.tensor_encodings.push_back(packing[place]);
    }
    const std::string_view sums = hex_string(record, "crc32", 8, tensor_count);
    parsed.tensor_crc32.reserve(tensor_count);
    for (std::size_t i = 0; i < tensor_count; ++i) {
      parsed.tensor_crc32.push_back(hex_number(sums.substr(8 * i, 8), "crc32"));
    }
    return parsed;
  }

  /// The record as JSON. Its text has the same length whatever the checksums are.
  [[nodiscard]] Json to_json() const {
    std::vector<encoding> packing = tensor_encodings;
    std::sort(packing.begin(), packing.end());
    packing.erase(std::unique(packing.begin(), packing.end()), packing.end());
    Json listed = Json::array();
    for (const encoding which : packing) listed.push_back(describe_packing(which));
    std::string places;
    places.reserve(2 * tensor_encodings.size());
    for (const encoding which : tensor_encodings) {
      const auto place = std::find(packing.begin(), packing.end(), which) - packing.begin();
      places += hex_text(static_cast<std::uint64_t>(place), 2);
    }
    std::string sums;
    sums.reserve(8 * tensor_crc32.size());
    for (const std::uint32_t sum : tensor_crc32) sums += hex_text(sum, 8);
    return {{"version", version},
            {"packing", std::move(listed)},
            {"tensors", std::move(places)},
            {"crc32", std::move(sums)}};
  }

 private:
  /// What stands in the place of a field, for a message.
  [[nodiscard]] static std::string text_of(const Json& record, typename Json::const_iterator field) {
    if (field == record.end()) return "none";
    return field->is_structured() ? join_text({"a JSON ", field->type_name()}) : field->dump();
  }

  [[noreturn]] static void refuse(std::string_view field, std::string found, std::string expected) {
    throw error(error_code::bad_record, {.field = join_text({"metadata.", key, ".", field}),
                                         .found = std::move(found),
                                         .expected = std::move(expected)});
  }

  [[nodiscard]] static Json describe_packing(encoding which) {
    const encoding_description& row = describe(which);
    Json entry{{"encoding", row.name}};
    if (row.has_blocks()) {
      entry["block_elements"] = row.block_elements;
      entry["block_bytes"] = row.block_bytes;
    }
    return entry;
  }

  [[nodiscard]] static std::vector<encoding> parse_packing(const Json& record) {
    const auto listed = record.find("packing");
    if (listed == record.end() || !listed->is_array())
      refuse("packing", text_of(record, listed), "an array");
    if (listed->size() > max_packings) {
      refuse("packing", join_text({listed->size(), " encodings"}),
             join_text({"at most ", max_packings, ", as two digits tell apart"}));
    }
    std::vector<encoding> packing;
    for (const Json& entry : *listed) {
      const auto name = entry.is_object() ? entry.find("encoding") : entry.end();
      if (!entry.is_object() || name == entry.end() || !name->is_string()) {
        refuse("packing", entry.dump(), "an object that names an encoding");
      }
      const auto which = encoding_from_name(name->template get_ref<const std::string&>());
      if (!which) {
        refuse("packing", name->template get_ref<const std::string&>(),
               "an encoding this library knows");
      }
      const Json expected = describe_packing(*which);
      for (const char* const figure : {"block_elements", "block_bytes"}) {
        const auto recorded = entry.find(figure);
        const bool agrees = expected.contains(figure)
                                ? recorded != entry.end() && recorded->is_number_integer() &&
                                      recorded->template get<std::uint64_t>() ==
                                          expected[figure].template get<std::uint64_t>()
                                : recorded == entry.end();
        if (!agrees) refuse("packing", entry.dump(), expected.dump());
      }
      packing.push_back(*which);
    }
    return packing;
  }

  [[nodiscard]] static std::string_view hex_string(const Json& record, const char* field,
                                                   std::size_t digits, std::size_t tensor_count) {
    const auto found = record.find(field);
    if (found == record.end() || !found->is_string()) refuse(field, text_of(record, found), "a string");
    const std::string_view text = found->template get_ref<const std::string&>();
    if (text.size() / digits != tensor_count || text.size() % digits != 0) {
      refuse(field, join_text({text.size(), " digits"}),
             join_text({digits, " for each of ", tensor_count, " tensors"}));
    }
    return text;
  }

  [[nodiscard]] static std::uint32_t hex_number(std::string_view digits, std::string_view field) {
    std::uint32_t number = 0;
    for (const char digit : digits) {
      std::uint32_t value = 0;
      if (digit >= '0' && digit <= '9') {
        value = static_cast<std::uint32_t>(digit - '0');
      } else if (digit >= 'a' && digit <= 'f') {
        value = static_cast<std::uint32_t>(digit - 'a') + 10U;
      } else {
        refuse(field, std::string(digits), "lower-case hexadecimal digits");
      }
      number = number * 16U + value;
    }
    return number;
  }
};
/// A packing record whose metadata are nlohmann::json.
using packing_record = basic_packing_record<nlohmann::json>;

}  // namespace nibble::apr
