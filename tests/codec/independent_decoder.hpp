#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <core/independent_halves.hpp>

namespace nibble_test {

/// FORMAT.md, section 2, read as a program: what an element of stored bytes is. Shares nothing with the
/// library, its table included; offsets are counted from the text and values formed in double, where
/// scale * q + min is exact for float16 scales, so that the last step to f32 is the only one that
/// rounds.
class independent_decoder {
 public:
  independent_decoder(std::string_view encoding, std::span<const std::byte> bytes, std::uint64_t cols)
      : kind_(kind_of(encoding)), bytes_(bytes), cols_(static_cast<std::size_t>(cols)) {}

  [[nodiscard]] float operator()(std::uint64_t row, std::uint64_t col) const {
    const auto r = static_cast<std::size_t>(row);
    const auto c = static_cast<std::size_t>(col);
    const std::size_t element = r * cols_ + c;
    const std::size_t row_blocks = (cols_ + 31) / 32;
    const std::size_t row_block = r * row_blocks + c / 32;
    switch (kind_) {
      case kind::f32: return number<float>(element);
      case kind::f16: return static_cast<float>(half(element * 2, binary16));
      case kind::bf16: return static_cast<float>(half(element * 2, brain16));
      case kind::f64: return static_cast<float>(number<double>(element));
      case kind::i8: return static_cast<float>(number<std::int8_t>(element));
      case kind::u8: return static_cast<float>(byte(element));
      case kind::i32: return nearest_float(number<std::int32_t>(element));
      case kind::i64: return nearest_float(number<std::int64_t>(element));
      case kind::i16: return static_cast<float>(number<std::int16_t>(element));
      case kind::u16: return static_cast<float>(number<std::uint16_t>(element));
      case kind::u32: return nearest_float(number<std::uint32_t>(element));
      case kind::u64: return nearest_float(number<std::uint64_t>(element));
      case kind::bool8: return byte(element) != 0 ? 1.0F : 0.0F;
      case kind::q8: {
        const std::size_t at = row_block * 36;
        return static_cast<float>(half(at, binary16) * byte(at + 4 + c % 32) + half(at + 2, binary16));
      }
      case kind::q4: {
        const std::size_t at = row_block * 20;
        const std::size_t j = c % 32;
        const int q = j < 16 ? byte(at + 4 + j) % 16 : byte(at + 4 + j - 16) / 16;
        return static_cast<float>(half(at, binary16) * q + half(at + 2, binary16));
      }
      case kind::apr_q8: {
        const auto scale = static_cast<double>(number<float>(0));
        const int stored = byte(4 + element);
        return static_cast<float>(scale * (stored < 128 ? stored : stored - 256));
      }
      case kind::apr_q4: {
        const std::size_t at = element / 32 * 18;
        const int pair = byte(at + 2 + element % 32 / 2);
        const int q = element % 2 == 0 ? pair % 16 : pair / 16;
        double scale = half(at, binary16);
        if (!std::isfinite(scale) || std::fabs(scale) < 0x1p-14) scale = 0.0;
        return static_cast<float>(scale * (q - 8));
      }
    }
    throw std::logic_error("no such kind");
  }

  /// |scale * q| + |min|, the numbers that an element is made of; min is -8 * scale for apr_q4.
  [[nodiscard]] double parts(std::uint64_t row, std::uint64_t col) const {
    const auto r = static_cast<std::size_t>(row);
    const auto c = static_cast<std::size_t>(col);
    const auto value = static_cast<double>((*this)(row, col));
    const std::size_t row_block = r * ((cols_ + 31) / 32) + c / 32;
    double min = 0.0;
    if (kind_ == kind::q8) min = half(row_block * 36 + 2, binary16);
    if (kind_ == kind::q4) min = half(row_block * 20 + 2, binary16);
    if (kind_ == kind::apr_q4) {
      min = -8.0 * half((r * cols_ + c) / 32 * 18, binary16);
      if (!std::isfinite(min) || std::fabs(min) < 8 * 0x1p-14) min = 0.0;
    }
    return std::fabs(value - min) + std::fabs(min);
  }

  /// Rows first .. first + count, row-major.
  [[nodiscard]] std::vector<float> rows(std::uint64_t first, std::uint64_t count) const {
    std::vector<float> values;
    values.reserve(static_cast<std::size_t>(count) * cols_);
    for (std::uint64_t row = first; row < first + count; ++row) {
      for (std::size_t col = 0; col < cols_; ++col) values.push_back((*this)(row, col));
    }
    return values;
  }

 private:
  enum class kind {
    f32,
    f16,
    bf16,
    f64,
    i32,
    i64,
    i8,
    u8,
    q8,
    q4,
    apr_q8,
    apr_q4,
    i16,
    u16,
    u32,
    u64,
    bool8
  };

  static kind kind_of(std::string_view encoding) {
    constexpr std::array<std::string_view, 17> names = {"f32", "f16", "bf16", "f64", "i32",    "i64",
                                                        "i8",  "u8",  "q8",   "q4",  "apr_q8", "apr_q4",
                                                        "i16", "u16", "u32",  "u64", "bool8"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == encoding) return static_cast<kind>(i);
    }
    throw std::invalid_argument("no decoder for " + std::string(encoding));
  }

  [[nodiscard]] int byte(std::size_t at) const { return std::to_integer<int>(bytes_[at]); }
  [[nodiscard]] double half(std::size_t at, const half_format& format) const {
    return value_of(format, static_cast<std::uint16_t>(byte(at) + 256 * byte(at + 1)));
  }
  template <class T>
  [[nodiscard]] T number(std::size_t element) const {
    T value;
    std::memcpy(&value, bytes_.data() + element * sizeof(T), sizeof(T));
    return value;
  }

  /// The f32 nearest to an integer, ties to even, by counting its bits.
  template <class Integer>
  [[nodiscard]] static float nearest_float(Integer value) {
    auto magnitude = static_cast<std::uint64_t>(value);
    const bool is_negative = std::is_signed_v<Integer> && value < Integer{0};
    if (is_negative) magnitude = 0 - magnitude;
    int shift = 0;
    while (magnitude >> shift >= 0x1000000U) ++shift;
    std::uint64_t kept = magnitude >> shift;
    if (shift != 0) {
      const std::uint64_t half_step = std::uint64_t{1} << (shift - 1);
      const std::uint64_t rest = magnitude - (kept << shift);
      if (rest > half_step || (rest == half_step && kept % 2 == 1)) ++kept;
    }
    const float rounded = std::ldexp(static_cast<float>(kept), shift);
    return is_negative ? -rounded : rounded;
  }

  kind kind_;
  std::span<const std::byte> bytes_;
  std::size_t cols_;
};

/// Equal as the format compares floats: the same bits, or both NaN.
inline bool is_same_float(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

/// Position of the first element in which two runs of floats differ, or -1.
inline std::ptrdiff_t first_difference(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) throw std::invalid_argument("runs of different lengths");
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!is_same_float(a[i], b[i])) return static_cast<std::ptrdiff_t>(i);
  }
  return -1;
}

}  // namespace nibble_test
