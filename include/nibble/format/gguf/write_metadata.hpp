#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/core/text.hpp>
#include <nibble/core/utf8.hpp>
#include <nibble/format/gguf/header.hpp>
#include <nibble/format/gguf/value_kind.hpp>
#include <nibble/format/gguf/value_record.hpp>
#include <nibble/format/json_text.hpp>

namespace nibble::gguf {

/// Appends the bytes of a number.
template <class Number>
void append_number(std::vector<std::byte>& to, Number number) {
  const auto bytes = std::bit_cast<std::array<std::byte, sizeof(Number)>>(number);
  to.insert(to.end(), bytes.begin(), bytes.end());
}
/// Appends the bytes of a text, or of any other contiguous range.
template <class Text>
void append_bytes(std::vector<std::byte>& to, const Text& text) {
  const auto bytes = std::as_bytes(std::span(text));
  to.insert(to.end(), bytes.begin(), bytes.end());
}
/// Appends a string as GGUF has it: its length as a u64, then its bytes.
inline void append_string(std::vector<std::byte>& to, std::string_view text) {
  append_number(to, std::uint64_t{text.size()});
  append_bytes(to, text);
}

namespace detail {

/// Appends one value as a kind, where it fits the kind.
template <class Json>
class value_writer {
 public:
  value_writer(std::vector<std::byte>& to, const std::vector<leaf_bytes>& leaves)
      : to_(to), rest_(leaves) {}

  /// Appends `value` as `kind`. Returns false where it does not fit; then part of it may have been
  /// appended.
  [[nodiscard]] bool append(const Json& value, const value_kind& kind) {
    if (kind.type == value_type::array) return append_array(value, kind);
    const leaf_bytes* recorded = nullptr;
    if (!rest_.empty() && rest_.front().leaf == leaf_) {
      recorded = &rest_.front();
      rest_ = rest_.subspan(1);
    }
    ++leaf_;
    switch (kind.type) {
      case value_type::u8: return append_integer<std::uint8_t>(value);
      case value_type::i8: return append_integer<std::int8_t>(value);
      case value_type::u16: return append_integer<std::uint16_t>(value);
      case value_type::i16: return append_integer<std::int16_t>(value);
      case value_type::u32: return append_integer<std::uint32_t>(value);
      case value_type::i32: return append_integer<std::int32_t>(value);
      case value_type::u64: return append_integer<std::uint64_t>(value);
      case value_type::i64: return append_integer<std::int64_t>(value);
      case value_type::f32: return append_float<float>(value, recorded);
      case value_type::f64: return append_float<double>(value, recorded);
      case value_type::boolean:
        if (!value.is_boolean()) return false;
        append_number(to_, static_cast<std::uint8_t>(value.template get<bool>() ? 1 : 0));
        return true;
      case value_type::string: return append_text(value, recorded);
      case value_type::array: break;
    }
    return false;
  }

 private:
  [[nodiscard]] bool append_array(const Json& value, const value_kind& kind) {
    if (!value.is_array() || kind.elements.empty()) return false;
    const bool has_one_kind = kind.elements.size() == 1;
    if (!has_one_kind && kind.elements.size() != value.size()) return false;
    const value_type type = kind.elements.front().type;
    append_number(to_, static_cast<std::uint32_t>(type));
    append_number(to_, std::uint64_t{value.size()});
    for (std::size_t i = 0; i < value.size(); ++i) {
      const value_kind& element = kind.elements[has_one_kind ? 0 : i];
      if (element.type != type || !append(value[i], element)) return false;
    }
    return true;
  }

  template <class Number>
  [[nodiscard]] bool append_integer(const Json& value) {
    if (!value.is_number_integer()) return false;
    if (value.is_number_unsigned() || value.template get<std::int64_t>() >= 0) {
      const auto number = value.template get<std::uint64_t>();
      if (!std::in_range<Number>(number)) return false;
      append_number(to_, static_cast<Number>(number));
    } else {
      const auto number = value.template get<std::int64_t>();
      if (!std::in_range<Number>(number)) return false;
      append_number(to_, static_cast<Number>(number));
    }
    return true;
  }

  template <class Float>
  [[nodiscard]] bool append_float(const Json& value, const leaf_bytes* recorded) {
    if (value.is_null() && recorded != nullptr && recorded->bytes.size() == sizeof(Float)) {
      append_bytes(to_, recorded->bytes);
      return true;
    }
    if (!value.is_number()) return false;
    const auto number = value.template get<double>();
    if (sizeof(Float) == sizeof(float) && !has_f32(number)) return false;
    append_number(to_, static_cast<Float>(number));
    return true;
  }

  [[nodiscard]] bool append_text(const Json& value, const leaf_bytes* recorded) {
    if (!value.is_string()) return false;
    const auto& text = value.template get_ref<const std::string&>();
    if (recorded != nullptr && replace_invalid_utf8(recorded->bytes) == text) {
      append_string(to_, recorded->bytes);
      return true;
    }
    if (find_invalid_utf8(text) != std::string_view::npos) return false;
    append_string(to_, text);
    return true;
  }

  std::vector<std::byte>& to_;
  std::span<const leaf_bytes> rest_;
  std::uint64_t leaf_ = 0;
};

/// Appends a value with the id of its type before it: as its recorded kind where it fits that, else as
/// its natural kind. Returns false, and appends nothing, where it fits neither.
template <class Json>
[[nodiscard]] bool append_value(std::vector<std::byte>& to, const std::string& key, const Json& value,
                                const basic_value_record<Json>& record) {
  const std::size_t start = to.size();
  const std::vector<leaf_bytes> leaves = record.bytes_of(key);
  // Other readers take an alignment only as a u32.
  const auto recorded = key == alignment_key ? std::nullopt : record.kind_of(key);
  for (const auto& kind : {recorded, natural_kind(value)}) {
    if (!kind) continue;
    append_number(to, static_cast<std::uint32_t>(kind->type));
    if (value_writer<Json>(to, leaves).append(value, *kind)) return true;
    to.resize(start);
  }
  return false;
}

}  // namespace detail

/// What the tensors of a file with this metadata, an object, are aligned to: its general.alignment,
/// or 32. Throws bad_metadata for an alignment that is no power of two up to 1 MiB.
template <class Json>
[[nodiscard]] std::uint64_t alignment_of(const Json& metadata) {
  const auto found = metadata.find(alignment_key);
  if (found == metadata.end()) return default_alignment_bytes;
  if (found->is_number_integer() && is_alignment(found->template get<std::uint64_t>())) {
    return found->template get<std::uint64_t>();
  }
  throw error(error_code::bad_metadata,
              {.field = std::string(alignment_key),
               .found = found->is_number() ? found->dump() : found->type_name(),
               .expected = join_text({"a power of two up to ", max_alignment_bytes})});
}

/// Appends the keys and values of `metadata`, an object, as they are in a file, in the order of the
/// bytes of the keys, and returns how many there are. A value has the kind that is recorded of it (see
/// value_record), or its natural_kind(). Values that GGUF has no type for (null, objects, arrays of
/// several kinds) become strings of JSON text; their keys are appended to `keys_of_text`, unless that
/// is null.
///
/// Throws bad_metadata for a key that is empty, over 65535 bytes or not UTF-8, for strings that are not
/// UTF-8 and are not recorded, and for more than 64 MiB in all; bad_record.
template <class Json>
std::uint64_t append_metadata(std::vector<std::byte>& to, const Json& metadata,
                              std::vector<std::string>* keys_of_text = nullptr) {
  const std::size_t start = to.size();
  const auto record = basic_value_record<Json>::find(metadata);
  std::uint64_t count = 0;
  for (const auto& [key, value] : metadata.items()) {
    if (key == basic_value_record<Json>::key) continue;
    if (key.empty() || key.size() > max_key_bytes || find_invalid_utf8(key) != std::string_view::npos) {
      throw error(error_code::bad_metadata,
                  {.field = "metadata key",
                   .found = join_text({"'", key, "' of ", key.size(), " bytes"}),
                   .expected = join_text({"1 to ", max_key_bytes, " bytes of UTF-8"})});
    }
    append_string(to, key);
    if (!detail::append_value(to, key, value, record)) {
      append_number(to, static_cast<std::uint32_t>(value_type::string));
      append_string(to, print_json(value, key));
      if (keys_of_text != nullptr) keys_of_text->push_back(key);
    }
    ++count;
    if (to.size() - start > max_metadata_bytes) {
      throw error(error_code::bad_metadata, {.field = "metadata",
                                             .found = "over 64 MiB",
                                             .expected = join_text({"at most ", max_metadata_bytes})});
    }
  }
  return count;
}

/// The keys of the values that GGUF has no type for and that are written as JSON text. Throws as
/// append_metadata() does.
template <class Json>
[[nodiscard]] std::vector<std::string> keys_of_text(const Json& metadata) {
  std::vector<std::byte> bytes;
  std::vector<std::string> keys;
  append_metadata(bytes, metadata, &keys);
  return keys;
}

}  // namespace nibble::gguf
