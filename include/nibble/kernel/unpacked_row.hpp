#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/kernel/decode.hpp>
#include <nibble/kernel/stored_row.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// One row of a weight whose codes lie in several places, seen as stored_row shows others: 32 codes a
/// block, taken apart into memory that stays in the first-level cache, MostBlocks at a time.
/// Where products decode_before, its blocks are 32 floats.
template <BitCodec Codec, Activation Value, std::size_t MostBlocks>
class unpacked_row {
 public:
  static constexpr bool is_decoded = decodes_to_f32_first<Codec, Value>();
  static constexpr std::size_t stride_bytes =
      is_decoded ? simd::block_codes * sizeof(float) : simd::block_codes;

  static constexpr std::size_t memory_bytes = MostBlocks * stride_bytes;

  static_assert(is_decoded || has_block_scales<Codec>());

  /// `memory`, aligned to 4 bytes, stays the caller's, and is not another row's as long as this one is
  /// used.
  unpacked_row(const tensor_view& weight, std::uint64_t row, std::byte* memory) noexcept
      : start_(position_of_row(describe(Codec::encoding), weight, row).run), taken_apart_(memory) {}

  /// Where `block` of those that were last loaded lies.
  [[nodiscard]] const std::byte* codes_of(std::size_t block) const noexcept {
    return taken_apart_ + (block - first_) * stride_bytes;
  }
  [[nodiscard]] static std::size_t whole_blocks(std::size_t, std::size_t count) noexcept {
    return count;
  }

  /// Takes `count` blocks from `first` on apart, at most MostBlocks and from a stored block's start on,
  /// and loads their scales and offsets as stored_row does.
  template <class Architecture>
  void load_scales(const tensor_view& weight, std::size_t first, std::size_t count, float shift,
                   block_scales& to) noexcept {
    first_ = first;
    const std::byte* block = start_ + first / groups * sizeof(typename Codec::block);
    std::byte* into = taken_apart_;
    for (std::size_t at = 0; at < count; at += groups) {
      if constexpr (is_decoded) {
        decode_block<Architecture, Codec>(block, reinterpret_cast<float*>(into));
      } else {
        constexpr code_form form = packing_of<Codec, Value>() == code_packing::unsigned_bytes
                                       ? code_form::stored
                                       : code_form::counted;
        unpack_codes<Architecture, Codec, form>(block, into);
        std::array<float, max_sub_blocks> scales;
        std::array<float, max_sub_blocks> mins;
        load_sub_block_scales<Architecture, Codec>(block, scales.data(), mins.data());
        for (std::size_t i = 0; i < groups; ++i) {
          to.scales[at + i] = scales[i];
          // Without a shift, no product with it: a scale may be infinite.
          float offset = 0.0F;
          if constexpr (Codec::has_min) offset = mins[i];
          to.offsets[at + i] = shift == 0.0F ? offset : offset - shift * scales[i];
        }
      }
      block += sizeof(typename Codec::block);
      into += groups * stride_bytes;
    }
    // Codes behind the row's end are no values: were one infinite, it would spoil the row.
    const std::size_t elements = static_cast<std::size_t>(weight.cols()) - first * simd::block_codes;
    if (elements < count * simd::block_codes) {
      std::fill(taken_apart_ + elements * (stride_bytes / simd::block_codes),
                taken_apart_ + count * stride_bytes, std::byte{0});
    }
    if constexpr (!is_decoded) {
      const std::size_t padded = (count + padding_blocks - 1) / padding_blocks * padding_blocks;
      for (std::size_t b = count; b < padded; ++b) {
        to.scales[b] = 0.0F;
        to.offsets[b] = 0.0F;
      }
    }
  }

  [[nodiscard]] static constexpr bool has_offsets(float shift) noexcept {
    return !is_decoded && (Codec::has_min || shift != 0.0F);
  }

 private:
  static constexpr std::size_t groups = Codec::block_elements / simd::block_codes;
  static_assert(MostBlocks % groups == 0 && padding_blocks % groups == 0);

  const std::byte* start_;
  std::size_t first_ = 0;
  std::byte* taken_apart_;
};

/// A row of any weight as products with Value see it.
template <Codec Codec, Activation Value, std::size_t MostBlocks>
struct row_view {
  using type = stored_row<Codec>;
};
template <BitCodec Codec, Activation Value, std::size_t MostBlocks>
struct row_view<Codec, Value, MostBlocks> {
  using type = unpacked_row<Codec, Value, MostBlocks>;
};

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
