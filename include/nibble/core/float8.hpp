#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// How a float of 8 bits or fewer is laid out: sign, exponent, mantissa, from the highest bit down.
struct small_float_layout {
  unsigned exponent_bits;  ///< of the exponent
  unsigned mantissa_bits;  ///< of the mantissa
  int bias;                ///< what the stored exponent is too large by
  /// Which codes are no numbers.
  enum class specials : std::uint8_t {
    none,                 ///< all are numbers
    ieee,                 ///< the largest exponent: infinity without mantissa, otherwise NaN
    largest_is_nan,       ///< all bits set but the sign: NaN; no infinities (OCP FN)
    negative_zero_is_nan  ///< the sign alone: NaN; no infinities, no negative zero (FNUZ)
  };
  specials special;  ///< of this layout
};

/// The exact value of a code; bits above the layout's are passed over.
[[nodiscard]] constexpr float small_float_value(const small_float_layout& layout,
                                                std::uint32_t code) noexcept {
  const std::uint32_t largest_exponent = (1U << layout.exponent_bits) - 1U;
  const std::uint32_t mantissa_mask = (1U << layout.mantissa_bits) - 1U;
  const std::uint32_t mantissa = code & mantissa_mask;
  const std::uint32_t exponent = (code >> layout.mantissa_bits) & largest_exponent;
  const std::uint32_t sign = (code >> (layout.mantissa_bits + layout.exponent_bits)) & 1U;
  const std::uint32_t sign_bit = sign << 31U;
  constexpr std::uint32_t infinity = 0x7F800000U;
  constexpr std::uint32_t quiet_nan = 0x7FC00000U;
  using specials = small_float_layout::specials;
  const bool is_top = exponent == largest_exponent;
  if (layout.special == specials::ieee && is_top) {
    return std::bit_cast<float>(sign_bit | (mantissa == 0 ? infinity : quiet_nan));
  }
  if (layout.special == specials::largest_is_nan && is_top && mantissa == mantissa_mask) {
    return std::bit_cast<float>(sign_bit | quiet_nan);
  }
  if (layout.special == specials::negative_zero_is_nan && sign == 1 && exponent == 0 && mantissa == 0) {
    return std::bit_cast<float>(quiet_nan);
  }
  // Without mantissa bits lost: m * 2^(e - bias - mantissa_bits), a power of two in the range of f32.
  const bool is_normal = exponent != 0;
  const std::uint32_t significand = is_normal ? mantissa | (1U << layout.mantissa_bits) : mantissa;
  const int power = static_cast<int>(is_normal ? exponent : 1U) - layout.bias -
                    static_cast<int>(layout.mantissa_bits);
  const float scale = std::bit_cast<float>(static_cast<std::uint32_t>(power + 127) << 23U);
  const float magnitude = static_cast<float>(significand) * scale;
  return std::bit_cast<float>(sign_bit | std::bit_cast<std::uint32_t>(magnitude));
}

/// 2^(code - 127), an exponent without sign and mantissa (OCP E8M0); 255 is NaN.
[[nodiscard]] constexpr float power_of_two_value(std::uint8_t code) noexcept {
  if (code == 255) return std::bit_cast<float>(0x7FC00000U);
  if (code == 0) return std::bit_cast<float>(0x00400000U);  // 2^-127 is subnormal
  return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 23U);
}

/// OCP E2M1, whose codes are the nibbles of MXFP4 and NVFP4.
inline constexpr small_float_layout e2m1_layout{2, 1, 1, small_float_layout::specials::none};

namespace float8 {

[[nodiscard]] constexpr std::array<float, 256> values_of(const small_float_layout& layout) noexcept {
  std::array<float, 256> values{};
  for (std::uint32_t code = 0; code < 256; ++code) values[code] = small_float_value(layout, code);
  return values;
}
[[nodiscard]] constexpr std::array<float, 256> powers_of_two() noexcept {
  std::array<float, 256> values{};
  for (std::uint32_t code = 0; code < 256; ++code) {
    values[code] = power_of_two_value(static_cast<std::uint8_t>(code));
  }
  return values;
}

using specials = small_float_layout::specials;
inline constexpr auto e4m3_values = values_of({4, 3, 7, specials::largest_is_nan});
inline constexpr auto e5m2_values = values_of({5, 2, 15, specials::ieee});
inline constexpr auto e4m3fnuz_values = values_of({4, 3, 8, specials::negative_zero_is_nan});
inline constexpr auto e5m2fnuz_values = values_of({5, 2, 16, specials::negative_zero_is_nan});
inline constexpr auto e8m0_values = powers_of_two();

}  // namespace float8

/// The values of all 256 codes of an encoding of 8-bit floats: f8_e4m3 and f8_e5m2 (OCP OFP8), f8_e8m0
/// (OCP microscaling), f8_e4m3fnuz and f8_e5m2fnuz (as ONNX and PyTorch have them). Null for others.
[[nodiscard]] constexpr const std::array<float, 256>* float8_values(encoding which) noexcept {
  switch (which) {
    case encoding::f8_e4m3: return &float8::e4m3_values;
    case encoding::f8_e5m2: return &float8::e5m2_values;
    case encoding::f8_e8m0: return &float8::e8m0_values;
    case encoding::f8_e4m3fnuz: return &float8::e4m3fnuz_values;
    case encoding::f8_e5m2fnuz: return &float8::e5m2fnuz_values;
    default: return nullptr;
  }
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
