#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

#include <nibble/codec/codec.hpp>
#include <nibble/core/bfloat16.hpp>
#include <nibble/core/encoding.hpp>
#include <nibble/core/float16.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// An encoding of one number an element: x = the number itself, rounded to nearest even where f32 is
/// narrower. Stored is the type in the file; its bytes are little-endian and may be unaligned.
template <nibble::encoding Encoding, class Stored>
struct plain_codec {
  static constexpr nibble::encoding encoding = Encoding;
  /// The type of one element in the file.
  using stored_type = Stored;

  /// The value as f32: exact where f32 holds it, otherwise the nearest.
  [[nodiscard]] static float unpack(Stored stored) noexcept {
    if constexpr (std::is_same_v<Stored, float16> || std::is_same_v<Stored, bfloat16>) {
      return to_float32(stored);
    } else if constexpr (Encoding == nibble::encoding::bool8) {
      return stored == 0 ? 0.0F : 1.0F;
    } else {
      return static_cast<float>(stored);
    }
  }

  /// Whether values can be packed from f32; the other types are stored, listed and read.
  static constexpr bool can_pack = std::is_same_v<Stored, float> || std::is_same_v<Stored, float16> ||
                                   std::is_same_v<Stored, bfloat16>;

  /// `value` rounded to nearest even; NaN and infinities stay what they are.
  [[nodiscard]] static Stored pack(float value) noexcept requires can_pack {
    if constexpr (std::is_same_v<Stored, float16>) {
      return to_float16(value);
    } else if constexpr (std::is_same_v<Stored, bfloat16>) {
      return to_bfloat16(value);
    } else {
      return value;
    }
  }

  static_assert(sizeof(Stored) == describe(Encoding).block_bytes);
};

using f32 = plain_codec<nibble::encoding::f32, float>;             ///< 32 bits per weight
using f16 = plain_codec<nibble::encoding::f16, float16>;           ///< 16 bits per weight
using bf16 = plain_codec<nibble::encoding::bf16, bfloat16>;        ///< 16 bits per weight
using f64 = plain_codec<nibble::encoding::f64, double>;            ///< 64 bits per weight
using i32 = plain_codec<nibble::encoding::i32, std::int32_t>;      ///< 32 bits per weight
using i64 = plain_codec<nibble::encoding::i64, std::int64_t>;      ///< 64 bits per weight
using i8 = plain_codec<nibble::encoding::i8, std::int8_t>;         ///< 8 bits per weight
using u8 = plain_codec<nibble::encoding::u8, std::uint8_t>;        ///< 8 bits per weight
using i16 = plain_codec<nibble::encoding::i16, std::int16_t>;      ///< 16 bits per weight
using u16 = plain_codec<nibble::encoding::u16, std::uint16_t>;     ///< 16 bits per weight
using u32 = plain_codec<nibble::encoding::u32, std::uint32_t>;     ///< 32 bits per weight
using u64 = plain_codec<nibble::encoding::u64, std::uint64_t>;     ///< 64 bits per weight
using bool8 = plain_codec<nibble::encoding::bool8, std::uint8_t>;  ///< 8 bits per weight; 0 or 1

template <>
struct codec_of<nibble::encoding::f32> {
  using type = f32;
};
template <>
struct codec_of<nibble::encoding::f16> {
  using type = f16;
};
template <>
struct codec_of<nibble::encoding::bf16> {
  using type = bf16;
};
template <>
struct codec_of<nibble::encoding::f64> {
  using type = f64;
};
template <>
struct codec_of<nibble::encoding::i32> {
  using type = i32;
};
template <>
struct codec_of<nibble::encoding::i64> {
  using type = i64;
};
template <>
struct codec_of<nibble::encoding::i8> {
  using type = i8;
};
template <>
struct codec_of<nibble::encoding::u8> {
  using type = u8;
};
template <>
struct codec_of<nibble::encoding::i16> {
  using type = i16;
};
template <>
struct codec_of<nibble::encoding::u16> {
  using type = u16;
};
template <>
struct codec_of<nibble::encoding::u32> {
  using type = u32;
};
template <>
struct codec_of<nibble::encoding::u64> {
  using type = u64;
};
template <>
struct codec_of<nibble::encoding::bool8> {
  using type = bool8;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
