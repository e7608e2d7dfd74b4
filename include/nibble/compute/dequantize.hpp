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
#include <nibble/compute/code_groups.hpp>
#include <nibble/compute/convert.hpp>
#include <nibble/compute/dispatch.hpp>
#include <nibble/compute/executor.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/tensor_view.hpp>
#include <nibble/core/text.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {
inline namespace NIBBLE_ARCHITECTURE {
namespace kernel {

/// Decodes one whole block. Reads exactly sizeof(Codec::block) bytes at any alignment and writes
/// exactly block_elements floats. Equal bit for bit to Codec::unpack: codes are small integers, scale *
/// code is exact in f32, and so scale * code + min rounds once whether fused or not.
template <class Architecture, BlockCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using integers = simd::vector<std::int32_t, Architecture>;
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t codes_at = offsetof(typename Codec::block, codes);

  typename Codec::block head;
  std::memcpy(&head, from, codes_at);
  const floats scale(simd::widen_float16(Codec::stored_scale(head), Architecture{}, Architecture{}));
  const std::byte* const codes = from + codes_at;

  floats min(0.0F);
  if constexpr (Codec::has_min) {
    min = floats(simd::widen_float16(Codec::stored_min(head), Architecture{}, Architecture{}));
  }

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

/// The same for codes in several places. scale * code is exact here too: at most 24 bits.
template <class Architecture, BitCodec Codec>
void decode_block(const std::byte* from, float* to) noexcept {
  using floats = simd::vector<float, Architecture>;
  constexpr std::size_t width = simd::lanes<Architecture>;
  constexpr std::size_t part = part_elements<Codec>();
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
  while (count >= block_elements) {
    decode_block<Architecture, Codec>(block, to);
    block += sizeof(typename Codec::block);
    to += block_elements;
    count -= block_elements;
  }
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

/// As decode_run, into any Float: through a panel that stays in the first-level cache.
template <class Architecture, Float To>
void decode_run_to(const run_decoder& decoder, const row_position& from, std::size_t count,
                   To* to) noexcept {
  if constexpr (std::same_as<To, float>) {
    decoder.decode_run(from.run, from.first, count, to);
  } else {
    std::array<float, 1024> panel;
    for (std::size_t done = 0; done < count; done += panel.size()) {
      const std::size_t part = std::min(count - done, panel.size());
      decoder.decode_run(from.run, from.first + done, part, panel.data());
      narrow<Architecture>(panel.data(), part, to + done);
    }
  }
}

/// Decodes whole rows that the caller has proved to lie in the tensor.
template <class Architecture, Float To>
void decode_rows(const run_decoder& decoder, const tensor_view& from, std::uint64_t first_row,
                 std::uint64_t row_count, To* to) noexcept {
  const auto cols = static_cast<std::size_t>(from.cols());
  if (decoder.of.blocks_run_along == block_run::tensor) {
    decode_run_to<Architecture>(decoder, position_of_row(decoder.of, from, first_row),
                                static_cast<std::size_t>(row_count) * cols, to);
    return;
  }
  for (std::uint64_t i = 0; i < row_count; ++i) {
    decode_run_to<Architecture>(decoder, position_of_row(decoder.of, from, first_row + i), cols,
                                to + i * cols);
  }
}

/// As decode_rows, spread over `on`; the rows hold elements. Throws unsupported_encoding.
template <class Architecture, Float To>
void decode_rows_on(executor* on, const tensor_view& from, std::uint64_t first_row,
                    std::uint64_t row_count, To* to) {
  constexpr std::uint64_t task_elements = 1U << 16U;
  const std::uint64_t task_rows = std::max<std::uint64_t>(1, task_elements / from.cols());
  const std::uint64_t tasks = divide_round_up(row_count, task_rows);
  const run_decoder decoder = decoder_of<Architecture>(from);
  run_tasks(on, static_cast<std::size_t>(tasks), [&](std::size_t task) {
    const std::uint64_t skipped = task * task_rows;
    const std::uint64_t rows = std::min(task_rows, row_count - skipped);
    decode_rows<Architecture>(decoder, from, first_row + skipped, rows, to + skipped * from.cols());
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
  if (first_row > from.rows() || row_count > from.rows() - first_row) {
    refuse(error_code::out_of_range, "rows", join_text({row_count, " from row ", first_row}),
           join_text({"within ", from.rows(), " rows"}));
  }
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
