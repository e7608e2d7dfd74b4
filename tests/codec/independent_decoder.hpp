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

#include <nibble/codec/code_books.hpp>

#include <core/independent_halves.hpp>

namespace nibble_test {

/// format/README.md, section 2, read as a program: what an element of stored bytes is. Shares nothing
/// with the library, its table included, but the code books, whose checksums codec/code_books.cpp has;
/// offsets are counted from the text and values formed in double,
/// where scale * q + min is exact for float16 scales, so that the last step to f32 is the only one that
/// rounds.
class independent_decoder {
 public:
  independent_decoder(std::string_view encoding, std::span<const std::byte> bytes, std::uint64_t cols)
      : kind_(kind_of(encoding)), bytes_(bytes), cols_(static_cast<std::size_t>(cols)) {}

  [[nodiscard]] float operator()(std::uint64_t row, std::uint64_t col) const {
    const auto r = static_cast<std::size_t>(row);
    const auto c = static_cast<std::size_t>(col);
    const std::size_t element = r * cols_ + c;
    const std::size_t row_block = block_of(r, c);
    if (kind_ >= kind::q4_0) {
      const parts_of_value of = ggml_parts(row_block, c);
      return static_cast<float>(of.scale * of.number + of.min);
    }
    switch (kind_) {
      case kind::f32: return number<float>(element);
      case kind::f16: return static_cast<float>(half_at(element * 2));
      case kind::bf16: return static_cast<float>(value_of(brain16, code_at(element * 2)));
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
        return static_cast<float>(half_at(at) * byte(at + 4 + c % 32) + half_at(at + 2));
      }
      case kind::q4: {
        const std::size_t at = row_block * 20;
        const std::size_t j = c % 32;
        const int q = j < 16 ? byte(at + 4 + j) % 16 : byte(at + 4 + j - 16) / 16;
        return static_cast<float>(half_at(at) * q + half_at(at + 2));
      }
      case kind::q4_r8: {
        // Scales and mins of 8 rows in 32 bytes, then words of 4 bytes, those of 8 rows side by side.
        const std::size_t at = group_block(r, c) * 160;
        const std::size_t j = c % 16;
        const int pair = byte(at + 32 + j / 4 * 32 + r % 8 * 4 + j % 4);
        const int q = c % 32 < 16 ? pair % 16 : pair / 16;
        return static_cast<float>(half_at(at + r % 8 * 2) * q + half_at(at + 16 + r % 8 * 2));
      }
      case kind::q8_r8: {
        const std::size_t at = group_block(r, c) * 288;
        const std::size_t j = c % 32;
        const int q = byte(at + 32 + j / 4 * 32 + r % 8 * 4 + j % 4);
        return static_cast<float>(half_at(at + r % 8 * 2) * q + half_at(at + 16 + r % 8 * 2));
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
        double scale = half_at(at);
        if (!std::isfinite(scale) || std::fabs(scale) < 0x1p-14) scale = 0.0;
        return static_cast<float>(scale * (q - 8));
      }
      default: break;
    }
    throw std::logic_error("no such kind");
  }

  /// |scale * q| + |min|, the numbers that an element is made of; min is -zero * scale where codes
  /// count from a zero, as -8 * scale for apr_q4.
  [[nodiscard]] double parts(std::uint64_t row, std::uint64_t col) const {
    const auto r = static_cast<std::size_t>(row);
    const auto c = static_cast<std::size_t>(col);
    const auto value = static_cast<double>((*this)(row, col));
    const std::size_t row_block = block_of(r, c);
    double min = 0.0;
    if (kind_ == kind::q8) min = half_at(row_block * 36 + 2);
    if (kind_ == kind::q4) min = half_at(row_block * 20 + 2);
    if (kind_ == kind::q4_r8) min = half_at(group_block(r, c) * 160 + 16 + r % 8 * 2);
    if (kind_ == kind::q8_r8) min = half_at(group_block(r, c) * 288 + 16 + r % 8 * 2);
    if (kind_ == kind::apr_q4) {
      min = -8.0 * half_at((r * cols_ + c) / 32 * 18);
      if (!std::isfinite(min) || std::fabs(min) < 8 * 0x1p-14) min = 0.0;
    }
    if (kind_ >= kind::q4_0) {
      const parts_of_value of = ggml_parts(row_block, c);
      min = of.min - of.zero * of.scale;
    }
    return std::fabs(value - min) + std::fabs(min);
  }

  /// The code that is stored for an element of the first block, for ggml's encodings without values of
  /// their own for codes.
  [[nodiscard]] int stored_code(std::size_t element) const {
    const parts_of_value of = ggml_parts(0, element);
    return of.number + of.zero;
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
    bool8,
    q4_r8,
    q8_r8,
    q4_0,
    q4_1,
    q5_0,
    q5_1,
    q8_0,
    iq4_nl,
    mxfp4,  // blocks of 32
    nvfp4,
    q2_0,  // blocks of 64
    q1_0,  // blocks of 128
    q2_k,
    q3_k,
    q4_k,
    q5_k,
    q6_k,
    iq4_xs,
    iq1_s,
    iq1_m,
    iq2_xxs,
    iq2_xs,
    iq2_s,
    iq3_xxs,
    iq3_s,
    tq1_0,
    tq2_0  // blocks of 256
  };

  static kind kind_of(std::string_view encoding) {
    constexpr std::array<std::string_view, 44> names = {
        "f32",   "f16",     "bf16",   "f64",   "i32",     "i64",   "i8",     "u8",     "q8",
        "q4",    "apr_q8",  "apr_q4", "i16",   "u16",     "u32",   "u64",    "bool8",  "q4_r8",
        "q8_r8", "q4_0",    "q4_1",   "q5_0",  "q5_1",    "q8_0",  "iq4_nl", "mxfp4",  "nvfp4",
        "q2_0",  "q1_0",    "q2_k",   "q3_k",  "q4_k",    "q5_k",  "q6_k",   "iq4_xs", "iq1_s",
        "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "tq1_0",  "tq2_0"};
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == encoding) return static_cast<kind>(i);
    }
    throw std::invalid_argument("no decoder for " + std::string(encoding));
  }

  /// The block of 8 rows and 32 columns.
  [[nodiscard]] std::size_t group_block(std::size_t row, std::size_t col) const {
    return row / 8 * ((cols_ + 31) / 32) + col / 32;
  }

  [[nodiscard]] std::size_t block_of(std::size_t row, std::size_t col) const {
    const std::size_t elements = kind_ >= kind::q2_k    ? 256
                                 : kind_ == kind::q1_0  ? 128
                                 : kind_ >= kind::nvfp4 ? 64
                                                        : 32;
    return row * ((cols_ + elements - 1) / elements) + col / elements;
  }

  /// A value of ggml's encodings is scale * number + min; number counts from `zero` below its code.
  struct parts_of_value {
    double scale;
    int number;
    double min;
    int zero;
  };

  /// `count` bits of byte `at`, from bit `first` on.
  [[nodiscard]] int bits(std::size_t at, std::size_t first, int count) const {
    return byte(at) / (1 << first) % (1 << count);
  }

  [[nodiscard]] parts_of_value ggml_parts(std::size_t block, std::size_t col) const {
    constexpr double no_min = -0.0;  // which added to a zero leaves its sign
    const std::size_t j = col % 32;
    // Byte of nibbles and which of them, where halves of 32 share bytes.
    const std::size_t half = j % 16;
    const std::size_t upper = j / 16 * 4;
    // Of 256: which 32, and which 16.
    const std::size_t group = col % 256 / 32;
    const std::size_t sixteenth = col % 256 / 16;
    switch (kind_) {
      case kind::q4_0: {
        const std::size_t at = block * 18;
        return {half_at(at), bits(at + 2 + half, upper, 4) - 8, no_min, 8};
      }
      case kind::q4_1: {
        const std::size_t at = block * 20;
        return {half_at(at), bits(at + 4 + half, upper, 4), half_at(at + 2), 0};
      }
      case kind::q5_0: {
        const std::size_t at = block * 22;
        const int high = bits(at + 2 + j / 8, j % 8, 1);
        return {half_at(at), bits(at + 6 + half, upper, 4) + 16 * high - 16, no_min, 16};
      }
      case kind::q5_1: {
        const std::size_t at = block * 24;
        const int high = bits(at + 4 + j / 8, j % 8, 1);
        return {half_at(at), bits(at + 8 + half, upper, 4) + 16 * high, half_at(at + 2), 0};
      }
      case kind::q8_0: {
        const std::size_t at = block * 34;
        const int stored = byte(at + 2 + j);
        return {half_at(at), stored < 128 ? stored : stored - 256, no_min, 0};
      }
      case kind::iq4_nl: {
        const std::size_t at = block * 18;
        return {half_at(at), nonlinear(bits(at + 2 + half, upper, 4)), no_min, 0};
      }
      case kind::mxfp4: {
        const std::size_t at = block * 17;
        const int code = bits(at + 1 + half, upper, 4);
        constexpr std::array<int, 8> doubled = {0, 1, 2, 3, 4, 6, 8, 12};
        const int magnitude = doubled[static_cast<std::size_t>(code % 8)];
        return {std::ldexp(1.0, byte(at) - 128), code < 8 ? magnitude : -magnitude, no_min, 0};
      }
      case kind::q2_k: {
        const std::size_t at = block * 84;
        const int pair = byte(at + sixteenth);
        const int code = bits(at + 16 + group / 4 * 32 + j, group % 4 * 2, 2);
        return {half_at(at + 80) * (pair % 16), code, -(half_at(at + 82) * (pair / 16)), 0};
      }
      case kind::q3_k: {
        const std::size_t at = block * 110;
        const int low = bits(at + 32 + group / 4 * 32 + j, group % 4 * 2, 2);
        const int high = bits(at + j, group, 1);
        const std::size_t i = sixteenth;
        const int scale =
            bits(at + 96 + i % 8, i / 8 * 4, 4) + 16 * bits(at + 104 + i % 4, i / 4 * 2, 2);
        return {half_at(at + 108) * (scale - 32), low + 4 * high - 4, no_min, 4};
      }
      case kind::q4_k: {
        const std::size_t at = block * 144;
        const int code = bits(at + 16 + group / 2 * 32 + j, group % 2 * 4, 4);
        return {half_at(at) * six_bits(at + 4, group, false), code,
                -(half_at(at + 2) * six_bits(at + 4, group, true)), 0};
      }
      case kind::q5_k: {
        const std::size_t at = block * 176;
        const int low = bits(at + 48 + group / 2 * 32 + j, group % 2 * 4, 4);
        return {half_at(at) * six_bits(at + 4, group, false), low + 16 * bits(at + 16 + j, group, 1),
                -(half_at(at + 2) * six_bits(at + 4, group, true)), 0};
      }
      case kind::q6_k: {
        const std::size_t at = block * 210;
        const int low = bits(at + group / 4 * 64 + group % 2 * 32 + j, group % 4 / 2 * 4, 4);
        const int high = bits(at + 128 + group / 4 * 32 + j, group % 4 * 2, 2);
        const int stored = byte(at + 192 + sixteenth);
        return {half_at(at + 208) * (stored < 128 ? stored : stored - 256), low + 16 * high - 32,
                no_min, 32};
      }
      case kind::iq4_xs: {
        const std::size_t at = block * 136;
        const int scale = bits(at + 4 + group / 2, group % 2 * 4, 4) +
                          16 * bits(at + 2 + group / 4, group % 4 * 2, 2);
        return {half_at(at) * (scale - 32), nonlinear(bits(at + 8 + group * 16 + half, upper, 4)),
                no_min, 0};
      }
      case kind::nvfp4: {
        const std::size_t at = block * 36;
        const std::size_t i = col % 64 / 16;
        const int code = bits(at + 4 + i * 8 + col % 8, col % 16 / 8 * 4, 4);
        constexpr std::array<int, 8> doubled = {0, 1, 2, 3, 4, 6, 8, 12};
        const int magnitude = doubled[static_cast<std::size_t>(code % 8)];
        const int exponent = bits(at + i, 3, 4);
        const int mantissa = bits(at + i, 0, 3);
        double scale =
            exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 7 - 3);
        if (byte(at + i) == 127) scale = 0.0;
        return {scale / 2, code < 8 ? magnitude : -magnitude, no_min, 0};
      }
      case kind::q2_0: {
        const std::size_t at = block * 18;
        return {half_at(at), bits(at + 2 + col % 64 / 4, col % 4 * 2, 2) - 1, no_min, 1};
      }
      case kind::q1_0: {
        const std::size_t at = block * 18;
        return {half_at(at), 2 * bits(at + 2 + col % 128 / 8, col % 8, 1) - 1, no_min, 1};
      }
      case kind::tq1_0: {
        const std::size_t at = block * 54;
        const std::size_t k = col % 256;
        const std::size_t own = k < 160 ? k % 32 : k < 240 ? 32 + k % 16 : 48 + k % 4;
        const std::size_t before = k < 160 ? k / 32 : k < 240 ? (k - 160) / 16 : (k - 240) / 4;
        int fraction = byte(at + own);
        for (std::size_t n = 0; n < before; ++n) fraction = fraction * 3 % 256;
        return {half_at(at + 52), fraction * 3 / 256 - 1, no_min, 1};
      }
      case kind::tq2_0: {
        const std::size_t at = block * 66;
        return {half_at(at + 64), bits(at + group / 4 * 32 + j, group % 4 * 2, 2) - 1, no_min, 1};
      }
      default: return book_parts(block, col % 256);
    }
  }

  /// Of the encodings with a code book, whose blocks hold 256 elements.
  [[nodiscard]] parts_of_value book_parts(std::size_t block, std::size_t k) const {
    constexpr double no_min = -0.0;
    constexpr std::array<int, 3> of_iq2 = {8, 25, 43};
    const std::size_t group = k / 32;
    const std::size_t eighth = k / 8;
    const std::size_t quarter = k / 4;
    const auto eight_digits = [&](std::uint16_t entry) {
      return static_cast<std::size_t>(entry >> (k % 8 * 2)) % 4;
    };
    const auto four_digits = [&](std::uint16_t entry) {
      return static_cast<std::size_t>(entry >> (k % 4 * 3)) % 8;
    };
    const auto signed_by = [](bool is_negative, int magnitude) {
      return is_negative ? -magnitude : magnitude;
    };
    // Whether element k is negative, of seven stored signs of its eight from bit `first` of byte `at` on.
    const auto is_negative_of_seven = [&](std::size_t at, std::size_t first) {
      int negative = 0;
      for (std::size_t n = 0; n < 7; ++n) {
        const int sign = bits(at + (first + n) / 8, (first + n) % 8, 1);
        if (n == k % 8) return sign != 0;
        negative += sign;
      }
      return negative % 2 == 1;
    };
    switch (kind_) {
      case kind::iq1_s: {
        const std::size_t at = block * 50;
        const int above = code_at(at + 34 + group * 2);
        const int high = above / (1 << (eighth % 4 * 3)) % 8;
        const auto entry = static_cast<std::size_t>(byte(at + 2 + eighth) + 256 * high);
        const int digit = static_cast<int>(eight_digits(nibble::iq1_book[entry]));
        return {half_at(at) * (2 * (above / 4096 % 8) + 1) / 8,
                8 * (digit - 1) + (above >= 0x8000 ? -1 : 1), no_min, 0};
      }
      case kind::iq1_m: {
        const std::size_t at = block * 56;
        std::uint16_t scale = 0;
        for (std::size_t n = 0; n < 4; ++n) {
          scale = static_cast<std::uint16_t>(scale + (byte(at + 49 + 2 * n) / 16 << (4 * n)));
        }
        const int high = bits(at + 32 + eighth / 2, eighth % 2 * 4, 3);
        const bool is_below = bits(at + 32 + eighth / 2, eighth % 2 * 4 + 3, 1) != 0;
        const int number = code_at(at + 48 + group / 2 * 2) / (1 << (k / 16 % 4 * 3)) % 8;
        const auto entry = static_cast<std::size_t>(byte(at + eighth) + 256 * high);
        const int digit = static_cast<int>(eight_digits(nibble::iq1_book[entry]));
        return {value_of(binary16, scale) * (2 * number + 1) / 8, 8 * (digit - 1) + (is_below ? -1 : 1),
                no_min, 0};
      }
      case kind::iq2_xxs: {
        const std::size_t at = block * 66 + 2 + group * 8;
        const auto entry = static_cast<std::size_t>(byte(at + eighth % 4));
        const int magnitude = of_iq2.at(eight_digits(nibble::iq2_xxs_book[entry]));
        return {half_at(block * 66) * (2 * bits(at + 7, 4, 4) + 1) / 8,
                signed_by(is_negative_of_seven(at + 4, eighth % 4 * 7), magnitude), no_min, 0};
      }
      case kind::iq2_xs: {
        const std::size_t at = block * 74;
        const auto entry = static_cast<std::size_t>(code_at(at + 2 + eighth * 2) % 512);
        const int magnitude = of_iq2.at(eight_digits(nibble::iq2_xs_book[entry]));
        return {half_at(at) * (2 * bits(at + 66 + group, k % 32 / 16 * 4, 4) + 1) / 8,
                signed_by(is_negative_of_seven(at + 3 + eighth * 2, 1), magnitude), no_min, 0};
      }
      case kind::iq2_s: {
        const std::size_t at = block * 82;
        const int high = bits(at + 66 + group, eighth % 4 * 2, 2);
        const auto entry = static_cast<std::size_t>(byte(at + 2 + eighth) + 256 * high);
        const int magnitude = of_iq2.at(eight_digits(nibble::iq2_s_book[entry]));
        return {half_at(at) * (2 * bits(at + 74 + group, k % 32 / 16 * 4, 4) + 1) / 8,
                signed_by(bits(at + 34 + eighth, k % 8, 1) != 0, magnitude), no_min, 0};
      }
      case kind::iq3_xxs: {
        const std::size_t at = block * 98;
        const auto entry = static_cast<std::size_t>(byte(at + 2 + quarter));
        const auto digit = static_cast<int>(four_digits(nibble::iq3_xxs_book[entry]));
        const int magnitude = digit == 7 ? 62 : 8 * digit + 4;
        const std::size_t signs_at = at + 66 + group * 4;
        return {half_at(at) * (2 * bits(signs_at + 3, 4, 4) + 1) / 4,
                signed_by(is_negative_of_seven(signs_at, eighth % 4 * 7), magnitude), no_min, 0};
      }
      case kind::iq3_s: {
        const std::size_t at = block * 110;
        const int high = bits(at + 66 + group, quarter % 8, 1);
        const auto entry = static_cast<std::size_t>(byte(at + 2 + quarter) + 256 * high);
        const int magnitude = 2 * static_cast<int>(four_digits(nibble::iq3_s_book[entry])) + 1;
        return {half_at(at) * (2 * bits(at + 106 + group / 2, group % 2 * 4, 4) + 1),
                signed_by(bits(at + 74 + eighth, k % 8, 1) != 0, magnitude), no_min, 0};
      }
      default: throw std::logic_error("no such kind");
    }
  }

  /// Of the eight scales (mins) in twelve bytes that Q4_K and Q5_K have.
  [[nodiscard]] int six_bits(std::size_t at, std::size_t i, bool is_min) const {
    const std::size_t own = at + (is_min ? 4 : 0);
    if (i < 4) return byte(own + i) % 64;
    return bits(at + 4 + i, is_min ? 4 : 0, 4) + 16 * (byte(own + i - 4) / 64);
  }

  [[nodiscard]] static int nonlinear(int code) {
    constexpr std::array<int, 16> values = {-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};
    return values[static_cast<std::size_t>(code)];
  }

  [[nodiscard]] int byte(std::size_t at) const { return std::to_integer<int>(bytes_[at]); }
  [[nodiscard]] std::uint16_t code_at(std::size_t at) const {
    return static_cast<std::uint16_t>(byte(at) + 256 * byte(at + 1));
  }
  /// Worked out once for every code: nearly all elements have a scale, and ldexp takes its time.
  [[nodiscard]] double half_at(std::size_t at) const {
    static const std::vector<double> values = [] {
      std::vector<double> all(0x10000);
      for (std::size_t code = 0; code < all.size(); ++code)
        all[code] = value_of(binary16, static_cast<std::uint16_t>(code));
      return all;
    }();
    return values[code_at(at)];
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
