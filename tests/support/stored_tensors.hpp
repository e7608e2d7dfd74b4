#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include <nibble/core/encoding.hpp>

#include <core/independent_halves.hpp>
#include <support/random_values.hpp>

namespace nibble_test {

/// The encodings that can be decoded: as format/README.md lists them, and what else safetensors files
/// hold.
inline constexpr std::array decodable_encodings = {
    nibble::encoding::f32,     nibble::encoding::f16,    nibble::encoding::bf16,
    nibble::encoding::f64,     nibble::encoding::i32,    nibble::encoding::i64,
    nibble::encoding::i8,      nibble::encoding::u8,     nibble::encoding::q8,
    nibble::encoding::q4,      nibble::encoding::apr_q8, nibble::encoding::apr_q4,
    nibble::encoding::i16,     nibble::encoding::u16,    nibble::encoding::u32,
    nibble::encoding::u64,     nibble::encoding::bool8,  nibble::encoding::q4_0,
    nibble::encoding::q4_1,    nibble::encoding::q5_0,   nibble::encoding::q5_1,
    nibble::encoding::q8_0,    nibble::encoding::q2_k,   nibble::encoding::q3_k,
    nibble::encoding::q4_k,    nibble::encoding::q5_k,   nibble::encoding::q6_k,
    nibble::encoding::iq4_nl,  nibble::encoding::iq4_xs, nibble::encoding::mxfp4,
    nibble::encoding::iq2_xxs, nibble::encoding::iq2_xs, nibble::encoding::iq3_xxs,
    nibble::encoding::iq1_s,   nibble::encoding::iq3_s,  nibble::encoding::iq2_s,
    nibble::encoding::iq1_m,   nibble::encoding::tq1_0,  nibble::encoding::tq2_0,
    nibble::encoding::nvfp4,   nibble::encoding::q1_0,   nibble::encoding::q2_0,
    nibble::encoding::q4_r8,   nibble::encoding::q8_r8};

/// Those of them that f32 values can be packed into.
inline constexpr std::array packable_encodings = {
    nibble::encoding::f32,  nibble::encoding::f16,    nibble::encoding::bf16,   nibble::encoding::q8,
    nibble::encoding::q4,   nibble::encoding::apr_q8, nibble::encoding::apr_q4, nibble::encoding::q4_0,
    nibble::encoding::q4_1, nibble::encoding::q5_0,   nibble::encoding::q5_1,   nibble::encoding::q8_0,
    nibble::encoding::q2_k, nibble::encoding::q3_k,   nibble::encoding::q4_k,   nibble::encoding::q5_k,
    nibble::encoding::q6_k, nibble::encoding::tq2_0,  nibble::encoding::nvfp4,  nibble::encoding::q1_0,
    nibble::encoding::q2_0, nibble::encoding::q4_r8,  nibble::encoding::q8_r8};

/// Stored bytes of any value: every code, every scale, NaNs and infinities wherever the encoding has
/// them, partial blocks whose spare codes are not 0.
inline std::vector<std::byte> any_stored_bytes(nibble::encoding which, std::uint64_t rows,
                                               std::uint64_t cols, std::uint32_t seed) {
  const auto size = static_cast<std::size_t>(*nibble::stored_bytes(which, {rows, cols}));
  auto bytes = random_bytes(size, seed);
  std::mt19937 generator(seed);
  if (which == nibble::encoding::f64) {
    // Bits alone would all but always lie beyond f32.
    for (std::size_t at = 0; at < size; at += sizeof(double)) {
      if (generator() % 8U == 0U) continue;
      std::uniform_real_distribution<double> mantissa(-1.0, 1.0);
      const int exponent = static_cast<int>(generator() % 300U) - 160;
      const double value = std::ldexp(mantissa(generator), exponent);
      std::memcpy(bytes.data() + at, &value, sizeof(value));
    }
  } else if (which == nibble::encoding::apr_q8 && size != 0 && seed % 4U != 0U) {
    const float scale = 0.0123F * static_cast<float>(seed);
    std::memcpy(bytes.data(), &scale, sizeof(scale));
  }
  return bytes;
}

/// Stored bytes of finite values of about the same size, for products that are to be compared.
inline std::vector<std::byte> finite_stored_bytes(nibble::encoding which, std::uint64_t rows,
                                                  std::uint64_t cols, std::uint32_t seed) {
  using nibble::encoding;
  const auto size = static_cast<std::size_t>(*nibble::stored_bytes(which, {rows, cols}));
  auto bytes = random_bytes(size, seed);
  const auto numbers = gaussian(size / 2 + 2, seed + 1, 1.0F);
  const auto put = [&](std::size_t at, auto number) {
    std::memcpy(bytes.data() + at, &number, sizeof(number));
  };
  const auto half = [&](const half_format& format, std::size_t i) {
    return nearest_code(format, static_cast<double>(numbers[i]));
  };
  const std::size_t unit = nibble::describe(which).block_bytes;
  for (std::size_t at = 0, i = 0; at + unit <= size; at += unit, ++i) {
    switch (which) {
      case encoding::f32: put(at, numbers[i]); break;
      case encoding::f16: put(at, half(binary16, i)); break;
      case encoding::bf16: put(at, half(brain16, i)); break;
      case encoding::f64: put(at, static_cast<double>(numbers[i]) * 1.000000001); break;
      case encoding::q8:
      case encoding::q4:
        put(at, half(binary16, 2 * i));
        put(at + 2, half(binary16, 2 * i + 1));
        break;
      case encoding::q4_r8:
      case encoding::q8_r8:
        for (std::size_t n = 0; n < 16; ++n) put(at + 2 * n, half(binary16, 16 * i + n));
        break;
      case encoding::q4_1:
      case encoding::q5_1:
      case encoding::q4_k:
      case encoding::q5_k:
        put(at, half(binary16, 2 * i));
        put(at + 2, half(binary16, 2 * i + 1));
        break;
      case encoding::apr_q4:
      case encoding::q4_0:
      case encoding::q5_0:
      case encoding::q8_0:
      case encoding::iq4_nl:
      case encoding::iq4_xs:
      case encoding::iq1_s:
      case encoding::iq2_xxs:
      case encoding::iq2_xs:
      case encoding::iq2_s:
      case encoding::iq3_xxs:
      case encoding::iq3_s:
      case encoding::q1_0:
      case encoding::q2_0: put(at, half(binary16, i)); break;
      case encoding::tq1_0: put(at + 52, half(binary16, i)); break;
      case encoding::tq2_0: put(at + 64, half(binary16, i)); break;
      case encoding::iq1_m:
        // Four bits of the scale in the upper half of every second byte.
        for (std::size_t n = 0; n < 4; ++n) {
          const auto nibble = static_cast<unsigned>(half(binary16, i)) >> (4 * n) & 15U;
          const auto below = std::to_integer<unsigned>(bytes[at + 49 + 2 * n]) & 15U;
          put(at + 49 + 2 * n, static_cast<std::uint8_t>(nibble << 4U | below));
        }
        break;
      case encoding::nvfp4:
        for (std::size_t n = 0; n < 4; ++n) put(at + n, static_cast<std::uint8_t>(8U + (i + n) % 60U));
        break;
      case encoding::q2_k:
        put(at + 80, half(binary16, 2 * i));
        put(at + 82, half(binary16, 2 * i + 1));
        break;
      case encoding::q3_k: put(at + 108, half(binary16, i)); break;
      case encoding::q6_k: put(at + 208, half(binary16, i)); break;
      case encoding::mxfp4: put(at, static_cast<std::uint8_t>(116U + i % 16U)); break;
      default: break;
    }
  }
  if (which == encoding::apr_q8 && size != 0) put(0, 0.0123F);
  return bytes;
}

}  // namespace nibble_test
