#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/gguf/byte_cursor.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/json_footprint.hpp>
#include <nibble/format/memory_budget.hpp>

namespace nibble::gguf {

namespace detail {

/// Reads values as JSON within a budget, and keeps what JSON does not say of the last one.
template <class Json>
class value_reader {
 public:
  value_reader(byte_cursor& from, memory_budget& budget) : from_(from), budget_(budget) {}

  /// Reads a value with the id of its type before it. `kind` becomes its kind.
  [[nodiscard]] Json read(value_kind& kind) {
    leaf_ = 0;
    leaves_.text.clear();
    return read_as(take_type("value type"), kind, 0);
  }
  /// The leaves of the last value that JSON has no text for, as value_record::add_bytes() takes them.
  [[nodiscard]] const std::string& leaves() const noexcept { return leaves_.text; }

 private:
  [[nodiscard]] value_type take_type(std::string_view field) {
    const auto id = from_.take<std::uint32_t>(field);
    if (id < value_types.size()) return static_cast<value_type>(id);
    throw error(error_code::bad_metadata, {.field = from_.place(field),
                                           .found = std::to_string(id),
                                           .expected = join_text({"below ", value_types.size()})});
  }

  template <class Number>
  [[nodiscard]] Json number() {
    ++leaf_;
    return from_.take<Number>("value");
  }

  template <class Bits, class Float>
  [[nodiscard]] Json floating() {
    constexpr Bits exponent = std::bit_cast<Bits>(std::numeric_limits<Float>::infinity());
    const auto bits = from_.take<Bits>("value");
    if ((bits & exponent) == exponent) {  // NaN or infinite
      std::array<char, sizeof(bits)> bytes{};
      std::memcpy(bytes.data(), &bits, sizeof(bits));
      keep_leaf({bytes.data(), bytes.size()});
      return nullptr;
    }
    ++leaf_;
    return static_cast<double>(std::bit_cast<Float>(bits));
  }

  [[nodiscard]] Json boolean() {
    ++leaf_;
    const auto value = from_.take<std::uint8_t>("value");
    if (value <= 1) return value == 1;
    throw error(error_code::bad_metadata, {.field = from_.place("value"),
                                           .found = join_text({"a bool of ", value}),
                                           .expected = "0 or 1"});
  }

  [[nodiscard]] Json string() {
    const std::string_view text = from_.take_string("value");
    if (find_invalid_utf8(text) == std::string_view::npos) {
      take_memory(sizeof(std::string) + memory_budget::string_bytes(text.size()));
      ++leaf_;
      return text;
    }
    // A byte may become three, in a string that doubles as it grows.
    take_memory(sizeof(std::string) + 6 * text.size());
    keep_leaf(text);
    return replace_invalid_utf8(text);
  }

  void keep_leaf(std::string_view bytes) {
    take_memory(2 * bytes.size());
    basic_value_record<Json>::append_leaf(leaves_.text, leaf_++, bytes);
    leaves_.cover(budget_, "metadata");
  }

  void take_memory(std::uint64_t bytes) { budget_.take(bytes, "metadata"); }

  [[nodiscard]] Json read_as(value_type type, value_kind& kind, std::size_t depth) {
    kind.type = type;
    switch (type) {
      case value_type::u8: return number<std::uint8_t>();
      case value_type::i8: return number<std::int8_t>();
      case value_type::u16: return number<std::uint16_t>();
      case value_type::i16: return number<std::int16_t>();
      case value_type::u32: return number<std::uint32_t>();
      case value_type::i32: return number<std::int32_t>();
      case value_type::u64: return number<std::uint64_t>();
      case value_type::i64: return number<std::int64_t>();
      case value_type::f32: return floating<std::uint32_t, float>();
      case value_type::f64: return floating<std::uint64_t, double>();
      case value_type::boolean: return boolean();
      case value_type::string: return string();
      case value_type::array: return array(kind, depth);
    }
    return nullptr;
  }

  [[nodiscard]] Json array(value_kind& kind, std::size_t depth) {
    if (depth == max_array_depth) {
      throw error(error_code::bad_metadata,
                  {.field = from_.place("value"),
                   .found = join_text({"more than ", max_array_depth, " levels of arrays"}),
                   .expected = join_text({"at most ", max_array_depth})});
    }
    const value_type type = take_type("element type");
    const auto count = from_.take<std::uint64_t>("element count");
    from_.require(count, describe(type).bytes, "elements");
    take_memory(sizeof(typename Json::array_t) + sizeof(value_kind));
    budget_.take(count, sizeof(Json), "metadata");
    enter_elements(count);
    typename Json::array_t values;
    values.reserve(static_cast<std::size_t>(count));
    kind.elements.assign(1, {type, {}});
    if (type == value_type::array) {
      read_arrays(count, values, kind, depth);
    } else {
      value_kind element;
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_as(type, element, depth));
    }
    open_elements_ -= count;
    return Json(std::move(values));
  }

  /// Takes the memory of the list that the elements of an array, and of the arrays around it, are put
  /// into while they are destroyed.
  void enter_elements(std::uint64_t count) {
    open_elements_ += count;
    if (open_elements_ <= listed_elements_) return;
    budget_.take(open_elements_ - listed_elements_, json_bytes_while_destroyed<Json>, "metadata");
    listed_elements_ = open_elements_;
  }

  /// Reads arrays within an array. One kind is kept as long as all of them are of it.
  void read_arrays(std::uint64_t count, typename Json::array_t& values, value_kind& kind,
                   std::size_t depth) {
    for (std::uint64_t i = 0; i < count; ++i) {
      value_kind element;
      values.push_back(read_as(value_type::array, element, depth + 1));
      if (i == 0) {
        kind.elements.front() = std::move(element);
      } else if (kind.elements.size() > 1 || element != kind.elements.front()) {
        if (kind.elements.size() == 1) {
          budget_.take(count, sizeof(value_kind), "metadata");
          std::vector<value_kind> kinds;
          kinds.reserve(static_cast<std::size_t>(count));
          for (std::uint64_t same = 0; same < i; ++same) {
            take_kind_memory(kind.elements.front());
            kinds.push_back(kind.elements.front());
          }
          kind.elements = std::move(kinds);
        }
        kind.elements.push_back(std::move(element));
      }
    }
  }

  /// Takes the memory of a copy of `kind`.
  void take_kind_memory(const value_kind& kind) {
    take_memory(kind.elements.size() * sizeof(value_kind));
    for (const value_kind& element : kind.elements) take_kind_memory(element);
  }

  byte_cursor& from_;
  memory_budget& budget_;
  std::uint64_t leaf_ = 0;
  std::uint64_t open_elements_ = 0;    ///< of the arrays that are being read
  std::uint64_t listed_elements_ = 0;  ///< the most of them
  reused_string leaves_;
};

}  // namespace detail

/// A file's metadata.
template <class Json>
struct basic_metadata_section {
  Json values{};  ///< an object of the file's keys, and a value_record where one is needed
  std::uint64_t alignment_bytes = default_alignment_bytes;  ///< of the tensors
};
/// A metadata section whose metadata are nlohmann::json.
using metadata_section = basic_metadata_section<nlohmann::json>;

/// Reads `count` keys and values. Throws truncated; bad_metadata for a key that is empty, over 65535
/// bytes, not UTF-8, there twice or the record's, for a type that does not exist, a bool that is
/// neither 0 nor 1, arrays nested deeper than max_array_depth, more than 64 MiB in all, and a
/// general.alignment that is no u32 or no power of two up to 1 MiB; directory_too_large.
template <class Json = nlohmann::json>
[[nodiscard]] basic_metadata_section<Json> read_metadata(byte_cursor& from, std::uint64_t count,
                                                         memory_budget& budget) {
  basic_metadata_section<Json> section;
  basic_value_record<Json> record;
  budget.take(count, json_member_bytes<Json>({}), "metadata");
  typename Json::object_t values;
  detail::value_reader<Json> reader(from, budget);
  from.limit(max_metadata_bytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    from.enter("metadata", i);
    const auto refuse = [&](std::string found, std::string expected) {
      throw error(
          error_code::bad_metadata,
          {.field = from.place("key"), .found = std::move(found), .expected = std::move(expected)});
    };
    std::string key(from.take_string("key"));
    if (key.empty() || key.size() > max_key_bytes) {
      refuse(join_text({key.size(), " bytes"}), join_text({"1 to ", max_key_bytes}));
    }
    if (find_invalid_utf8(key) != std::string_view::npos) {
      refuse(join_text({"'", key, "', which is not UTF-8"}), "UTF-8");
    }
    if (key == basic_value_record<Json>::key) {
      refuse(join_text({"'", key, "'"}), "a key that this library does not keep for itself");
    }
    budget.take(memory_budget::string_bytes(key.size()), "metadata");
    const auto [member, is_new] = values.try_emplace(std::move(key));
    if (!is_new) refuse(join_text({"'", member->first, "' a second time"}), "every key once");
    value_kind kind;
    Json& value = member->second;
    value = reader.read(kind);
    if (member->first == alignment_key) {
      if (kind.type != value_type::u32 || !is_alignment(value.template get<std::uint64_t>())) {
        throw error(error_code::bad_metadata,
                    {.field = member->first,
                     .found = join_text({to_string(kind.type), " ",
                                         value.is_number() ? value.dump() : value.type_name()}),
                     .expected = join_text({"a u32, a power of two up to ", max_alignment_bytes})});
      }
      section.alignment_bytes = value.template get<std::uint64_t>();
    }
    if (natural_kind(value) != kind) record.add_kind(member->first, kind, budget);
    if (!reader.leaves().empty()) record.add_bytes(member->first, reader.leaves(), budget);
  }
  section.values = std::move(values);
  from.lift_limit();
  std::move(record).store(section.values);
  return section;
}

/// As above, without a budget.
template <class Json = nlohmann::json>
[[nodiscard]] basic_metadata_section<Json> read_metadata(byte_cursor& from, std::uint64_t count) {
  memory_budget endless;
  return read_metadata<Json>(from, count, endless);
}

}  // namespace nibble::gguf
