#pragma once

// Decodes rows of any weight to f32, f16 or bf16. Loop nest:
//
//   for each row, or once for a tensor whose blocks run along it all (not for its columns)
//     for each panel of 16 KiB (16-bit floats: 4 KiB) that is narrowed or written past the caches;
//     one panel for all where f32 values are written as usual
//       for each 64 blocks: widen their scales, as many at once as there are lanes
//         for each block, unrolled to the end: unpack codes, scale them, store values
//
// A block's codes and scale stay in registers. The scales of 64 blocks and the panel stay in the
// first-level cache. Measured: from 2^23 elements on, f32 values are faster written past the caches. Memory
// is asked for a panel's blocks before the panel ahead of it is written.

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <nibble/codec/codecs.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/kernel/block_headers.hpp>
#include <nibble/kernel/half_floats.hpp>
#include <nibble/kernel/load_codes.hpp>
#include <nibble/kernel/unpack_codes.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
NIBBLE_BEGIN_VECTOR_CODE
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Decodes a block's codes. Reads all of them and writes all values, at any alignment, and nothing
/// else. Equal bit for bit to Codec::unpack: codes are small integers, scale * code is exact in f32,
/// and so scale * code + min rounds once, whether fused or not.
template <class Architecture, BlockCodec Codec>
void decode_codes(const std::byte* codes, const simd::vector<float, Architecture>& scale,
                  const simd::vector<float, Architecture>& min, float* to) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  for_each_code_vector<Architecture, Codec::packing, Codec::block_elements>(
      codes, [&](integers code, std::size_t place) NIBBLE_LAMBDA_IN_PLACE {
        if constexpr (Codec::code_zero != 0) code = code - integers(Codec::code_zero);
        if constexpr (Codec::has_min) {
          simd::fma(to_float(code), scale, min).store_unaligned(to + place);
        } else {
          (to_float(code) * scale).store_unaligned(to + place);
        }
      });
}

/// Decodes one whole block. Reads exactly sizeof(Codec::block) bytes at any alignment and writes
/// exactly block_elements floats.
template <class Architecture, BlockCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t codes_at = offsetof(typename Codec::block, codes);
  typename Codec::block header;
  std::memcpy(&header, from, codes_at);
  const floats scale(simd::widen_float16(Codec::stored_scale(header), Architecture{}, Architecture{}));
  floats min(0.0F);
  if constexpr (Codec::has_min) {
    min = floats(simd::widen_float16(Codec::stored_min(header), Architecture{}, Architecture{}));
  }
  decode_codes<Architecture, Codec>(from + codes_at, scale, min, to);
}

/// The same for a block whose codes are unpacked first. scale * code is exact here too: it has at most
/// 24 bits.
template <class Architecture, BitCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using floats = simd::vector<float, Architecture>;
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t elements = sub_block_elements<Codec>();
  alignas(64) std::array<std::byte, Codec::block_elements> codes;
  alignas(64) std::array<float, max_sub_blocks> scales;
  alignas(64) std::array<float, max_sub_blocks> mins;
  unpack_codes<Architecture, Codec, code_form::counted>(from, codes.data());
  load_sub_block_scales<Architecture, Codec>(from, scales.data(), mins.data());
  for (std::size_t i = 0; i < sub_blocks<Codec>; ++i) {
    const floats scale(scales[i]);
    float* const values = to + i * elements;
    for_each_code_vector<Architecture, code_packing::signed_bytes, elements>(
        codes.data() + i * elements,
        [&](const integers& code, std::size_t place) NIBBLE_LAMBDA_IN_PLACE {
          if constexpr (Codec::has_min) {
            simd::fma(to_float(code), scale, floats(mins[i])).store_unaligned(values + place);
          } else {
            (to_float(code) * scale).store_unaligned(values + place);
          }
        });
  }
}

/// Decodes `count` blocks, one after the other. Scales are widened as many at once as there are lanes,
/// and stored before any is used: a scale that is loaded from memory is in all lanes at once.
template <class Architecture, BlockCodec Codec>
void decode_blocks(const std::byte* from, std::size_t count, float* to) noexcept {
  constexpr std::size_t block_bytes = sizeof(typename Codec::block);
  if constexpr (!BitCodec<Codec>) {
    using floats = simd::vector<float, Architecture>;
    constexpr std::size_t width = simd::lanes<Architecture>;
    alignas(64) std::array<float, 64> scales;
    alignas(64) std::array<float, 64> mins;
    while (count >= width) {
      const std::size_t blocks = std::min(count / width * width, scales.size());
      for (std::size_t b = 0; b < blocks; b += width) {
        const auto both = scales_from_headers<Architecture, Codec>(
            load_headers<Architecture, block_bytes>(from + b * block_bytes));
        both.first.store_unaligned(scales.data() + b);
        if constexpr (Codec::has_min) both.second.store_unaligned(mins.data() + b);
      }
      for (std::size_t b = 0; b < blocks; ++b) {
        floats min(0.0F);
        if constexpr (Codec::has_min) min = floats(mins[b]);
        decode_codes<Architecture, Codec>(from + offsetof(typename Codec::block, codes),
                                          floats(scales[b]), min, to);
        from += block_bytes;
        to += Codec::block_elements;
      }
      count -= blocks;
    }
  }
  for (; count != 0; --count) {
    decode_block<Architecture, Codec>(from, to);
    from += block_bytes;
    to += Codec::block_elements;
  }
}

/// Decodes elements first .. first + count of a sequence of elements that is coded as one: a row or the
/// whole tensor, as the encoding's blocks run. The sequence is stored from `start` on.
template <class Architecture, PlainCodec Codec>
void decode_range(const std::byte* start, std::uint64_t first, std::size_t count, float* to) noexcept {
  using stored = typename Codec::stored_type;
  const std::byte* const from = start + first * sizeof(stored);
  if constexpr (HalfFloat<stored>) {
    widen<Architecture, stored>(from, count, to);
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      stored value;
      std::memcpy(&value, from + i * sizeof(stored), sizeof(stored));
      to[i] = Codec::unpack(value);
    }
  }
}

/// As above.
template <class Architecture, TensorScaleCodec Codec>
void decode_range(const std::byte* start, std::uint64_t first, std::size_t count, float* to) noexcept {
  static_assert(Codec::packing == code_packing::signed_bytes);
  constexpr std::size_t width = simd::lanes<Architecture>;
  if (count == 0) return;
  typename Codec::header header;
  std::memcpy(&header, start, sizeof(header));
  const std::byte* const codes = start + sizeof(header) + first;
  const simd::vector<float, Architecture> scale(header.scale);
  std::size_t i = 0;
  for (; i + width <= count; i += width) {
    const auto code = simd::load_signed_bytes(codes + i, Architecture{}, Architecture{});
    (to_float(code) * scale).store_unaligned(to + i);
  }
  for (; i < count; ++i) {
    to[i] = header.scale * static_cast<float>(std::to_integer<std::int8_t>(codes[i]));
  }
}

/// As above.
template <class Architecture, BlockCodec Codec>
requires(!ScalarCodec<Codec>) void decode_range(const std::byte* start, std::uint64_t first,
                                                std::size_t count, float* to) noexcept {
  constexpr std::size_t block_elements = Codec::block_elements;
  const std::byte* block = start + first / block_elements * sizeof(typename Codec::block);
  const auto decode_partial_block = [&](std::size_t skipped, std::size_t elements) {
    std::array<float, block_elements> whole;
    decode_block<Architecture, Codec>(block, whole.data());
    std::copy_n(whole.data() + skipped, elements, to);
    block += sizeof(typename Codec::block);
    to += elements;
    count -= elements;
  };
  const auto skipped = static_cast<std::size_t>(first % block_elements);
  if (skipped != 0 && count != 0) {
    decode_partial_block(skipped, std::min(count, block_elements - skipped));
  }
  const std::size_t whole_blocks = count / block_elements;
  decode_blocks<Architecture, Codec>(block, whole_blocks, to);
  block += whole_blocks * sizeof(typename Codec::block);
  to += whole_blocks * block_elements;
  count -= whole_blocks * block_elements;
  if (count != 0) decode_partial_block(0, count);
}

/// The blocks of a ScalarCodec. A function pointer hides the codec, so that what walks the blocks is
/// compiled once.
struct scalar_blocks {
  std::size_t block_elements;
  std::size_t block_bytes;
  /// Decodes the first elements of a block, as many as `values` has room for.
  void (*unpack)(const std::byte* block, std::span<float> values) noexcept;
};
template <ScalarCodec Codec>
void unpack_scalar_block(const std::byte* from, std::span<float> values) noexcept {
  typename Codec::block block;
  std::memcpy(&block, from, sizeof(block));
  Codec::unpack(block, values);
}

/// Elements of a block of any ScalarCodec, at most.
inline constexpr std::size_t max_scalar_block_elements = 256;

/// decode_range of such blocks.
inline void decode_scalar_range(const scalar_blocks& blocks, const std::byte* start,
                                std::uint64_t first, std::span<float> to) noexcept {
  const std::byte* block = start + first / blocks.block_elements * blocks.block_bytes;
  const auto skipped = static_cast<std::size_t>(first % blocks.block_elements);
  if (skipped != 0 && !to.empty()) {
    std::array<float, max_scalar_block_elements> whole;
    const std::size_t count = std::min(to.size(), blocks.block_elements - skipped);
    blocks.unpack(block, {whole.data(), skipped + count});
    std::copy_n(whole.data() + skipped, count, to.data());
    to = to.subspan(count);
    block += blocks.block_bytes;
  }
  while (!to.empty()) {
    const std::size_t count = std::min(to.size(), blocks.block_elements);
    blocks.unpack(block, to.first(count));
    to = to.subspan(count);
    block += blocks.block_bytes;
  }
}

/// As above.
template <class Architecture, ScalarCodec Codec>
void decode_range(const std::byte* start, std::uint64_t first, std::size_t count, float* to) noexcept {
  static_assert(Codec::block_elements <= max_scalar_block_elements);
  decode_scalar_range(
      {Codec::block_elements, sizeof(typename Codec::block), &unpack_scalar_block<Codec>}, start, first,
      {to, count});
}

/// Copies some blocks of row `lane` of interleaved rows, the first of which is in the block at `from`, to
/// where they lie one behind the other, as its row_codec reads them.
template <InterleavedCodec Codec>
void gather_lane_blocks(const std::byte* from, std::size_t lane, std::size_t count,
                        std::byte* to) noexcept {
  using block = typename Codec::block;
  using row_block = typename Codec::row_codec::block;
  constexpr std::size_t word_bytes = interleaved_word_bytes;
  constexpr std::size_t codes_at = offsetof(row_block, codes);
  const std::byte* scale = from + lane * sizeof(float16);
  const std::byte* codes = from + offsetof(block, codes) + lane * word_bytes;
  for (std::size_t b = 0; b < count; ++b) {
    std::memcpy(to, scale, sizeof(float16));
    std::memcpy(to + sizeof(float16), scale + offsetof(block, mins), sizeof(float16));
    NIBBLE_UNROLL
    for (std::size_t at = 0; at < sizeof(row_block) - codes_at; at += word_bytes) {
      std::memcpy(to + codes_at + at, codes + at * Codec::block_rows, word_bytes);
    }
    scale += sizeof(block);
    codes += sizeof(block);
    to += sizeof(row_block);
  }
}

/// Decodes elements first .. first + count of row `lane` of interleaved rows, whose first block is at
/// `start`.
template <class Architecture, InterleavedCodec Codec>
void decode_lane(const std::byte* start, std::size_t lane, std::uint64_t first, std::size_t count,
                 float* to) noexcept {
  using row_codec = typename Codec::row_codec;
  constexpr std::size_t block_elements = row_codec::block_elements;
  constexpr std::size_t most_blocks = 64;
  std::array<std::byte, most_blocks * sizeof(typename row_codec::block)> blocks;
  const std::byte* from = start + first / block_elements * sizeof(typename Codec::block);
  auto skipped = static_cast<std::size_t>(first % block_elements);
  while (count != 0) {
    const std::size_t elements = std::min(count, most_blocks * block_elements - skipped);
    const auto gathered = static_cast<std::size_t>(divide_round_up(skipped + elements, block_elements));
    gather_lane_blocks<Codec>(from, lane, gathered, blocks.data());
    decode_range<Architecture, row_codec>(blocks.data(), skipped, elements, to);
    from += gathered * sizeof(typename Codec::block);
    to += elements;
    count -= elements;
    skipped = 0;
  }
}

/// Where a row is: the start of the sequence that decode_range takes, and the row's first element in
/// it. Of interleaved rows: the first block of those, and which of them it is.
struct row_position {
  const std::byte* start;
  std::uint64_t first_element;
  std::size_t lane = 0;
};
[[nodiscard]] inline row_position position_of_row(const tensor_view& tensor,
                                                  std::uint64_t row) noexcept {
  const std::uint64_t stride_bytes = tensor.block_row_stride_bytes();
  if (stride_bytes == 0) return {tensor.data(), row * tensor.cols()};
  const std::uint64_t block_rows = tensor.block_rows();
  if (block_rows == 1) return {tensor.data() + row * stride_bytes, 0};
  return {tensor.data() + row / block_rows * stride_bytes, 0,
          static_cast<std::size_t>(row % block_rows)};
}

/// Whether the tensor's rows, one after the other, are one sequence of elements that is coded as one.
[[nodiscard]] inline bool is_one_sequence(const encoding_description& description,
                                          const tensor_view& tensor) noexcept {
  return description.blocks_run_along == block_run::tensor && tensor.is_contiguous();
}

/// decode_range, or decode_lane, of any encoding. A function pointer hides the codec, so that its callers
/// are compiled once for an architecture.
struct range_decoder {
  const encoding_description& description;
  void (*decode_range)(const std::byte* start, std::uint64_t first, std::size_t count,
                       float* to) noexcept;
  /// Of interleaved rows alone, which have no decode_range.
  void (*decode_lane)(const std::byte* start, std::size_t lane, std::uint64_t first, std::size_t count,
                      float* to) noexcept;

  /// Decodes `count` elements, of which the first is `skipped` elements behind `from`.
  void decode(const row_position& from, std::uint64_t skipped, std::size_t count,
              float* to) const noexcept {
    if (decode_lane != nullptr) {
      decode_lane(from.start, from.lane, from.first_element + skipped, count, to);
    } else {
      decode_range(from.start, from.first_element + skipped, count, to);
    }
  }
};

/// The decoder of a tensor's encoding. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] range_decoder decoder_of(const tensor_view& tensor) {
  range_decoder decoder{describe(tensor.encoding()), nullptr, nullptr};
  visit_stored_codec(tensor.encoding(), tensor.name(), [&]<Codec Codec>(Codec) {
    if constexpr (InterleavedCodec<Codec>) {
      decoder.decode_lane = &decode_lane<Architecture, Codec>;
    } else {
      decoder.decode_range = &decode_range<Architecture, Codec>;
    }
  });
  return decoder;
}

/// From so many f32 values on, decoded values are written past the caches. Of fewer values, enough
/// stays in a cache to be worth what it pushes out. 16-bit floats take longer to make than to write.
/// Measured.
inline constexpr std::uint64_t least_elements_past_caches = std::uint64_t{8} << 20U;

/// Copies values past the caches: whole lines, the others as usual.
template <class Architecture>
void copy_past_caches(const float* from, std::size_t count, float* to) noexcept {
  constexpr std::size_t line = simd::line_bytes / sizeof(float);
  const std::size_t skipped = reinterpret_cast<std::uintptr_t>(to) / sizeof(float) % line;
  std::size_t done = std::min(count, (line - skipped) % line);
  std::copy_n(from, done, to);
  for (; done + line <= count; done += line) {
    simd::copy_line_past_caches(from + done, to + done, Architecture{});
  }
  std::copy_n(from + done, count - done, to + done);
}

/// Whether memory is to be asked for the elements behind some that are decoded. Plain elements and short
/// rows are read so fast that the processor's own prefetcher follows them; rows that share blocks need them
/// once.
[[nodiscard]] inline bool asks_ahead(const range_decoder& decoder, const row_position& from,
                                     std::size_t elements) noexcept {
  constexpr std::size_t least_elements = 1024;
  return decoder.description.block_elements != 1 && from.lane == 0 && elements >= least_elements;
}

/// Asks memory for what is decoded next: `count` elements, of which the first is `skipped` elements behind
/// `from`. Nothing is read, so that there may be fewer.
inline void prefetch_elements(const range_decoder& decoder, const row_position& from,
                              std::uint64_t skipped, std::size_t count) noexcept {
  const auto bytes_of = [&](std::uint64_t elements) {
    return static_cast<std::size_t>(elements / decoder.description.block_cols() *
                                    decoder.description.block_bytes);
  };
  const std::size_t first = bytes_of(from.first_element + skipped);
  const std::size_t size_bytes = bytes_of(count);
  for (std::size_t ahead = 0; ahead < size_bytes; ahead += simd::line_bytes) {
    simd::prefetch_to_second_level(from.start, first + ahead);
  }
}

/// As decode_range, into any Float, past the caches or not. What is narrowed, or copied past the
/// caches, goes through a panel that stays in the first-level cache.
template <class Architecture, Float To>
void decode_range_to(const range_decoder& decoder, const row_position& from, std::size_t count,
                     bool past_caches, To* to) noexcept {
  constexpr std::size_t panel_elements = std::same_as<To, float> ? 4096 : 1024;
  const auto for_each_panel = [&](const auto& use) {
    alignas(64) std::array<float, panel_elements> panel;
    for (std::size_t done = 0; done < count; done += panel_elements) {
      const std::size_t elements = std::min(count - done, panel_elements);
      decoder.decode(from, done, elements, panel.data());
      if (past_caches && asks_ahead(decoder, from, elements)) {
        prefetch_elements(decoder, from, done + elements, elements);
      }
      use(panel.data(), elements, to + done);
    }
  };
  if constexpr (!std::same_as<To, float>) {
    for_each_panel(narrow<Architecture, To>);
  } else if (past_caches) {
    for_each_panel(copy_past_caches<Architecture>);
  } else {
    decoder.decode(from, 0, count, to);
  }
}

/// Decodes whole rows. The caller has checked that they are the tensor's.
template <class Architecture, Float To>
void decode_rows(const range_decoder& decoder, const tensor_view& from, std::uint64_t first_row,
                 std::uint64_t row_count, bool past_caches, To* to) noexcept {
  const auto cols = static_cast<std::size_t>(from.cols());
  if (is_one_sequence(decoder.description, from)) {
    decode_range_to<Architecture>(decoder, position_of_row(from, first_row),
                                  static_cast<std::size_t>(row_count) * cols, past_caches, to);
  } else {
    for (std::uint64_t i = 0; i < row_count; ++i) {
      decode_range_to<Architecture>(decoder, position_of_row(from, first_row + i), cols, past_caches,
                                    to + i * cols);
    }
  }
  if (past_caches) simd::order_stores_past_caches(Architecture{});
}

}  // namespace kernel
}  // namespace NIBBLE_ARCHITECTURE
NIBBLE_END_VECTOR_CODE
}  // namespace nibble
