#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/gguf/value_kind.hpp>

namespace nibble::gguf {

/// A JSON value as a kind holds it.
template <class Json>
struct converted_value {
  Json value;       ///< of the kind that was asked for
  bool is_rounded;  ///< it is not the value that was given, but the nearest one
};

namespace detail {

/// A whole number from `low` on that fits `bits`, sign included; nothing for other numbers.
template <class Json>
[[nodiscard]] std::optional<Json> whole_value(const Json& value, int bits, bool is_signed) {
  constexpr double two_to_64 = 18446744073709551616.0;
  const std::uint64_t most = ~std::uint64_t{0} >> (64 - bits + (is_signed ? 1 : 0));
  std::uint64_t magnitude = 0;
  bool is_negative = false;
  if (value.is_number_float()) {
    const auto number = value.template get<double>();
    if (std::trunc(number) != number || !(std::fabs(number) < two_to_64)) return std::nullopt;
    is_negative = number < 0;
    magnitude = static_cast<std::uint64_t>(std::fabs(number));
  } else if (value.is_number_unsigned() || value.template get<std::int64_t>() >= 0) {
    magnitude = value.template get<std::uint64_t>();
  } else {
    is_negative = true;
    magnitude = ~static_cast<std::uint64_t>(value.template get<std::int64_t>()) + 1;
  }
  if (!is_negative) return magnitude <= most ? std::optional<Json>(magnitude) : std::nullopt;
  if (!is_signed || magnitude > most + 1) return std::nullopt;
  return static_cast<std::int64_t>(~magnitude + 1);
}

}  // namespace detail

/// The value that a GGUF file holds where `value` is written as `kind`: a number with a fraction is
/// rounded to f32 or f64, a whole one may be written with a fraction of zero. Nothing where it does not
/// fit: a number out of range, a fraction where whole numbers are, another sort of value.
template <class Json>
[[nodiscard]] std::optional<converted_value<Json>> convert_value(const Json& value,
                                                                 const value_kind& kind) {
  const auto whole = [&](int bits, bool is_signed) -> std::optional<converted_value<Json>> {
    if (!value.is_number()) return std::nullopt;
    auto number = detail::whole_value(value, bits, is_signed);
    if (!number) return std::nullopt;
    return converted_value<Json>{std::move(*number), false};
  };
  const auto unchanged = [&](bool fits) -> std::optional<converted_value<Json>> {
    if (!fits) return std::nullopt;
    return converted_value<Json>{value, false};
  };
  switch (kind.type) {
    case value_type::u8: return whole(8, false);
    case value_type::i8: return whole(8, true);
    case value_type::u16: return whole(16, false);
    case value_type::i16: return whole(16, true);
    case value_type::u32: return whole(32, false);
    case value_type::i32: return whole(32, true);
    case value_type::u64: return whole(64, false);
    case value_type::i64: return whole(64, true);
    case value_type::f32:
    case value_type::f64: {
      if (!value.is_number()) return std::nullopt;
      const auto number = value.template get<double>();
      const bool is_f32 = kind.type == value_type::f32;
      if (!std::isfinite(number) || (is_f32 && !detail::has_f32(number))) return std::nullopt;
      const double held = is_f32 ? double{static_cast<float>(number)} : number;
      const auto exact = detail::whole_value(value, 64, number < 0);
      const bool is_exact =
          held == number && (value.is_number_float() ||
                             (exact && detail::whole_value(Json(held), 64, number < 0) == exact));
      return converted_value<Json>{held, !is_exact};
    }
    case value_type::boolean: return unchanged(value.is_boolean());
    case value_type::string: return unchanged(value.is_string());
    case value_type::array: break;
  }
  const bool has_one_kind = kind.elements.size() == 1;
  if (!value.is_array() || (!has_one_kind && kind.elements.size() != value.size())) return std::nullopt;
  converted_value<Json> made{Json::array(), false};
  for (std::size_t i = 0; i < value.size(); ++i) {
    auto element = convert_value(value[i], kind.elements[has_one_kind ? 0 : i]);
    if (!element) return std::nullopt;
    made.is_rounded = made.is_rounded || element->is_rounded;
    made.value.push_back(std::move(element->value));
  }
  return made;
}

}  // namespace nibble::gguf
