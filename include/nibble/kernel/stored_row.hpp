#pragma once

// One row of a weight, whose blocks products read where they are stored. Loop nest of load_scales: one
// vector of blocks at a time, their headers are gathered, widened and written, up to a multiple of 16
// blocks. Scales and offsets of a pass are 1.1 KiB and stay in the first-level cache. Codes are not
// touched here.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/block_headers.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/product_traits.hpp>
#include <nibble/kernel/weight_slice.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// The blocks of a row that one pass takes, at most: the room that block_scales has.
inline constexpr std::size_t pass_capacity_blocks = 128;

/// Scales and offsets of the blocks of one pass: value = scale * code + offset. Made once a task and
/// filled pass by pass. A vector may be read from any block on.
struct block_scales {
  std::array<float, pass_capacity_blocks + padding_blocks> scales{};
  std::array<float, pass_capacity_blocks + padding_blocks> offsets{};
};

/// Where the 32 codes of a block, or its 32 floats, are: codes_at bytes behind the block's start,
/// codes_bytes long, and stride_bytes before the next block's.
template <Codec Codec>
struct block_layout;
template <BlockCodec Codec>
struct block_layout<Codec> {
  static_assert(!BitCodec<Codec> && Codec::block_elements == simd::block_codes);
  static constexpr std::size_t codes_at = offsetof(typename Codec::block, codes);
  static constexpr std::size_t codes_bytes = sizeof(typename Codec::block) - codes_at;
  static constexpr std::size_t stride_bytes = sizeof(typename Codec::block);
};
template <TensorScaleCodec Codec>
struct block_layout<Codec> {
  static constexpr std::size_t codes_at = 0;
  static constexpr std::size_t codes_bytes = simd::block_codes;
  static constexpr std::size_t stride_bytes = simd::block_codes;
};
template <PlainCodec Codec>
struct block_layout<Codec> {
  static constexpr std::size_t codes_at = 0;
  static constexpr std::size_t codes_bytes = simd::block_codes * sizeof(typename Codec::stored_type);
  static constexpr std::size_t stride_bytes = codes_bytes;
};

/// One row of a weight, seen as blocks of 32 codes or 32 floats.
template <Codec Codec>
class stored_row {
 public:
  using layout = block_layout<Codec>;
  static constexpr std::size_t stride_bytes = layout::stride_bytes;
  static constexpr std::size_t scales_a_block = 1;
  /// Bytes of the memory that a row works in.
  static constexpr std::size_t memory_bytes = BlockCodec<Codec> ? 0 : layout::codes_bytes;

  /// `memory` stays the caller's. No other row may use it as long as this one is used.
  stored_row(const tensor_view& weight, std::uint64_t row, std::byte* memory) noexcept
      : partial_block_(memory) {
    const row_position position = position_of_row(weight, row);
    const std::uint64_t first_element = position.first_element;
    first_block_ = position.start;
    if constexpr (TensorScaleCodec<Codec>) {
      first_block_ += sizeof(typename Codec::header) + first_element;
    } else if constexpr (PlainCodec<Codec>) {
      first_block_ += first_element * sizeof(typename Codec::stored_type);
    } else {
      first_block_ += first_element / simd::block_codes * layout::stride_bytes;
    }
    if constexpr (!BlockCodec<Codec>) {
      // The last block may be partial. It is copied, so that whole blocks can be read.
      const auto cols = static_cast<std::size_t>(weight.cols());
      whole_blocks_ = cols / simd::block_codes;
      const std::size_t rest = cols % simd::block_codes;
      if (rest != 0) {
        const std::size_t rest_bytes = rest * (layout::codes_bytes / simd::block_codes);
        std::memcpy(partial_block_, first_block_ + whole_blocks_ * layout::stride_bytes, rest_bytes);
        std::fill(partial_block_ + rest_bytes, partial_block_ + memory_bytes, std::byte{0});
      }
    }
  }

  /// The codes of a block.
  [[nodiscard]] const std::byte* codes_of(std::size_t block) const noexcept {
    if constexpr (!BlockCodec<Codec>) {
      if (block == whole_blocks_) return partial_block_;
    }
    return first_block_ + block * layout::stride_bytes + layout::codes_at;
  }

  /// Of these blocks, how many from the first on are stored one behind the other. Encodings whose
  /// blocks are stored whole have no other blocks.
  [[nodiscard]] std::size_t contiguous_blocks(const block_range& blocks) const noexcept {
    if constexpr (BlockCodec<Codec>) {
      return blocks.count;
    } else {
      return std::min(blocks.count, whole_blocks_ - std::min(whole_blocks_, blocks.first));
    }
  }

  /// Writes scales and offsets of these blocks, and zeros up to the next multiple of padding_blocks.
  /// The codes that products see are larger than the codec's by code_bias.
  template <class Architecture>
  void load_scales(const tensor_view& weight, const block_range& blocks, float code_bias,
                   block_scales& to) const noexcept {
    constexpr std::size_t width = simd::lanes<Architecture>;
    const std::size_t count = blocks.count;
    const std::size_t padded = pad_blocks(count);
    float* const scales = to.scales.data();
    float* const offsets = to.offsets.data();
    if constexpr (TensorScaleCodec<Codec>) {
      typename Codec::header header;
      std::memcpy(&header, weight.data(), sizeof(header));
      for (std::size_t b = 0; b < padded; ++b) {
        scales[b] = b < count ? header.scale : 0.0F;
        // A scale may be infinite. Without a bias there is no product with it, which would be NaN.
        offsets[b] = code_bias == 0.0F ? 0.0F : -code_bias * scales[b];
      }
    } else if constexpr (BlockCodec<Codec>) {
      const std::byte* block = first_block_ + blocks.first * layout::stride_bytes;
      const std::size_t stored =
          static_cast<std::size_t>(divide_round_up(weight.cols(), Codec::block_elements)) -
          blocks.first;
      for (std::size_t b = 0; b < padded; b += width) {
        const auto headers = b + width <= stored
                                 ? load_headers<Architecture, layout::stride_bytes>(block)
                                 : load_partial_headers<Architecture, layout::stride_bytes>(
                                       block, stored - std::min(b, stored));
        store_scales_from_headers<Architecture, Codec>(headers, code_bias, scales + b, offsets + b);
        block += width * layout::stride_bytes;
      }
      std::fill(scales + count, scales + padded, 0.0F);
      std::fill(offsets + count, offsets + padded, 0.0F);
    }
  }

  /// Whether values are more than scale * code, for the codes that products see.
  [[nodiscard]] static constexpr bool has_offsets(float code_bias) noexcept {
    if constexpr (BlockCodec<Codec>) {
      if (Codec::code_zero != 0 || Codec::has_min) return true;
    }
    return code_bias != 0.0F;
  }

 private:
  const std::byte* first_block_;
  std::size_t whole_blocks_ = 0;
  std::byte* partial_block_;
};

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
