#pragma once

// Unpacks blocks of BitCodecs, whose codes are put together from bits in several places. Loop nest:
//
//   for each 32 codes of a block, unrolled to the end
//     load their low bits, join their high bits, look up their values, in 32 bytes of registers
//     store them as 32 bytes
//
// Scales and mins of all sub-blocks are widened to floats at once. All other kernels see these blocks
// as they leave this file: a byte for each code, a float for each scale and min.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// What the byte of an unpacked code holds.
enum class code_form : std::uint8_t {
  stored,   ///< the code as it is stored; with code_values, its value + 128
  counted,  ///< the signed number that the code stands for: code - code_zero, or its value
};

/// Whether codes are places in a table of values.
template <BitCodec Codec>
inline constexpr bool has_code_values = requires {
  Codec::code_values;
};
/// Whether codes have bits beside low_bits.
template <BitCodec Codec>
inline constexpr bool has_high_bits = requires {
  Codec::high_bits(std::size_t{});
};

/// Elements of a sub-block, which is what one scale counts for.
template <BitCodec Codec>
[[nodiscard]] constexpr std::size_t sub_block_elements() noexcept {
  if constexpr (requires { Codec::sub_block_elements; }) {
    return Codec::sub_block_elements;
  } else {
    return Codec::block_elements;
  }
}
/// Sub-blocks of a block.
template <BitCodec Codec>
inline constexpr std::size_t sub_blocks = Codec::block_elements / sub_block_elements<Codec>();

/// Some bits of each of 32 codes, as bytes.
template <class Architecture>
[[nodiscard]] simd::block_bytes<Architecture> load_bits(const std::byte* block,
                                                        const code_bits& bits) noexcept {
  const std::byte* const from = block + bits.at_byte;
  switch (bits.layout) {
    case bit_layout::nibble_halves:
      return simd::load_nibble_bytes(from, Architecture{}, Architecture{});
    case bit_layout::single_bits: return simd::load_single_bits(from, Architecture{}, Architecture{});
    case bit_layout::bytes: break;
  }
  return simd::load_bit_fields(from, static_cast<int>(bits.shift), static_cast<int>(bits.count), 0,
                               Architecture{}, Architecture{});
}

/// Codes with their high bits, above the `low_count` bits that they have.
template <class Architecture>
[[nodiscard]] simd::block_bytes<Architecture> join_high_bits(
    const simd::block_bytes<Architecture>& lows, const std::byte* block, const code_bits& bits,
    std::uint32_t low_count) noexcept {
  const auto place = static_cast<int>(low_count);
  if (bits.layout != bit_layout::bytes) {
    return simd::join_bits(lows, load_bits<Architecture>(block, bits), place, Architecture{},
                           Architecture{});
  }
  auto codes =
      simd::load_bit_fields(block + bits.at_byte, static_cast<int>(bits.shift),
                            static_cast<int>(bits.count), place, Architecture{}, Architecture{});
  NIBBLE_UNROLL
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = codes[i] ^ lows[i];
  return codes;
}

/// Codes 32 * Codes32 .. 32 * Codes32 + 32 of a block, as bytes. Architecture is a block_architecture.
template <class Architecture, BitCodec Codec, code_form Form, std::size_t Codes32>
[[nodiscard]] simd::block_bytes<Architecture> load_codes32(const std::byte* block) noexcept {
  using bytes = simd::vector<std::uint8_t, Architecture>;
  constexpr code_bits low = Codec::low_bits(Codes32);
  auto codes = load_bits<Architecture>(block, low);
  if constexpr (has_high_bits<Codec>) {
    codes = join_high_bits<Architecture>(codes, block, Codec::high_bits(Codes32), low.count);
  }
  if constexpr (has_code_values<Codec>) {
    codes = simd::look_up(Codec::code_values, codes, Architecture{}, Architecture{});
    if constexpr (Form == code_form::stored) {
      NIBBLE_UNROLL
      for (auto& each : codes) each = each ^ bytes(128);
    }
  } else if constexpr (Codec::code_zero != 0 && Form == code_form::counted) {
    NIBBLE_UNROLL
    for (auto& each : codes) each = each - bytes(static_cast<std::uint8_t>(Codec::code_zero));
  }
  return codes;
}

/// Unpacks all codes of a block, to a byte each.
template <class Architecture, BitCodec Codec, code_form Form>
void unpack_codes(const std::byte* block, std::byte* codes) noexcept {
  using tag = simd::block_architecture<Architecture>;
  static_assert(Codec::block_elements % simd::block_codes == 0);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (simd::store_block<tag>(load_codes32<tag, Codec, Form, I>(block), codes + I * simd::block_codes),
     ...);
  }
  (std::make_index_sequence<Codec::block_elements / simd::block_codes>{});
}

/// Where the bytes of a block's codes begin and end. The other bytes are its header.
struct code_range {
  std::size_t first;
  std::size_t last;
};
/// The bytes of a block's codes.
template <BitCodec Codec>
[[nodiscard]] constexpr code_range codes_of_block() noexcept {
  code_range range{sizeof(typename Codec::block), 0};
  const auto include = [&](const code_bits& bits) {
    const std::size_t bytes = bits.layout == bit_layout::bytes           ? simd::block_codes
                              : bits.layout == bit_layout::nibble_halves ? simd::block_codes / 2
                                                                         : simd::block_codes / 8;
    range.first = std::min(range.first, bits.at_byte);
    range.last = std::max(range.last, bits.at_byte + bytes);
  };
  for (std::size_t i = 0; i < Codec::block_elements / simd::block_codes; ++i) {
    include(Codec::low_bits(i));
    if constexpr (has_high_bits<Codec>) include(Codec::high_bits(i));
  }
  return range;
}

/// Floats that load_sub_block_scales writes for a block, at most.
inline constexpr std::size_t max_sub_blocks = std::tuple_size_v<sub_block_numbers>;

/// Copies Bytes bytes by as many of a register as fit: compilers copy other numbers of bytes by registers
/// that overlap, and who loads what was copied waits for both.
template <std::size_t Bytes>
NIBBLE_IN_PLACE inline void copy_by_registers(const std::byte* from, std::byte* to) noexcept {
  if constexpr (Bytes != 0) {
    constexpr std::size_t first = std::min<std::size_t>(16, std::bit_floor(Bytes));
    std::memcpy(to, from, first);
    copy_by_registers<Bytes - first>(from + first, to + first);
  }
}

/// A block without its codes, which are unspecified: copying a whole block costs as much as decoding it.
template <BitCodec Codec>
[[nodiscard]] NIBBLE_IN_PLACE inline typename Codec::block header_of_block(
    const std::byte* block) noexcept {
  constexpr code_range codes = codes_of_block<Codec>();
  typename Codec::block header;
  auto* const to = reinterpret_cast<std::byte*>(&header);
  copy_by_registers<codes.first>(block, to);
  copy_by_registers<sizeof(header) - codes.last>(block + codes.last, to + codes.last);
  return header;
}

/// The numbers of a block's sub-blocks that its unit is multiplied by.
template <class Architecture, BitCodec Codec>
[[nodiscard]] NIBBLE_IN_PLACE inline sub_block_numbers load_scale_numbers(
    const typename Codec::block& header) noexcept {
  if constexpr (requires { Codec::six_bit_numbers(header); }) {
    constexpr simd::block_architecture<Architecture> tag{};
    return simd::load_six_bit_numbers(Codec::six_bit_numbers(header).data(), tag, tag);
  } else {
    return Codec::scale_numbers(header);
  }
}

/// Writes scales and mins of a block's sub-blocks, by whole vectors: floats behind the last sub-block's
/// have no meaning. mins are left alone where the encoding has none.
template <class Architecture, BitCodec Codec>
NIBBLE_IN_PLACE inline void load_sub_block_scales(const std::byte* block, float* scales,
                                                  float* mins) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  const auto header = header_of_block<Codec>(block);
  if constexpr (sub_blocks<Codec> == 1) {
    scales[0] = Codec::scale(header);
    if constexpr (Codec::has_min) mins[0] = Codec::min(header);
  } else {
    const auto widen_numbers = [](float16 stored_unit, const sub_block_numbers& numbers,
                                  float* scaled) {
      const float unit = simd::widen_float16(stored_unit, Architecture{}, Architecture{});
      NIBBLE_UNROLL
      for (std::size_t i = 0; i < sub_blocks<Codec>; i += width) {
        const auto* const from = reinterpret_cast<const std::byte*>(numbers.data() + i);
        const auto wide = to_float(simd::load_signed_bytes(from, Architecture{}, Architecture{}));
        (floats(unit) * wide).store_unaligned(scaled + i);
      }
    };
    widen_numbers(Codec::stored_scale(header), load_scale_numbers<Architecture, Codec>(header), scales);
    if constexpr (Codec::has_min) {
      widen_numbers(Codec::stored_min(header), Codec::min_numbers(header), mins);
    }
  }
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
