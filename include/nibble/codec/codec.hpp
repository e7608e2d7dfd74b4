#pragma once

#include <concepts>
#include <cstddef>
#include <span>

#include <nibble/codec/pack_status.hpp>
#include <nibble/core/architecture.hpp>
#include <nibble/core/encoding.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {

/// A codec: the type that says how values are coded in one encoding. Its members, where they apply:
///
///   encoding                     which one
///   block, block_elements        a block as it is stored, and how many elements it holds
///   sub_block_elements           of a super-block: elements that share a scale
///   packing                      how codes of whole or half bytes lie in a block
///   low_bits(i), high_bits(i)    where the bits of the i-th 32 codes lie (BitCodec)
///   code_zero                    the code from which values count
///   code_values                  what codes stand for, where that is not the code itself
///   largest_code                 codes are 0 .. largest_code
///   largest_number               numbers of scales and of mins are 0 .. largest_number
///   has_min                      blocks have a min beside the scale
///   scale(block), min(block)     as f32; stored_scale and stored_min are the float16 in the block
///   scale_unit, scale_numbers    of a super-block: a sub-block's scale is the unit times its number;
///                                min_unit and min_numbers are the same for mins. The units are
///                                stored_scale and stored_min as f32
///   scale_counts_if_normal       see NormalScaleCodec
///   scale_is_wide                see WideScaleCodec
///   unpack(block, values)        decodes a block
///   pack(values, block)          packs one (PackableCodec): a template over the block's type, so that a
///                                unit compiles the search for scales where it packs
///   scale_type                   what a stored scale is, for messages, where that is not a float16
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

/// Blocks that are decoded by the codec's unpack alone, on every instruction set, for it does not say
/// where codes lie. Products take their values.
template <class T>
concept ScalarCodec = BlockCodec<T> && !BitCodec<T> && !requires {
  T::packing;
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
concept PackableCodec = BlockCodec<T> &&(
    requires(std::span<const float> values, typename T::block& to) { T::pack(values, to); } ||
    requires(std::span<const float> values, typename T::block& to) {
      T::pack(values, to, packing_rule::best);
    });

/// Blocks of row_codec's blocks of several rows side by side, for rows to be multiplied a lane a row. The
/// values are those of row_codec, bit for bit. Its members, beside those that codes have:
///
///   row_codec                    the codec of one row's blocks
///   block, block_rows            a block as it is stored, and how many rows it holds
///   load_row(block, row)         the block of row_codec that a row has
///   store_row(block, row, from)  the other way round
template <class T>
concept InterleavedCodec = Codec<T> && requires {
  typename T::row_codec;
  { T::block_rows } -> std::convertible_to<std::size_t>;
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
