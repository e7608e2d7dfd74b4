#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dequantize.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/activations.hpp>
#include <nibble/kernel/code_groups.hpp>
#include <nibble/kernel/matmul_mode.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

// How products see a weight: rows of blocks of 32 codes, or of 32 numbers, each block with a scale and
// an offset. A value is scale * code + offset.

/// The blocks of a row that one pass takes, at most.
inline constexpr std::size_t max_pass_blocks = 128;

/// The bytes of one block's codes or numbers, and where the first lie in what is stored for a block.
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

/// Whether a weight's rows start at blocks' starts, so that products can take its blocks apart.
template <Codec Codec>
[[nodiscard]] bool rows_are_blocks(const tensor_view& weight) noexcept {
  if constexpr (BlockCodec<Codec> && describe(Codec::encoding).blocks_run_along == block_run::tensor) {
    return weight.cols() % Codec::block_elements == 0;
  } else {
    return true;
  }
}

/// The order in which a block's codes come apart.
template <Codec Codec>
[[nodiscard]] constexpr activation_order order_of() noexcept {
  if constexpr (!PlainCodec<Codec> && !BitCodec<Codec>) {
    if (Codec::packing == code_packing::nibble_neighbors) return activation_order::even_then_odd;
  }
  return activation_order::natural;
}

/// Whether a block's codes come two to a byte, and so are 0..15.
[[nodiscard]] constexpr bool is_nibbles(code_packing packing) noexcept {
  return packing == code_packing::nibble_halves || packing == code_packing::nibble_neighbors;
}

/// Whether all 32 codes of a block, as products see one, have the same scale.
template <Codec Codec>
[[nodiscard]] constexpr bool has_block_scales() noexcept {
  if constexpr (BitCodec<Codec>) return sub_block_elements<Codec>() >= simd::block_codes;
  return !PlainCodec<Codec>;
}

/// Whether products with Value are taken from a row that was decoded before.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr bool decodes_before() noexcept {
  return BitCodec<Codec> && std::same_as<Value, float> && !has_block_scales<Codec>();
}

/// How the codes that products with Value see lie. Those in several places are taken apart before: to
/// bytes as they are stored for products of bytes, which are of unsigned codes, else to the signed
/// numbers that they stand for, so that no offset is needed for the zero that they count from.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr code_packing packing_of() noexcept {
  if constexpr (BitCodec<Codec>) {
    return std::same_as<Value, std::int8_t> ? code_packing::unsigned_bytes : code_packing::signed_bytes;
  } else {
    return Codec::packing;
  }
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

/// Whether products of an encoding's codes with coded activations are there. Those of bytes take codes
/// for larger by up to 128 than they are, and take that off again, which scales near f32's end forbid.
template <class Architecture, Codec Codec, Activation Value>
[[nodiscard]] constexpr bool has_code_products() noexcept {
  if constexpr (!has_block_scales<Codec>() || std::same_as<Value, float>) {
    return false;
  } else if constexpr (WideScaleCodec<Codec>) {
    return std::same_as<Value, std::int16_t>;
  } else {
    return std::same_as<Value, std::int16_t> || largest_byte_code<Codec>() <= 15 ||
           simd::multiplies_any_byte<simd::integer_architecture<Architecture>>;
  }
}

/// Whether a weight's scale, where it is an f32, is one for products of bytes.
template <Codec Codec>
[[nodiscard]] bool takes_bytes(const tensor_view& weight) noexcept {
  if constexpr (TensorScaleCodec<Codec>) {
    typename Codec::header header{};
    if (!weight.bytes().empty()) std::memcpy(&header, weight.bytes().data(), sizeof(header));
    return std::fabs(header.scale) < 0x1p64F;
  } else {
    return true;
  }
}

/// As what a mode codes the activations, for a weight whose rows_are_blocks; none where as f32.
template <class Architecture, Codec Codec>
[[nodiscard]] preparation coded_as(const tensor_view& weight, matmul_mode mode) noexcept {
  if constexpr (has_code_products<Architecture, Codec, std::int8_t>()) {
    if (mode == matmul_mode::int8 && takes_bytes<Codec>(weight)) return preparation::bytes;
  }
  if constexpr (has_code_products<Architecture, Codec, std::int16_t>()) {
    if (mode != matmul_mode::exact) return preparation::words;
  }
  return preparation::none;
}

/// What the codes of some blocks stand for. Made once a task and filled pass by pass; vectors may be
/// read from any block on.
struct block_scales {
  std::array<float, max_pass_blocks + padding_blocks> scales{};
  std::array<float, max_pass_blocks + padding_blocks> offsets{};
};

/// The first four bytes of each of `count` blocks, fewer than lanes, and zeros in lanes left over.
template <class Architecture, std::size_t StrideBytes>
[[nodiscard]] simd::vector<std::int32_t, Architecture> load_last_heads(const std::byte* first,
                                                                       std::size_t count) noexcept {
  std::array<std::int32_t, simd::lanes<Architecture>> heads{};
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(&heads[i], first + i * StrideBytes, sizeof(heads[i]));
  }
  return simd::vector<std::int32_t, Architecture>::load_unaligned(heads.data());
}

/// Scales and offsets of blocks whose first four bytes these are, where codes are larger than the
/// codec's by `shift`.
template <class Architecture, BlockCodec Codec>
void store_scales_of_heads(const simd::vector<std::int32_t, Architecture>& heads, float shift,
                           float* scales, float* offsets) noexcept {
  using floats = simd::vector<float, Architecture>;
  const auto both = scales_of_heads<Architecture, Codec>(heads);
  both.first.store_unaligned(scales);
  floats offset(0.0F);
  if constexpr (Codec::has_min) offset = both.second;
  shift += static_cast<float>(Codec::code_zero);
  if (shift != 0.0F) offset = fma(both.first, floats(-shift), offset);
  offset.store_unaligned(offsets);
}

/// One row of a weight, seen as blocks.
template <Codec Codec>
class row_blocks {
 public:
  using layout = block_layout<Codec>;
  static constexpr std::size_t stride_bytes = layout::stride_bytes;
  /// Of the memory that a row works in.
  static constexpr std::size_t memory_bytes = BlockCodec<Codec> ? 0 : layout::codes_bytes;

  /// `memory` stays the caller's, and is not another row's as long as this one is used.
  row_blocks(const tensor_view& weight, std::uint64_t row, std::byte* memory) noexcept : tail_(memory) {
    const auto [run, first] = position_of_row(describe(Codec::encoding), weight, row);
    const std::byte* start = run;
    if constexpr (TensorScaleCodec<Codec>) {
      start += sizeof(typename Codec::header) + first;
    } else if constexpr (PlainCodec<Codec>) {
      start += first * sizeof(typename Codec::stored_type);
    } else {
      start += first / simd::block_codes * layout::stride_bytes;
    }
    first_block_ = start;
    if constexpr (!BlockCodec<Codec>) {
      // The last, partial block is copied, so that whole blocks can be read.
      const auto cols = static_cast<std::size_t>(weight.cols());
      whole_blocks_ = cols / simd::block_codes;
      const std::size_t rest = cols % simd::block_codes;
      if (rest != 0) {
        const std::size_t rest_bytes = rest * (layout::codes_bytes / simd::block_codes);
        std::memcpy(tail_, start + whole_blocks_ * layout::stride_bytes, rest_bytes);
        std::fill(tail_ + rest_bytes, tail_ + memory_bytes, std::byte{0});
      }
    }
  }

  [[nodiscard]] const std::byte* codes_of(std::size_t block) const noexcept {
    if constexpr (!BlockCodec<Codec>) {
      if (block == whole_blocks_) return tail_;
    }
    return first_block_ + block * layout::stride_bytes + layout::codes_at;
  }

  /// Of `count` blocks from `first` on, those that lie one behind the other in the file.
  [[nodiscard]] std::size_t whole_blocks(std::size_t first, std::size_t count) const noexcept {
    if constexpr (BlockCodec<Codec>) {
      return count;
    } else {
      return std::min(count, whole_blocks_ - std::min(whole_blocks_, first));
    }
  }

  /// Scales and offsets of `count` blocks, zeros up to the next multiple of padding_blocks. The codes
  /// that products see are larger than the codec's by `shift`.
  template <class Architecture>
  void load_scales(const tensor_view& weight, std::size_t first, std::size_t count, float shift,
                   block_scales& to) const noexcept {
    constexpr std::size_t width = simd::lanes<Architecture>;
    const std::size_t padded = (count + padding_blocks - 1) / padding_blocks * padding_blocks;
    float* const scales = to.scales.data();
    float* const offsets = to.offsets.data();
    if constexpr (TensorScaleCodec<Codec>) {
      typename Codec::header header;
      std::memcpy(&header, weight.bytes().data(), sizeof(header));
      for (std::size_t b = 0; b < padded; ++b) {
        scales[b] = b < count ? header.scale : 0.0F;
        // Without a shift, no product with it: a scale may be infinite.
        offsets[b] = shift == 0.0F ? 0.0F : -shift * scales[b];
      }
    } else if constexpr (BlockCodec<Codec>) {
      const std::byte* block = first_block_ + first * layout::stride_bytes;
      const std::size_t there = divide_round_up(weight.cols(), Codec::block_elements) - first;
      for (std::size_t b = 0; b < padded; b += width) {
        const auto heads = b + width <= there ? simd::load_words_apart<layout::stride_bytes>(
                                                    block, Architecture{}, Architecture{})
                                              : load_last_heads<Architecture, layout::stride_bytes>(
                                                    block, there - std::min(b, there));
        store_scales_of_heads<Architecture, Codec>(heads, shift, scales + b, offsets + b);
        block += width * layout::stride_bytes;
      }
      std::fill(scales + count, scales + padded, 0.0F);
      std::fill(offsets + count, offsets + padded, 0.0F);
    }
  }

  /// Whether values are not just scale * code, for the codes that products see.
  [[nodiscard]] static constexpr bool has_offsets(float shift) noexcept {
    if constexpr (BlockCodec<Codec>) {
      if (Codec::code_zero != 0) return true;
    }
    return has_min() || shift != 0.0F;
  }

 private:
  [[nodiscard]] static constexpr bool has_min() noexcept {
    if constexpr (BlockCodec<Codec>) return Codec::has_min;
    return false;
  }

  const std::byte* first_block_;
  std::size_t whole_blocks_ = 0;
  std::byte* tail_;
};

/// A block's codes as bytes; signed codes come out larger by 128.
template <class Architecture, code_packing Packing>
[[nodiscard]] simd::block_bytes<Architecture> load_byte_codes(const std::byte* codes) noexcept {
  if constexpr (is_nibbles(Packing)) {
    return simd::load_nibble_bytes(codes, Architecture{}, Architecture{});
  } else {
    using part = simd::vector<std::uint8_t, Architecture>;
    simd::block_bytes<Architecture> block;
    for (std::size_t i = 0; i < block.size(); ++i) {
      block[i] = simd::load_bytes<std::uint8_t, Architecture>(codes + i * part::size);
      if constexpr (Packing == code_packing::signed_bytes) block[i] = block[i] ^ part(128);
    }
    return block;
  }
}

/// A block's codes as 16-bit words.
template <class Architecture, code_packing Packing>
[[nodiscard]] simd::block_words<Architecture> load_word_codes(const std::byte* codes) noexcept {
  if constexpr (is_nibbles(Packing)) {
    return simd::load_nibble_words(codes, Architecture{}, Architecture{});
  } else if constexpr (Packing == code_packing::signed_bytes) {
    return simd::load_signed_words(codes, Architecture{}, Architecture{});
  } else {
    return simd::load_unsigned_words(codes, Architecture{}, Architecture{});
  }
}

/// A block's codes for products with activations of type Value.
template <class Architecture, code_packing Packing, Activation Value>
[[nodiscard]] auto load_codes(const std::byte* codes) noexcept {
  if constexpr (std::same_as<Value, std::int8_t>) {
    return load_byte_codes<Architecture, Packing>(codes);
  } else {
    return load_word_codes<Architecture, Packing>(codes);
  }
}

/// What load_codes adds to a codec's codes.
template <Codec Codec, Activation Value>
[[nodiscard]] constexpr float shift_of() noexcept {
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
}  // namespace nibble
