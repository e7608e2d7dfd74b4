#pragma once

// One row of a weight of a BitCodec, unpacked a pass at a time. Loop nest of load_scales:
//
//   for each stored block of the pass
//     unpack its codes to bytes, or decode its values to f32, into memory
//     write the scales and offsets of its sub-blocks, spread over the blocks of 32 that products see
//
// What is unpacked, at most 8 KiB with the activations of the pass beside it, stays in the first-level
// cache until it is multiplied.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// One row of a weight of a BitCodec, with the interface of stored_row: 32 codes a block, unpacked into
/// memory, at most MaxBlocks at a time. Where products decode first, a block is 32 floats.
template <BitCodec Codec, Activation Value, std::size_t MaxBlocks>
class unpacked_row {
 public:
  static constexpr bool is_decoded = decodes_to_f32_first<Codec, Value>();
  static constexpr std::size_t stride_bytes =
      is_decoded ? simd::block_codes * sizeof(float) : simd::block_codes;
  /// Bytes of the memory that a row works in.
  static constexpr std::size_t memory_bytes = MaxBlocks * stride_bytes;

  /// Scales, and offsets, of a block of 32: 2 where its halves have their own.
  static constexpr std::size_t scales_a_block = has_block_scales<Codec>() ? 1 : 2;

  /// `memory`, aligned to 4 bytes, stays the caller's. No other row may use it as long as this one is
  /// used.
  unpacked_row(const tensor_view& weight, std::uint64_t row, std::byte* memory) noexcept
      : start_(position_of_row(weight, row).start), unpacked_(memory) {}

  /// The codes of a block, one of those that were last loaded.
  [[nodiscard]] const std::byte* codes_of(std::size_t block) const noexcept {
    return unpacked_ + (block - first_) * stride_bytes;
  }
  /// All of these blocks: they are unpacked one behind the other.
  [[nodiscard]] static std::size_t contiguous_blocks(const block_range& blocks) noexcept {
    return blocks.count;
  }

  /// Unpacks these blocks, at most MaxBlocks, the first of which starts a stored block. Writes their
  /// scales and offsets as stored_row does, scales_a_block of each.
  template <class Architecture>
  void load_scales(const tensor_view& weight, const block_range& blocks, float code_bias,
                   block_scales& to) noexcept {
    first_ = blocks.first;
    const std::byte* stored = start_ + first_ / blocks_per_stored_block * sizeof(typename Codec::block);
    std::byte* unpacked = unpacked_;
    for (std::size_t b = 0; b < blocks.count; b += blocks_per_stored_block) {
      if constexpr (is_decoded) {
        decode_block<Architecture, Codec>(stored, reinterpret_cast<float*>(unpacked));
      } else {
        constexpr code_form form = packing_of<Codec, Value>() == code_packing::unsigned_bytes
                                       ? code_form::stored
                                       : code_form::counted;
        unpack_codes<Architecture, Codec, form>(stored, unpacked);
        load_stored_block_scales<Architecture>(stored, code_bias, to.scales.data() + b * scales_a_block,
                                               to.offsets.data() + b * scales_a_block);
      }
      stored += sizeof(typename Codec::block);
      unpacked += blocks_per_stored_block * stride_bytes;
    }
    // Codes behind the row's end are no values. An infinite one would spoil the row's sum.
    const std::size_t elements = static_cast<std::size_t>(weight.cols()) - first_ * simd::block_codes;
    if (elements < blocks.count * simd::block_codes) {
      std::fill(unpacked_ + elements * (stride_bytes / simd::block_codes),
                unpacked_ + blocks.count * stride_bytes, std::byte{0});
    }
    if constexpr (!is_decoded) {
      for (std::size_t b = blocks.count * scales_a_block; b < pad_blocks(blocks.count) * scales_a_block;
           ++b) {
        to.scales[b] = 0.0F;
        to.offsets[b] = 0.0F;
      }
    }
  }

  /// Whether values are more than scale * code, for the codes that products see.
  [[nodiscard]] static constexpr bool has_offsets(float code_bias) noexcept {
    return !is_decoded && (Codec::has_min || code_bias != 0.0F);
  }

 private:
  /// Blocks of 32 that a stored block holds.
  static constexpr std::size_t blocks_per_stored_block = Codec::block_elements / simd::block_codes;
  static_assert(MaxBlocks % blocks_per_stored_block == 0 &&
                padding_blocks % blocks_per_stored_block == 0);

  template <class Architecture>
  static void load_stored_block_scales(const std::byte* stored, float code_bias, float* scales,
                                       float* offsets) noexcept {
    std::array<float, max_sub_blocks> sub_block_scales;
    std::array<float, max_sub_blocks> mins;
    load_sub_block_scales<Architecture, Codec>(stored, sub_block_scales.data(), mins.data());
    for (std::size_t i = 0; i < blocks_per_stored_block * scales_a_block; ++i) {
      scales[i] = sub_block_scales[i];
      // A scale may be infinite. Without a bias there is no product with it, which would be NaN.
      float offset = 0.0F;
      if constexpr (Codec::has_min) offset = mins[i];
      offsets[i] = code_bias == 0.0F ? offset : offset - code_bias * sub_block_scales[i];
    }
  }

  const std::byte* start_;
  std::size_t first_ = 0;
  std::byte* unpacked_;
};

/// The row that products with Value see of any weight.
template <Codec Codec, Activation Value, std::size_t MaxBlocks>
struct weight_row_for {
  using type = stored_row<Codec>;
};
template <BitCodec Codec, Activation Value, std::size_t MaxBlocks>
struct weight_row_for<Codec, Value, MaxBlocks> {
  using type = unpacked_row<Codec, Value, MaxBlocks>;
};
template <Codec Codec, Activation Value, std::size_t MaxBlocks>
using weight_row = typename weight_row_for<Codec, Value, MaxBlocks>::type;

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
