#pragma once

// Which products an encoding has, and how products see its codes. No loops: everything here is known
// when compiling, but for what a tensor's columns or its one scale decide.

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/load_codes.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Whether each row of a weight starts at the start of a block, so that products can unpack its blocks.
template <Codec Codec>
[[nodiscard]] bool rows_are_blocks(const tensor_view& weight) noexcept {
  if constexpr (BlockCodec<Codec> && describe(Codec::encoding).blocks_run_along == block_run::tensor) {
    return weight.cols() % Codec::block_elements == 0;
  } else {
    return true;
  }
}

/// The order in which kernels unpack a block's codes.
template <Codec Codec>
[[nodiscard]] constexpr activation_order activation_order_of() noexcept {
  if constexpr (!PlainCodec<Codec> && !BitCodec<Codec> && !ScalarCodec<Codec>) {
    if (Codec::packing == code_packing::nibble_neighbors) return activation_order::even_then_odd;
  }
  return activation_order::natural;
}

/// Whether all 32 codes of a block, as products see one, have the same scale.
template <Codec Codec>
[[nodiscard]] constexpr bool has_block_scales() noexcept {
  if constexpr (BitCodec<Codec>) return sub_block_elements<Codec>() >= simd::block_codes;
  return !PlainCodec<Codec> && !ScalarCodec<Codec>;
}

/// Whether products with Value decode a row's blocks to f32 first.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr bool decodes_to_f32_first() noexcept {
  return BitCodec<Codec> && std::same_as<Value, float> && !has_block_scales<Codec>();
}

/// How the codes that products with Value see are packed. The codes of a BitCodec are unpacked first.
/// For products of bytes, which take unsigned codes, they become bytes as they are stored. Else they
/// become the signed numbers that they stand for, so that no offset is needed for code_zero.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr code_packing packing_of() noexcept {
  if constexpr (BitCodec<Codec>) {
    return std::same_as<Value, std::int8_t> ? code_packing::unsigned_bytes : code_packing::signed_bytes;
  } else {
    return Codec::packing;
  }
}

/// packing_of, as kernels load it: nibbles load alike however they are packed, and the order of the
/// activations makes the difference.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr code_packing load_packing_of() noexcept {
  constexpr code_packing packing = packing_of<Codec, Value>();
  return is_nibbles(packing) ? code_packing::nibble_halves : packing;
}

/// The largest code, less the lowest, that products of bytes see.
template <Codec Codec>
[[nodiscard]] constexpr int largest_byte_code() noexcept {
  if constexpr (!BitCodec<Codec>) {
    return is_nibbles(Codec::packing) ? 15 : 255;
  } else if constexpr (has_code_values<Codec>) {
    return 255;
  } else {
    std::uint32_t bits = Codec::low_bits(0).count;
    if constexpr (has_high_bits<Codec>) bits += Codec::high_bits(0).count;
    return (1 << bits) - 1;
  }
}

/// Whether there are panels of an encoding's codes for products with quantized activations. Products of
/// bytes take codes that are larger than the codec's by up to 128, and subtract what is too much at the
/// end. A scale near f32's largest number forbids that.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_code_panels() noexcept {
  if constexpr (PlainCodec<Codec> || ScalarCodec<Codec> || std::same_as<Value, float>) {
    return false;
  } else if constexpr (WideScaleCodec<Codec>) {
    return std::same_as<Value, std::int16_t>;
  } else {
    return std::same_as<Value, std::int16_t> || largest_byte_code<Codec>() <= 15 ||
           simd::multiplies_any_byte<simd::integer_architecture<Architecture>>;
  }
}

/// Whether scales, and mins, are numbers of a byte each times units that 256 codes share: one number for
/// every 32 codes or every 16.
template <Codec Codec>
[[nodiscard]] constexpr bool keeps_numbers() noexcept {
  if constexpr (BitCodec<Codec>) {
    return !has_code_values<Codec> && Codec::block_elements == simd::super_block_codes &&
           sub_blocks<Codec> >= 8 && requires(const typename Codec::block& of) {
      Codec::scale_numbers(of);
    };
  } else {
    return false;
  }
}

/// Whether panels of an encoding's codes are worth to be kept. With f32 for every 16 codes they take
/// twice the bytes that the weight takes; interleaved rows are stored as products take them.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_repacked_panels() noexcept {
  return (has_block_scales<Codec>() || keeps_numbers<Codec>()) && !InterleavedCodec<Codec> &&
         has_code_panels<Architecture, Codec, Value>();
}

/// Whether products with quantized activations unpack a block's codes in registers; else they read whole
/// codes, or those of a row that is unpacked first. A scale that is no float16 takes too long to make.
template <Codec Codec>
[[nodiscard]] constexpr bool unpacks_in_registers() noexcept {
  return BitCodec<Codec> && !WideScaleCodec<Codec>;
}

/// Whether there are products of an encoding's codes, as they are stored, with quantized activations.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_code_products() noexcept {
  if constexpr (unpacks_in_registers<Codec>() && !std::same_as<Value, float>) {
    return std::same_as<Value, std::int16_t> ||
           largest_byte_code<Codec>() <= simd::largest_block_code ||
           has_code_panels<Architecture, Codec, Value>();
  } else {
    return has_code_panels<Architecture, Codec, Value>();
  }
}

/// Whether a tensor's one f32 scale, where it has one, is small enough for products of bytes.
template <Codec Codec>
[[nodiscard]] bool scale_allows_int8(const tensor_view& weight) noexcept {
  if constexpr (TensorScaleCodec<Codec>) {
    typename Codec::header header{};
    if (weight.elements() != 0) std::memcpy(&header, weight.data(), sizeof(header));
    return std::fabs(header.scale) < 0x1p64F;
  } else {
    return true;
  }
}

/// What a mode quantizes the activations to, for a codec that has products of bytes and of words or has
/// not: int8_codes, int16_codes or, where they stay f32, f32_blocks.
template <Codec Codec>
[[nodiscard]] activation_format format_for(const tensor_view& weight, matmul_mode mode, bool has_bytes,
                                           bool has_words) noexcept {
  if (mode == matmul_mode::int8 && has_bytes && scale_allows_int8<Codec>(weight)) {
    return activation_format::int8_codes;
  }
  return mode != matmul_mode::exact && has_words ? activation_format::int16_codes
                                                 : activation_format::f32_blocks;
}

/// format_for products of codes as they are stored, of a weight whose rows_are_blocks.
template <class Architecture, Codec Codec>
[[nodiscard]] activation_format activation_format_for(const tensor_view& weight,
                                                      matmul_mode mode) noexcept {
  return format_for<Codec>(weight, mode, has_code_products<Architecture, Codec, std::int8_t>(),
                           has_code_products<Architecture, Codec, std::int16_t>());
}

/// format_for panels of codes. f32_blocks: there are none.
template <class Architecture, Codec Codec>
[[nodiscard]] activation_format panel_format_for(const tensor_view& weight, matmul_mode mode) noexcept {
  return format_for<Codec>(weight, mode, has_code_panels<Architecture, Codec, std::int8_t>(),
                           has_code_panels<Architecture, Codec, std::int16_t>());
}

/// Whether f32 activations are multiplied with values rather than with codes. Scaling a block's 32
/// codes costs less than scaling the sums of as many rows, and takes no registers for sums of a block.
[[nodiscard]] constexpr bool multiplies_values(std::size_t rows) noexcept { return rows >= 4; }

/// What load_codes adds to a codec's codes.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr float code_bias() noexcept {
  if constexpr (!PlainCodec<Codec> && std::same_as<Value, std::int8_t>) {
    if constexpr (BitCodec<Codec>) {
      return has_code_values<Codec> ? 128.0F : static_cast<float>(Codec::code_zero);
    } else if (Codec::packing == code_packing::signed_bytes) {
      return 128.0F;
    }
  }
  return 0.0F;
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
