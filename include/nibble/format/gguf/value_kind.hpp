#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace nibble::gguf {

/// The types of metadata values, with the ids that they have in files.
enum class value_type : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

/// A row of the table of value types.
struct value_type_description {
  value_type type;        ///< by its id
  std::string_view name;  ///< what the record of values calls it
  std::uint32_t bytes;    ///< that a value takes; of strings and arrays, that an empty one takes
};

/// Every value type, at the place of its id.
inline constexpr std::array value_types{
    value_type_description{value_type::u8, "u8", 1},
    value_type_description{value_type::i8, "i8", 1},
    value_type_description{value_type::u16, "u16", 2},
    value_type_description{value_type::i16, "i16", 2},
    value_type_description{value_type::u32, "u32", 4},
    value_type_description{value_type::i32, "i32", 4},
    value_type_description{value_type::f32, "f32", 4},
    value_type_description{value_type::boolean, "bool", 1},
    value_type_description{value_type::string, "str", 8},
    value_type_description{value_type::array, "arr", 12},
    value_type_description{value_type::u64, "u64", 8},
    value_type_description{value_type::i64, "i64", 8},
    value_type_description{value_type::f64, "f64", 8},
};

/// The row of `type`.
[[nodiscard]] constexpr const value_type_description& describe(value_type type) noexcept {
  return value_types[static_cast<std::size_t>(type)];
}

/// "u8", "str", "f64": the name that the record of values gives to a type.
[[nodiscard]] constexpr std::string_view to_string(value_type type) noexcept {
  return describe(type).name;
}

/// How deep arrays in the metadata may nest.
inline constexpr std::size_t max_array_depth = 32;

/// The type of a value and, of an array, the kinds of its elements. `elements` has one kind where all
/// elements are of it (an empty array has one too), the kind of each where they are arrays of several
/// kinds, and none where nothing is known: an empty array of arrays does not say what those would hold.
struct value_kind {
  value_type type{};                   ///< of the value
  std::vector<value_kind> elements{};  ///< of an array, see above

  /// Whether types are the same, and those of elements, all the way down.
  friend bool operator==(const value_kind& a, const value_kind& b) noexcept {
    return a.type == b.type && a.elements == b.elements;
  }
};

namespace detail {

/// Whether a number has an f32 near it: none that is too large, and none but zero that rounds to zero.
[[nodiscard]] inline bool has_f32(double value) noexcept {
  if (!(std::fabs(value) <= double{std::numeric_limits<float>::max()})) return false;
  return value == 0.0 || static_cast<float>(value) != 0.0F;
}

/// The usual type of the numbers that were added: the narrowest of whole numbers that holds them all,
/// f32 where one has a fraction.
class number_range {
 public:
  template <class Json>
  void add(const Json& number) {
    if (number.is_number_float()) {
      has_floats_ = true;
      has_f32_ = has_f32_ && has_f32(number.template get<double>());
      return;
    }
    if (number.is_number_unsigned() || number.template get<std::int64_t>() >= 0) {
      largest_ = std::max(largest_, number.template get<std::uint64_t>());
    } else {
      lowest_ = std::min(lowest_, number.template get<std::int64_t>());
    }
  }

  /// u32, u64, i32 or i64 where all are whole numbers, nothing where none of these holds all; else f32,
  /// or f64 where one has no f32.
  [[nodiscard]] std::optional<value_type> type() const noexcept {
    if (has_floats_) return has_f32_ ? value_type::f32 : value_type::f64;
    if (lowest_ >= 0) {
      return largest_ <= std::numeric_limits<std::uint32_t>::max() ? value_type::u32 : value_type::u64;
    }
    if (largest_ > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return std::nullopt;
    const bool fits_i32 = lowest_ >= std::numeric_limits<std::int32_t>::min() &&
                          largest_ <= std::uint64_t{std::numeric_limits<std::int32_t>::max()};
    return fits_i32 ? value_type::i32 : value_type::i64;
  }

 private:
  bool has_floats_ = false;
  bool has_f32_ = true;
  std::uint64_t largest_ = 0;
  std::int64_t lowest_ = 0;
};

}  // namespace detail

/// The kind that a JSON value has in a GGUF file where no other is recorded:
///
///   true, false                  bool
///   string                       str
///   whole number, not negative   u32 where it fits, else u64
///   negative whole number        i32 where it fits, else i64
///   number with a fraction or    f32, rounded to it, which is what readers of GGUF ask for; f64 where
///   an exponent                  it is too large for f32, or would become zero
///   array of these               array of the one type that holds all elements; of u32 where it is
///   empty
///
/// Nothing for null, objects and other arrays.
template <class Json>
[[nodiscard]] std::optional<value_kind> natural_kind(const Json& value) {
  const auto scalar = [](const Json& one) -> std::optional<value_type> {
    if (one.is_boolean()) return value_type::boolean;
    if (one.is_string()) return value_type::string;
    if (!one.is_number()) return std::nullopt;
    detail::number_range range;
    range.add(one);
    return range.type();
  };
  if (!value.is_array()) {
    const auto type = scalar(value);
    return type ? std::optional(value_kind{*type, {}}) : std::nullopt;
  }
  const auto& elements = value.template get_ref<const typename Json::array_t&>();
  std::optional<value_type> type;
  if (elements.empty()) {
    type = value_type::u32;
  } else if (elements.front().is_number()) {
    detail::number_range range;
    if (std::all_of(elements.begin(), elements.end(),
                    [](const Json& one) { return one.is_number(); })) {
      for (const Json& one : elements) range.add(one);
      type = range.type();
    }
  } else if (elements.front().is_string() || elements.front().is_boolean()) {
    const auto is_like_the_first = [&](const Json& one) {
      return one.type() == elements.front().type();
    };
    if (std::all_of(elements.begin(), elements.end(), is_like_the_first))
      type = scalar(elements.front());
  }
  if (!type) return std::nullopt;
  return value_kind{value_type::array, {{*type, {}}}};
}

}  // namespace nibble::gguf
