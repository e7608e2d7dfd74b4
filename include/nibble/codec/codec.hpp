#pragma once

#include <concepts>
#include <cstddef>

#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// A codec: the type that says how values are coded in one encoding.
template <class T>
concept Codec = requires {
  { T::encoding } -> std::convertible_to<nibble::encoding>;
};

/// One stored number an element.
template <class T>
concept PlainCodec = Codec<T> && requires {
  typename T::stored_type;
};

/// Blocks that each hold their own scale.
template <class T>
concept BlockCodec = Codec<T> && requires {
  typename T::block;
  { T::block_elements } -> std::convertible_to<std::size_t>;
};

/// Blocks whose codes are put together from bits in several places, as low_bits and high_bits say, and
/// count from code_zero, or look up code_values where there are any. A block has one scale and min, or
/// is a super-block: sub-blocks of sub_block_elements each, whose scales and mins are small numbers
/// times a unit that all of them share.
template <class T>
concept BitCodec = BlockCodec<T> && requires {
  T::low_bits(std::size_t{});
};

/// Blocks whose scale counts as 0 unless it is a normal number of float16.
template <class T>
concept NormalScaleCodec = BlockCodec<T> && requires {
  requires T::scale_counts_if_normal;
};

/// Blocks whose scale may be so large that a few of it are infinite.
template <class T>
concept WideScaleCodec = BlockCodec<T> && requires {
  requires T::scale_is_wide;
};

/// Blocks that f32 values can be packed into; others are kept and read as other programs packed them.
template <class T>
concept PackableCodec = BlockCodec<T> && requires {
  &T::pack;
};

/// One scale before all codes of the tensor.
template <class T>
concept TensorScaleCodec = Codec<T> && requires {
  typename T::header;
};

/// codec_of<E>::type is the codec of an encoding; each codec's own file says so.
template <nibble::encoding Encoding>
struct codec_of {};

/// Whether an encoding has a codec. One without is listed and kept, and cannot be decoded.
template <nibble::encoding Encoding>
inline constexpr bool has_codec = requires {
  typename codec_of<Encoding>::type;
};

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
