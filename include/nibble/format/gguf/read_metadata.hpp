#pragma once

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
#include <nibble/core/when_used.hpp>
#include <nibble/format/gguf/byte_cursor.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/gguf/value_record.hpp>

namespace nibble::gguf {

namespace detail {

/// Reads one value as JSON, and keeps what the JSON does not say.
class value_reader {
 public:
  explicit value_reader(byte_cursor& from) : from_(from) {}

  /// The value, its type's id first; `kind` becomes what it is.
  template <class = when_used>
  [[nodiscard]] nlohmann::json read(value_kind& kind) {
    return read_as(take_type("value type"), kind, 0);
  }
  [[nodiscard]] const std::vector<leaf_bytes>& leaves() const noexcept { return leaves_; }

 private:
  [[nodiscard]] value_type take_type(std::string_view field) {
    const auto id = from_.take<std::uint32_t>(field);
    if (id < value_types.size()) return static_cast<value_type>(id);
    throw error(error_code::bad_metadata, {.field = from_.place(field),
                                           .found = std::to_string(id),
                                           .expected = join_text({"below ", value_types.size()})});
  }

  template <class Number>
  [[nodiscard]] nlohmann::json number() {
    ++leaf_;
    return from_.take<Number>("value");
  }

  template <class Bits, class Float>
  [[nodiscard]] nlohmann::json floating() {
    constexpr Bits exponent = std::bit_cast<Bits>(std::numeric_limits<Float>::infinity());
    const auto bits = from_.take<Bits>("value");
    if ((bits & exponent) == exponent) {  // NaN or infinite
      std::string bytes(sizeof(bits), '\0');
      std::memcpy(bytes.data(), &bits, sizeof(bits));
      leaves_.push_back({leaf_++, std::move(bytes)});
      return nullptr;
    }
    ++leaf_;
    return static_cast<double>(std::bit_cast<Float>(bits));
  }

  template <class = when_used>
  [[nodiscard]] nlohmann::json boolean() {
    ++leaf_;
    const auto value = from_.take<std::uint8_t>("value");
    if (value <= 1) return value == 1;
    throw error(error_code::bad_metadata, {.field = from_.place("value"),
                                           .found = join_text({"a bool of ", value}),
                                           .expected = "0 or 1"});
  }

  template <class = when_used>
  [[nodiscard]] nlohmann::json string() {
    const std::string_view text = from_.take_string("value");
    const bool is_utf8 = find_invalid_utf8(text) == std::string_view::npos;
    if (!is_utf8) leaves_.push_back({leaf_, std::string(text)});
    ++leaf_;
    return is_utf8 ? std::string(text) : replace_invalid_utf8(text);
  }

  template <class = when_used>
  [[nodiscard]] nlohmann::json read_as(value_type type, value_kind& kind, std::size_t depth) {
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

  template <class = when_used>
  [[nodiscard]] nlohmann::json array(value_kind& kind, std::size_t depth) {
    if (depth == max_array_depth) {
      throw error(error_code::bad_metadata,
                  {.field = from_.place("value"),
                   .found = join_text({"more than ", max_array_depth, " levels of arrays"}),
                   .expected = join_text({"at most ", max_array_depth})});
    }
    const value_type type = take_type("element type");
    const auto count = from_.take<std::uint64_t>("element count");
    from_.require(count, describe(type).bytes, "elements");
    nlohmann::json::array_t values;
    values.reserve(static_cast<std::size_t>(count));
    kind.elements.assign(1, {type, {}});
    if (type == value_type::array) {
      read_arrays(count, values, kind, depth);
    } else {
      value_kind element;
      for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_as(type, element, depth));
    }
    return values;
  }

  /// Keeps one kind as long as all are of it.
  template <class = when_used>
  void read_arrays(std::uint64_t count, nlohmann::json::array_t& values, value_kind& kind,
                   std::size_t depth) {
    for (std::uint64_t i = 0; i < count; ++i) {
      value_kind element;
      values.push_back(read_as(value_type::array, element, depth + 1));
      if (i == 0) {
        kind.elements.front() = std::move(element);
      } else if (kind.elements.size() > 1 || element != kind.elements.front()) {
        if (kind.elements.size() == 1) kind.elements.resize(i, value_kind(kind.elements.front()));
        kind.elements.push_back(std::move(element));
      }
    }
  }

  byte_cursor& from_;
  std::uint64_t leaf_ = 0;
  std::vector<leaf_bytes> leaves_;
};

}  // namespace detail

/// A file's metadata: an object with the file's keys, the record of values among them where it is
/// needed, and what tensors are aligned to.
struct metadata_section {
  nlohmann::json values = nlohmann::json::object();
  std::uint64_t alignment_bytes = default_alignment_bytes;
};

/// Reads `count` keys and values. Throws truncated, and bad_metadata for a key that is empty, over
/// 65535 bytes, not UTF-8, there twice or the record's own, for an unknown type, a bool that is neither
/// 0 nor 1, arrays nested too deep, over 64 MiB in all, and an alignment that is none.
template <class = when_used>
[[nodiscard]] metadata_section read_metadata(byte_cursor& from, std::uint64_t count) {
  metadata_section section;
  value_record record;
  from.limit(max_metadata_bytes);
  for (std::uint64_t i = 0; i < count; ++i) {
    from.enter("metadata", i);
    const auto refuse = [&](std::string found, std::string expected) {
      throw error(
          error_code::bad_metadata,
          {.field = from.place("key"), .found = std::move(found), .expected = std::move(expected)});
    };
    const std::string key(from.take_string("key"));
    if (key.empty() || key.size() > max_key_bytes) {
      refuse(join_text({key.size(), " bytes"}), join_text({"1 to ", max_key_bytes}));
    }
    if (find_invalid_utf8(key) != std::string_view::npos) {
      refuse(join_text({"'", key, "', which is not UTF-8"}), "UTF-8");
    }
    if (key == value_record::key) {
      refuse(join_text({"'", key, "'"}), "a key that this library does not keep for itself");
    }
    if (section.values.contains(key)) {
      refuse(join_text({"'", key, "' a second time"}), "every key once");
    }
    value_kind kind;
    detail::value_reader reader(from);
    nlohmann::json value = reader.read(kind);
    if (key == alignment_key) {
      if (kind.type != value_type::u32 || !is_alignment(value.get<std::uint64_t>())) {
        throw error(error_code::bad_metadata,
                    {.field = key,
                     .found = join_text({to_string(kind.type), " ",
                                         value.is_number() ? value.dump() : value.type_name()}),
                     .expected = join_text({"a u32, a power of two up to ", max_alignment_bytes})});
      }
      section.alignment_bytes = value.get<std::uint64_t>();
    }
    if (natural_kind(value) != kind) record.add_kind(key, kind);
    if (!reader.leaves().empty()) record.add_bytes(key, reader.leaves());
    section.values.emplace(key, std::move(value));
  }
  from.lift_limit();
  std::move(record).store(section.values);
  return section;
}

}  // namespace nibble::gguf
