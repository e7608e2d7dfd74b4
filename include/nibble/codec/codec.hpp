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
