#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include <nibble/codec/codecs.hpp>
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/kernel/code_groups.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Scales of blocks, as they count, and their mins where they have any, from the first four bytes of
/// each.
template <class Architecture, BlockCodec Codec>
[[nodiscard]] simd::vector_pair<Architecture> scales_of_heads(
    const simd::vector<std::int32_t, Architecture>& heads) noexcept {
  static_assert(offsetof(typename Codec::block, codes) == (Codec::has_min ? 2 : 1) * sizeof(float16));
  auto scales = simd::widen_float16_pairs(heads, Architecture{}, Architecture{});
  if constexpr (NormalScaleCodec<Codec>) {
    scales.first = simd::normal_float16_or_zero(scales.first, Architecture{}, Architecture{});
  }
  return scales;
}

/// Decodes a block's codes. Reads and writes all of them, at any alignment, and nothing else. Equal bit
/// for bit to Codec::unpack: codes are small integers, scale * code is exact in f32, and so scale *
/// code + min rounds once whether fused or not.
template <class Architecture, BlockCodec Codec>
void decode_codes(const std::byte* codes, const simd::vector<float, Architecture>& scale,
                  const simd::vector<float, Architecture>& min, float* to) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;

  const auto store_values = [&](integers code, std::size_t at) {
    if constexpr (Codec::code_zero != 0) code = code - integers(Codec::code_zero);
    if constexpr (Codec::has_min) {
      fma(to_float(code), scale, min).store_unaligned(to + at);
    } else {
      (to_float(code) * scale).store_unaligned(to + at);
    }
  };

  if constexpr (Codec::packing == code_packing::unsigned_bytes) {
    static_assert(Codec::block_elements % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < Codec::block_elements; j += width) {
      store_values(simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{}), j);
    }
  } else if constexpr (Codec::packing == code_packing::signed_bytes) {
    static_assert(Codec::block_elements % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < Codec::block_elements; j += width) {
      store_values(simd::load_signed_bytes(codes + j, Architecture{}, Architecture{}), j);
    }
  } else {
    constexpr std::size_t half = Codec::block_elements / 2;
    static_assert(half % width == 0);
    NIBBLE_UNROLL
    for (std::size_t j = 0; j < half; j += width) {
      const integers pairs = simd::load_unsigned_bytes(codes + j, Architecture{}, Architecture{});
      const integers low = pairs & integers(15);
      const integers high = pairs >> 4;
      if constexpr (Codec::packing == code_packing::nibble_halves) {
        store_values(low, j);
        store_values(high, j + half);
      } else {
        store_values(simd::interleave_low(low, high, Architecture{}, Architecture{}), 2 * j);
        store_values(simd::interleave_high(low, high, Architecture{}, Architecture{}), 2 * j + width);
      }
    }
  }
}

/// Decodes one whole block. Reads exactly sizeof(Codec::block) bytes at any alignment and writes
/// exactly block_elements floats.
template <class Architecture, BlockCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t codes_at = offsetof(typename Codec::block, codes);
  typename Codec::block head;
  std::memcpy(&head, from, codes_at);
  const floats scale(simd::widen_float16(Codec::stored_scale(head), Architecture{}, Architecture{}));
  floats min(0.0F);
  if constexpr (Codec::has_min) {
    min = floats(simd::widen_float16(Codec::stored_min(head), Architecture{}, Architecture{}));
  }
  decode_codes<Architecture, Codec>(from + codes_at, scale, min, to);
}

/// The same for codes in several places. scale * code is exact here too: at most 24 bits.
template <class Architecture, BitCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t part = sub_block_elements<Codec>();
  static_assert(part % width == 0);
  alignas(64) std::array<std::byte, Codec::block_elements> codes;
  alignas(64) std::array<float, most_block_parts> scales;
  alignas(64) std::array<float, most_block_parts> mins;
  take_codes_apart<Architecture, Codec, code_form::counted>(from, codes.data());
  load_scales_of_parts<Architecture, Codec>(from, scales.data(), mins.data());
  for (std::size_t i = 0; i < block_parts<Codec>; ++i) {
    const floats scale(scales[i]);
    NIBBLE_UNROLL
    for (std::size_t j = i * part; j < (i + 1) * part; j += width) {
      const auto code =
          to_float(simd::load_signed_bytes(codes.data() + j, Architecture{}, Architecture{}));
      if constexpr (Codec::has_min) {
        fma(code, scale, floats(mins[i])).store_unaligned(to + j);
      } else {
        (code * scale).store_unaligned(to + j);
      }
    }
  }
}

/// Decodes `count` blocks, one after the other. The scales of as many as there are lanes are widened at
/// once, and those of many before any is used: from memory, a scale is in all lanes by being loaded.
template <class Architecture, BlockCodec Codec>
void decode_blocks(const std::byte* from, std::size_t count, float* to) noexcept {
  constexpr std::size_t block_bytes = sizeof(typename Codec::block);
  if constexpr (!BitCodec<Codec>) {
    using floats = simd::vector<float, Architecture>;
    constexpr std::size_t width = simd::lanes<Architecture>;
    alignas(64) std::array<float, 64> scales;
    alignas(64) std::array<float, 64> mins;
    while (count >= width) {
      const std::size_t part = std::min(count / width * width, scales.size());
      for (std::size_t b = 0; b < part; b += width) {
        const auto both = scales_of_heads<Architecture, Codec>(simd::load_words_apart<block_bytes>(
            from + b * block_bytes, Architecture{}, Architecture{}));
        both.first.store_unaligned(scales.data() + b);
        if constexpr (Codec::has_min) both.second.store_unaligned(mins.data() + b);
      }
      for (std::size_t b = 0; b < part; ++b) {
        floats min(0.0F);
        if constexpr (Codec::has_min) min = floats(mins[b]);
        decode_codes<Architecture, Codec>(from + offsetof(typename Codec::block, codes),
                                          floats(scales[b]), min, to);
        from += block_bytes;
        to += Codec::block_elements;
      }
      count -= part;
    }
  }
  for (; count != 0; --count) {
    decode_block<Architecture, Codec>(from, to);
    from += block_bytes;
    to += Codec::block_elements;
  }
}

/// Decodes elements first .. first + count of one run (a row, or the tensor, as the encoding's blocks
/// run) that starts at `run`.
template <class Architecture, PlainCodec Codec>
void decode_run(const std::byte* run, std::uint64_t first, std::size_t count, float* to) noexcept {
  using stored = typename Codec::stored_type;
  const std::byte* const from = run + first * sizeof(stored);
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
void decode_run(const std::byte* run, std::uint64_t first, std::size_t count, float* to) noexcept {
  static_assert(Codec::packing == code_packing::signed_bytes);
  constexpr std::size_t width = simd::lanes<Architecture>;
  if (count == 0) return;
  typename Codec::header header;
  std::memcpy(&header, run, sizeof(header));
  const std::byte* const codes = run + sizeof(header) + first;
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
void decode_run(const std::byte* run, std::uint64_t first, std::size_t count, float* to) noexcept {
  constexpr std::size_t block_elements = Codec::block_elements;
  const std::byte* block = run + first / block_elements * sizeof(typename Codec::block);
  const auto decode_part = [&](std::size_t skipped, std::size_t part) {
    std::array<float, block_elements> whole;
    decode_block<Architecture, Codec>(block, whole.data());
    std::copy_n(whole.data() + skipped, part, to);
    block += sizeof(typename Codec::block);
    to += part;
    count -= part;
  };
  const auto skipped = static_cast<std::size_t>(first % block_elements);
  if (skipped != 0 && count != 0) decode_part(skipped, std::min(count, block_elements - skipped));
  const std::size_t whole = count / block_elements;
  decode_blocks<Architecture, Codec>(block, whole, to);
  block += whole * sizeof(typename Codec::block);
  to += whole * block_elements;
  count -= whole * block_elements;
  if (count != 0) decode_part(0, count);
}

/// Where decode_run starts for a row, and at which element.
struct row_position {
  const std::byte* run;
  std::uint64_t first;
};
[[nodiscard]] inline row_position position_of_row(const encoding_description& of,
                                                  const tensor_view& from, std::uint64_t row) noexcept {
  if (of.blocks_run_along == block_run::tensor) return {from.bytes().data(), row * from.cols()};
  const std::uint64_t row_bytes = divide_round_up(from.cols(), of.block_elements) * of.block_bytes;
  return {from.bytes().data() + row * row_bytes, 0};
}

/// decode_run of any encoding: what is built on it is compiled once, and not for each.
struct run_decoder {
  const encoding_description& of;
  void (*decode_run)(const std::byte* run, std::uint64_t first, std::size_t count, float* to) noexcept;
};

/// The decoder of a tensor's encoding. Throws unsupported_encoding.
template <class Architecture>
[[nodiscard]] run_decoder decoder_of(const tensor_view& from) {
  run_decoder decoder{describe(from.encoding()), nullptr};
  visit_codec(from.encoding(), from.name(),
              [&]<Codec Codec>(Codec) { decoder.decode_run = &decode_run<Architecture, Codec>; });
  return decoder;
}

/// Values decoded to f32 from which on these are written past the caches: of fewer, enough stays in a
/// cache to be worth what it pushes out. Narrower ones take longer to make than to write. Measured.
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

/// As decode_run, into any Float, past the caches or not: what is narrowed, or copied past them, goes
/// through a panel that stays in the first-level cache.
template <class Architecture, Float To>
void decode_run_to(const run_decoder& decoder, const row_position& from, std::size_t count,
                   bool past_caches, To* to) noexcept {
  constexpr std::size_t panel_elements = std::same_as<To, float> ? 4096 : 1024;
  const auto each_panel = [&](const auto& use) {
    alignas(64) std::array<float, panel_elements> panel;
    for (std::size_t done = 0; done < count; done += panel_elements) {
      const std::size_t part = std::min(count - done, panel_elements);
      decoder.decode_run(from.run, from.first + done, part, panel.data());
      use(panel.data(), part, to + done);
    }
  };
  if constexpr (!std::same_as<To, float>) {
    each_panel(narrow<Architecture, To>);
  } else if (past_caches) {
    each_panel(copy_past_caches<Architecture>);
  } else {
    decoder.decode_run(from.run, from.first, count, to);
  }
}

/// Decodes whole rows that the caller has proved to lie in the tensor.
template <class Architecture, Float To>
void decode_rows(const run_decoder& decoder, const tensor_view& from, std::uint64_t first_row,
                 std::uint64_t row_count, bool past_caches, To* to) noexcept {
  const auto cols = static_cast<std::size_t>(from.cols());
  if (decoder.of.blocks_run_along == block_run::tensor) {
    decode_run_to<Architecture>(decoder, position_of_row(decoder.of, from, first_row),
                                static_cast<std::size_t>(row_count) * cols, past_caches, to);
  } else {
    for (std::uint64_t i = 0; i < row_count; ++i) {
      decode_run_to<Architecture>(decoder, position_of_row(decoder.of, from, first_row + i), cols,
                                  past_caches, to + i * cols);
    }
  }
  if (past_caches) simd::order_stores_past_caches(Architecture{});
}

/// As decode_rows, spread over `on`; the rows hold elements. Throws unsupported_encoding.
template <class Architecture, Float To>
void decode_rows_on(executor* on, const tensor_view& from, std::uint64_t first_row,
                    std::uint64_t row_count, To* to) {
  constexpr std::uint64_t task_elements = 1U << 16U;
  const std::uint64_t task_rows = std::max<std::uint64_t>(1, task_elements / from.cols());
  const std::uint64_t tasks = divide_round_up(row_count, task_rows);
  const run_decoder decoder = decoder_of<Architecture>(from);
  const bool past_caches = std::same_as<To, float> && simd::has_stores_past_caches<Architecture> &&
                           row_count * from.cols() >= least_elements_past_caches;
  run_tasks(on, static_cast<std::size_t>(tasks), [&](std::size_t task) {
    const std::uint64_t skipped = task * task_rows;
    const std::uint64_t rows = std::min(task_rows, row_count - skipped);
    decode_rows<Architecture>(decoder, from, first_row + skipped, rows, past_caches,
                              to + skipped * from.cols());
  });
}

}  // namespace kernel

/// Decodes rows first_row .. first_row + row_count of `from`, row-major, into `to`.
///
/// `to` has row_count * cols elements of f32, float16 or bfloat16 (values rounded to nearest even, from
/// f32) and does not overlap the tensor's bytes; neither needs more alignment than its type. Work is
/// spread over `on` where it is not null; the result does not depend on it. Every instruction set gives
/// the bits of the scalar codec.
///
/// Throws unsupported_encoding, out_of_range (rows), invalid_argument (size of `to`).
template <Float To, class Architecture = default_architecture>
void dequantize_rows(const tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                     std::span<To> to, executor* on = nullptr) {
  const auto refuse = [&](error_code code, std::string_view field, std::string found,
                          std::string expected) {
    throw error(code, {.tensor = std::string(from.name()),
                       .field = std::string(field),
                       .found = std::move(found),
                       .expected = std::move(expected)});
  };
  const encoding which = from.encoding();
  from.require_rows(first_row, row_count);
  const auto elements = checked_multiply(row_count, from.cols());
  if (!elements || *elements != to.size()) {
    refuse(error_code::invalid_argument, "elements to decode into", std::to_string(to.size()),
           join_text({row_count, " x ", from.cols()}));
  }
  if (*elements == 0) return;
  if constexpr (PickedAtRunTime<Architecture>) {
    require_codec(which, from.name());
    const auto& kernels = Architecture::kernels();
    if constexpr (std::same_as<To, float>) {
      kernels.decode_f32(from, first_row, row_count, to.data(), on);
    } else if constexpr (std::same_as<To, float16>) {
      kernels.decode_f16(from, first_row, row_count, to.data(), on);
    } else {
      kernels.decode_bf16(from, first_row, row_count, to.data(), on);
    }
  } else {
    kernel::decode_rows_on<Architecture>(on, from, first_row, row_count, to.data());
  }
}

/// Decodes the whole tensor; otherwise as dequantize_rows.
template <Float To, class Architecture = default_architecture>
void dequantize(const tensor_view& from, std::span<To> to, executor* on = nullptr) {
  if (from.elements() != to.size()) {
    throw error(error_code::invalid_argument, {.tensor = std::string(from.name()),
                                               .field = "elements to decode into",
                                               .found = std::to_string(to.size()),
                                               .expected = std::to_string(from.elements())});
  }
  if (from.elements() == 0) {
    static_cast<void>(from.encoding());
    return;
  }
  dequantize_rows<To, Architecture>(from, 0, from.rows(), to, on);
}

/// As above, for containers such as std::vector<float> and arrays, which a template cannot see as a
/// span.
template <class Container>
requires Float<typename decltype(std::span(std::declval<Container&>()))::element_type>
void dequantize(const tensor_view& from, Container& to, executor* on = nullptr) {
  dequantize(from, std::span<std::remove_reference_t<decltype(*std::data(to))>>(to), on);
}
/// As above.
template <class Container>
requires Float<typename decltype(std::span(std::declval<Container&>()))::element_type>
void dequantize_rows(const tensor_view& from, std::uint64_t first_row, std::uint64_t row_count,
                     Container& to, executor* on = nullptr) {
  dequantize_rows(from, first_row, row_count,
                  std::span<std::remove_reference_t<decltype(*std::data(to))>>(to), on);
}

}  // namespace NIBBLE_ARCHITECTURE
}  // namespace nibble
