#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/codec/code_bits.hpp>
#include <nibble/codec/codec.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// Blocks whose codes lie in several places, made plain: a byte for each code, a float for each scale
// and min. All other kernels see them so.

/// What a byte for a code holds.
enum class code_form : std::uint8_t {
  stored,   ///< the code as it is stored; with code_values, its value + 128
  counted,  ///< the signed number that it stands for: code - code_zero, or its value
};

template <BitCodec Codec>
inline constexpr bool has_code_values = requires {
  Codec::code_values;
};
template <BitCodec Codec>
inline constexpr bool has_high_bits = requires {
  Codec::high_bits(std::size_t{});
};

/// Elements under one scale.
template <BitCodec Codec>
[[nodiscard]] constexpr std::size_t sub_block_elements() noexcept {
  if constexpr (requires { Codec::sub_block_elements; }) {
    return Codec::sub_block_elements;
  } else {
    return Codec::block_elements;
  }
}
template <BitCodec Codec>
inline constexpr std::size_t block_parts = Codec::block_elements / sub_block_elements<Codec>();

/// Some bits of each of 32 codes.
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
  return simd::load_bit_fields(from, static_cast<int>(bits.shift), static_cast<int>(bits.count),
                               Architecture{}, Architecture{});
}

/// 32 codes of a block, the group-th ones, a byte each. Architecture is a block_architecture.
template <class Architecture, BitCodec Codec, code_form Form, std::size_t Group>
[[nodiscard]] simd::block_bytes<Architecture> load_group(const std::byte* block) noexcept {
  using part = simd::vector<std::uint8_t, Architecture>;
  constexpr code_bits low = Codec::low_bits(Group);
  auto codes = load_bits<Architecture>(block, low);
  if constexpr (has_high_bits<Codec>) {
    codes = simd::join_bits(codes, load_bits<Architecture>(block, Codec::high_bits(Group)),
                            static_cast<int>(low.count), Architecture{}, Architecture{});
  }
  if constexpr (has_code_values<Codec>) {
    codes = simd::look_up(Codec::code_values, codes, Architecture{}, Architecture{});
    if constexpr (Form == code_form::stored) {
      NIBBLE_UNROLL
      for (auto& each : codes) each = each ^ part(128);
    }
  } else if constexpr (Codec::code_zero != 0 && Form == code_form::counted) {
    NIBBLE_UNROLL
    for (auto& each : codes) each = each - part(static_cast<std::uint8_t>(Codec::code_zero));
  }
  return codes;
}

/// All codes of a block, a byte each.
template <class Architecture, BitCodec Codec, code_form Form>
void take_codes_apart(const std::byte* block, std::byte* codes) noexcept {
  using tag = simd::block_architecture<Architecture>;
  static_assert(Codec::block_elements % simd::block_codes == 0);
  [&]<std::size_t... Group>(std::index_sequence<Group...>) {
    (simd::store_block<tag>(load_group<tag, Codec, Form, Group>(block),
                            codes + Group * simd::block_codes),
     ...);
  }
  (std::make_index_sequence<Codec::block_elements / simd::block_codes>{});
}

/// Where the bytes of a block's codes begin and end; the others are its header.
struct code_range {
  std::size_t first;
  std::size_t last;
};
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
  for (std::size_t group = 0; group < Codec::block_elements / simd::block_codes; ++group) {
    include(Codec::low_bits(group));
    if constexpr (has_high_bits<Codec>) include(Codec::high_bits(group));
  }
  return range;
}

/// Scales and mins of a block's parts, whole vectors of them: behind the parts' own there may be
/// others, without meaning.
template <class Architecture, BitCodec Codec>
void load_scales_of_parts(const std::byte* block, float* scales, float* mins) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr code_range codes = codes_of_block<Codec>();
  // The header alone: copying all of a block costs as much as decoding it.
  typename Codec::block head;
  auto* const to = reinterpret_cast<std::byte*>(&head);
  std::memcpy(to, block, codes.first);
  std::memcpy(to + codes.last, block + codes.last, sizeof(head) - codes.last);
  if constexpr (block_parts<Codec> == 1) {
    scales[0] = Codec::scale(head);
    if constexpr (Codec::has_min) mins[0] = Codec::min(head);
  } else {
    const auto widen_numbers = [](float unit, const sub_block_numbers& numbers, float* into) {
      for (std::size_t i = 0; i < block_parts<Codec>; i += width) {
        const auto* const from = reinterpret_cast<const std::byte*>(numbers.data() + i);
        const auto wide = to_float(simd::load_signed_bytes(from, Architecture{}, Architecture{}));
        (floats(unit) * wide).store_unaligned(into + i);
      }
    };
    widen_numbers(Codec::scale_unit(head), Codec::scale_numbers(head), scales);
    if constexpr (Codec::has_min) {
      widen_numbers(Codec::min_unit(head), Codec::min_numbers(head), mins);
    }
  }
}

/// Floats that load_scales_of_parts writes for a block, at most.
inline constexpr std::size_t most_block_parts = std::tuple_size_v<sub_block_numbers>;

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
